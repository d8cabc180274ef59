"""What happens to the names in a folder, as the kernel tells it: no look can miss it."""

import ctypes
import os
import struct
from pathlib import Path

MOVED_FROM, MOVED_TO, DELETE = 0x40, 0x80, 0x200
"""linux/inotify.h. A file that another one is renamed onto is not told of: its name stays."""
_EVENT = struct.Struct("=iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Watch:
    """Of one folder, from construction on. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        mask = MOVED_FROM | MOVED_TO | DELETE
        if self._fd < 0 or _libc.inotify_add_watch(self._fd, os.fsencode(folder), mask) < 0:
            raise OSError(ctypes.get_errno(), f"{folder} can't be watched")
        self._told: list[tuple[int, str]] = []

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def appeared(self, name: str) -> int:
        """How often a file was renamed to that name so far."""
        return sum(event == (MOVED_TO, name) for event in self._all())

    def vanished(self, name: str) -> int:
        """How often the name went so far."""
        return sum(event in ((MOVED_FROM, name), (DELETE, name)) for event in self._all())

    def _all(self) -> list[tuple[int, str]]:
        while True:
            try:
                data = os.read(self._fd, 1 << 16)
            except BlockingIOError:
                return self._told
            at = 0
            while at < len(data):
                _, mask, _, size = _EVENT.unpack_from(data, at)
                at += _EVENT.size
                self._told.append((mask, data[at : at + size].rstrip(b"\0").decode()))
                at += size
