"""A procfs of the writer's own, by which settings of pods are written.

Below /proc/sys/net there is an `ipv4` and an `ipv6` for each network namespace, all of one name. To
find those of a new one the kernel goes through all that it keeps in memory for others
(fs/proc/proc_sysctl.c, proc_sys_compare): among 900 pods a quarter of a millisecond each. A procfs
that has just been made keeps none. It is no way round the machine's: where that is mounted so that
nothing may be written, nothing is.
"""

import ctypes
import os

FSOPEN, FSCONFIG, FSMOUNT = 430, 431, 432
"""Of every architecture (include/uapi/asm-generic/unistd.h)."""
CLOEXEC, CMD_CREATE = 1, 6
"""linux/mount.h: FSOPEN_CLOEXEC and FSMOUNT_CLOEXEC; FSCONFIG_CMD_CREATE."""
NAMESPACES = 32
"""It serves so many: to be among them costs nothing that could be measured, and to drop one and
make another a sixth of a millisecond, most of it a wait for RCU."""

_libc = ctypes.CDLL(None, use_errno=True)


class Proc:
    """Mounted nowhere; from its first use to the end of the process. One thread at a time."""

    def __init__(self) -> None:
        self._root, self._served = -1, 0

    def root(self) -> int:
        """Its root as a file descriptor, for one more namespace.

        Where no procfs may be made, or the machine's is read-only, it is the machine's.
        """
        allowed = not os.statvfs("/proc/sys/net").f_flag & os.ST_RDONLY
        if not allowed or self._served % NAMESPACES == 0:
            if self._root >= 0:
                os.close(self._root)
            self._root = _made() if allowed else _machines()
            self._served = 0
        self._served += allowed
        return self._root


def _machines() -> int:
    return os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _made() -> int:
    context = _libc.syscall(FSOPEN, b"proc", CLOEXEC)
    if context >= 0:
        try:
            if _libc.syscall(FSCONFIG, context, CMD_CREATE, None, None, 0) >= 0:
                root: int = _libc.syscall(FSMOUNT, context, CLOEXEC, 0)
                if root >= 0:
                    return root
        finally:
            os.close(context)
    return _machines()
