"""Namespaces of the kernel: making, pinning, opening, and sockets inside. The only setns(2).

Used by the writer and, for reading, by the reader; each call leaves its thread where
it was. A thread that can't come back would act inside a pod, so then the process ends.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import TracebackType

from podnet.errors import Retryable
from podnet.objects import HOST, Netns

CLONE_NEWNET, CLONE_NEWUTS, CLONE_NEWIPC = 0x40000000, 0x04000000, 0x08000000
MS_BIND, MS_REC, MS_SHARED, MNT_DETACH = 0x1000, 0x4000, 0x100000, 2
SIOCGIFINDEX = 0x8933
SO_NETNS_COOKIE = 71
"""asm-generic/socket.h, since Linux 5.14."""
EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""What the kernel says where a process, or the machine, has had enough."""
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_CAP_ACK = 270, 11, 10
SO_RCVBUFFORCE = 33
RECEIVE_BUFFER = 4 << 20
"""Bytes: acknowledgements of a thousand messages fit; the default holds some two hundred."""
_IFREQ = struct.Struct("16si20x")

_libc = ctypes.CDLL(None, use_errno=True)


class NoSuchInterface(OSError):
    """No interface of that name, yet or any more."""


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def bind_mount(source: str, target: str) -> None:
    """Pin `source` at `target`, a file that exists."""
    _check(_libc.mount(source.encode(), target.encode(), b"none", MS_BIND, None), target)


def unmount(target: str) -> None:
    """Take a mount away; none there is success."""
    try:
        _check(_libc.umount2(target.encode(), MNT_DETACH), target)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def unmount_all(folder: Path) -> None:
    """Take away what is mounted there, wherever else this mount namespace has it.

    An agent's pod also sees the roots of the node's other pods, its forerunners' among them.
    """
    if os.path.ismount(folder):
        device = os.stat(folder).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        for line in reversed(Path("/proc/thread-self/mountinfo").read_text().splitlines()):
            fields = line.split()
            if fields[2] == number:
                unmount(fields[4])


def mount_tmpfs(target: Path) -> None:
    """A tmpfs of the size the kernel gives by itself (half the memory), for root alone."""
    _check(_libc.mount(b"podnet", str(target).encode(), b"tmpfs", 0, b"mode=0700"), str(target))


def shared_folder(path: Path) -> None:
    """Make a folder whose mounts other mount namespaces see too, as `ip netns` does."""
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    name = str(path).encode()
    if _libc.mount(b"", name, b"none", MS_SHARED | MS_REC, None) < 0:
        _check(_libc.mount(name, name, b"none", MS_BIND | MS_REC, None), str(path))
        _check(_libc.mount(b"", name, b"none", MS_SHARED | MS_REC, None), str(path))


def make(flags: dict[str, int], pins: dict[str, Path], inside: Callable[[], None]) -> None:
    """Make new namespaces, run `inside` in them, pin each as a file; all or none.

    `flags` and `pins` have the names of /proc/thread-self/ns: {"net": CLONE_NEWNET}.
    """
    homes = {name: open_own(name) for name in flags}
    pinned: list[Path] = []
    try:
        _check(_libc.unshare(sum(flags.values())), "unshare")
        try:
            inside()
            for name, path in pins.items():
                path.touch(mode=0o444)
                pinned.append(path)
                bind_mount(f"/proc/thread-self/ns/{name}", str(path))
        except BaseException:
            for path in pinned:
                unpin(path)
            raise
        finally:
            for name, home in homes.items():
                _return(home, flags[name])
    finally:
        for home in homes.values():
            os.close(home)


def unpin(path: Path) -> None:
    """Let a pinned namespace go; it ends when its last process and socket do."""
    unmount(str(path))
    path.unlink(missing_ok=True)


def is_pinned(path: Path) -> bool:
    """Whether a namespace is there, and not only the file that one was pinned to."""
    try:
        return path.stat().st_dev == _own().st_dev
    except FileNotFoundError:
        return False


def cookie(path: str, home: int | None = None) -> int | None:
    """Which network namespace a path leads to; None to none. Nothing is opened that could block.

    `home` as for `entered`. Retryable where it can't be told now.
    """
    try:
        if os.stat(path).st_dev != _own().st_dev:
            return None
        with entered(Netns(path), home):
            return _cookie()
    except OSError as error:
        if error.errno in EXHAUSTED:
            raise Retryable(f"{path} can't be looked at: {error.strerror}") from error
        return None


@cache
def own_cookie() -> int:
    """Which network namespace the process is in. Asked for by every ADD."""
    return _cookie()


def _cookie() -> int:
    """Of the calling thread's. No two namespaces have one, while inodes are given again at once."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as inside:
        try:
            found = inside.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
            return os.stat("/proc/thread-self/ns/net").st_ino  # a kernel before 5.14
    return int.from_bytes(found, sys.byteorder)


@cache
def _own() -> os.stat_result:
    """Of the main thread's namespace, which it never leaves."""
    return os.stat("/proc/self/ns/net")


def open_own(name: str) -> int:
    """The calling thread's own namespace of that kind, as a file descriptor to close."""
    # /proc/self is the main thread's, which is not the one that moves.
    return os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)


def _return(home: int, flag: int) -> None:
    if _libc.setns(home, flag) < 0:
        os._exit(70)  # the thread would act in a pod: nothing better than a new process


@contextmanager
def entered(netns: Netns, home: int | None = None) -> Iterator[None]:
    """The calling thread is in that network namespace, for the length of the block.

    `home`: the thread's own, where it is open anyway.
    """
    if netns == HOST:
        yield
        return
    back = open_own("net") if home is None else home
    try:
        target = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(target, CLONE_NEWNET), netns)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _return(back, CLONE_NEWNET)
    finally:
        if home is None:
            os.close(back)


def route_socket() -> socket.socket:
    """A route socket of the namespace the calling thread is in, whoever uses it later."""
    route = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
    route.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
    return route


def interface_index(inside: socket.socket, ifname: str) -> int:
    """The index in that socket's namespace: one ioctl, a microsecond, no message, no dump.

    It is not always 2 for a pod end: where tunnel modules are loaded a new namespace holds more
    than lo, and a chained plugin may have been there first.
    """
    try:
        reply = fcntl.ioctl(inside, SIOCGIFINDEX, _IFREQ.pack(ifname.encode(), 0))
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise NoSuchInterface(errno.ENODEV, f"no interface {ifname}") from error
        raise
    index: int = _IFREQ.unpack(reply)[1]
    return index


class Opened:
    """Namespaces open for the length of one plan: a file descriptor and a route socket each.

    `host` is a route socket of the calling thread's namespace, `home` that namespace itself.
    """

    def __init__(self, host: socket.socket, home: int) -> None:
        self._host, self._home = host, home
        self._fds: dict[Netns, int] = {}
        self._sockets: dict[Netns, socket.socket] = {HOST: host}

    def __enter__(self) -> "Opened":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        del self._sockets[HOST]
        for route in self._sockets.values():
            route.close()
        for fd in self._fds.values():
            os.close(fd)

    def fd(self, netns: Netns) -> int:
        """The namespace's file descriptor; OSError when it is gone."""
        if netns not in self._fds:
            self._fds[netns] = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        return self._fds[netns]

    def socket(self, netns: Netns) -> socket.socket:
        """A route socket inside."""
        if netns not in self._sockets:
            self.enter(netns)
            self.leave()
        return self._sockets[netns]

    def enter(self, netns: Netns) -> None:
        """The calling thread is in the namespace from here until `leave`."""
        if netns == HOST:
            return
        _check(_libc.setns(self.fd(netns), CLONE_NEWNET), netns)
        try:
            if netns not in self._sockets:
                self._sockets[netns] = route_socket()
        except OSError:
            self.leave()
            raise

    def leave(self) -> None:
        """The calling thread is at home."""
        _return(self._home, CLONE_NEWNET)
