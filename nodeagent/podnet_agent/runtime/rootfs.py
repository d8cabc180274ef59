"""A container's root: the image's tree with a private writable layer above, and who lives in it."""

import contextlib
import ctypes
import errno
import os
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from podnet.errors import PodNetError
from podnet_agent import namespaces
from podnet_agent.runtime.bundle import User

OPENAT2 = 437
"""The system call's number, on every kind of machine (openat2(2))."""
RESOLVE_IN_ROOT = 0x10
_OPEN_HOW = struct.Struct("3Q")
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
SHM_BYTES = 64 << 20
"""Docker's size of /dev/shm."""
DISK_FILE_SYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "overlay", "erofs", "squashfs")
)
NOT_OF_ROOT = frozenset(("proc", "sys", "dev", "run", "tmp", "mnt", "media", "boot", "snap"))
HIGHEST_ID = (1 << 31) - 1
"""Docker's bound of a user's or group's number (moby/sys, user)."""

_libc = ctypes.CDLL(None, use_errno=True)


class NoSuchUser(PodNetError):
    """The image has no user or group of that name."""


class TooDeep(PodNetError):
    """The kernel takes no mount like that here: overlays lie over overlays."""


def mount(folder: Path, lower: Path, parts: Sequence[str] = ()) -> Path:
    """Mount `lower` with a writable layer that lies in `folder`, there as `rootfs`.

    The folders `parts` of `lower`, which are mounts themselves, have a layer of their own each: an
    overlay does not see what is mounted in its lower layer.
    """
    target = folder / "rootfs"
    target.mkdir(mode=0o755, exist_ok=True)
    _overlay(lower, folder, "", target)
    for number, part in enumerate(parts):
        # Overlays lie over each other two deep at most; then the folder stays as the root has it.
        with contextlib.suppress(TooDeep):
            _overlay(lower / part.lstrip("/"), folder, str(number), target / part.lstrip("/"))
    return target


def parts_of_machine() -> tuple[str, ...]:
    """The machine's folders with file systems of their own that belong to its root: /usr, /home.

    What is mounted deeper is of programs' own (other containers' roots); boot files, media and what
    the kernel makes up are left out.
    """
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        path, kind = before.split(" ")[4], after.split(" ", 1)[0]
        top = path.split("/")[1]
        if kind in DISK_FILE_SYSTEMS and top not in NOT_OF_ROOT and 1 <= path.count("/") <= 2:
            found.add(path)
    return tuple(sorted(found - {"/"}))


def _overlay(lower: Path, folder: Path, number: str, target: Path) -> None:
    upper, work = folder / f"upper{number}", folder / f"work{number}"
    for layer in (upper, work):
        layer.mkdir(mode=0o755, exist_ok=True)
    options = f"lowerdir={_quoted(lower)},upperdir={upper},workdir={work}"
    _mount("overlay", target, 0, options)


def remove_tree(folder: Path, mounted: str = "rootfs") -> None:
    """Take away what is mounted in the folder, then the folder; nothing there is success."""
    namespaces.unmount(str(folder / mounted))
    shutil.rmtree(folder, ignore_errors=True)


def mount_shm(target: Path) -> None:
    """Memory that the processes of a sandbox share by name."""
    target.mkdir(mode=0o1777, exist_ok=True)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _mount("tmpfs", target, flags, f"mode=1777,size={SHM_BYTES}", "shm")


def _mount(kind: str, target: Path, flags: int, options: str, name: str = "") -> None:
    """`name`: what df calls it, where that is not its kind."""
    words = [word.encode() for word in (name or kind, str(target), kind, options)]
    if _libc.mount(*words[:3], ctypes.c_ulong(flags), words[3]) < 0:
        code = ctypes.get_errno()
        error = TooDeep if code == errno.EINVAL else PodNetError
        raise error(
            f"{kind} can't be mounted on {target}: {os.strerror(code)} ({options}): `podnet doctor`"
            f" says what this machine lacks"
        )


def _quoted(path: Path) -> str:
    """A colon parts lower layers and a comma options (kernel, filesystems/overlayfs)."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


class Account(NamedTuple):
    """A line of passwd."""

    name: str
    uid: str
    gid: str


class Group(NamedTuple):
    """A line of group."""

    name: str
    gid: str
    members: list[str]


def find_user(root: Path, text: str, below: Sequence[Path] = ()) -> User:
    """`uid`, `uid:gid`, `name` or `name:group` in numbers, by the root's own passwd and group.

    `below`: the layers under `root`, from the top, where they are not mounted.

    As Docker does it: a number that passwd does not have is taken as it is; the groups a user is
    in count only where no group is given; the first group is among the others, so that a file's
    permissions for that group, fewer than others have, can't be evaded.
    """
    who, colon, group_text = (text or "0").partition(":")
    layers = (root, *below)
    accounts = [Account(row[0], row[2], row[3]) for row in _rows(layers, "passwd", 4)]
    groups = [Group(row[0], row[2], row[3].split(",")) for row in _rows(layers, "group", 4)]
    account = next((each for each in accounts if who in (each.name, each.uid)), None)
    if account is None:
        account = Account("", _number(who, "user", "passwd"), "0")
    uid, gid = int(account.uid), int(account.gid)
    if not colon:
        also = [int(each.gid) for each in groups if account.name in each.members and account.name]
        return User(uid, gid, tuple(dict.fromkeys((gid, *also))))
    group = next((each for each in groups if group_text in (each.name, each.gid)), None)
    gid = int(group.gid if group else _number(group_text, "group", "group"))
    return User(uid, gid, (gid,))


def _number(text: str, what: str, file: str) -> str:
    if not text.isdecimal() or int(text) > HIGHEST_ID:
        raise NoSuchUser(
            f"{what} {text!r} is not in the image's /etc/{file}: name one that is, or a number up"
            f" to {HIGHEST_ID}"
        )
    return text


def _rows(layers: Sequence[Path], name: str, least: int) -> list[list[str]]:
    """The lines of a file in the root's /etc, cut at colons; what makes no sense is left out."""
    texts = (_read(layer, f"etc/{name}") for layer in layers)
    rows = [line.split(":") for line in next(filter(None, texts), "").splitlines()]
    numbers = slice(2, 4) if name == "passwd" else slice(2, 3)
    return [
        row
        for row in rows
        if len(row) >= least and all(number.isdecimal() for number in row[numbers])
    ]


def _read(root: Path, path: str) -> str:
    """The file as the container would see it: links lead nowhere out of the root; "" if none."""
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = _OPEN_HOW.pack(os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, 0, RESOLVE_IN_ROOT)
        fd = _libc.syscall(OPENAT2, at, path.encode(), how, _OPEN_HOW.size)
    finally:
        os.close(at)
    if fd < 0:
        return ""
    with open(fd, errors="replace") as file:
        return file.read()
