"""Unpack the layers of an image into a folder. A program: `python -IS unpack.py JSON`.

    {"root": "/new/folder", "layers": [{"file", "offset", "size", "diff_id"}, ...]}

It makes the folder its own root before it reads the first name: whatever an archive says, absolute
paths, `..`, links of an earlier layer, nothing outside can be named. Layers are applied as the OCI
image spec has it (layer.md), whiteouts included. Devices are left out. A layer whose contents have
another digest than the image's config says is refused.
"""

import bz2
import contextlib
import ctypes
import errno
import gzip
import hashlib
import io
import json
import lzma
import os
import posixpath
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

BLOCK_BYTES = 1 << 20
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
XATTR = "SCHILY.xattr."
"""Before the names of extended attributes in a header (star, pax; image spec, layer.md)."""
MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
"""How a compressed file begins (RFC 1952, RFC 8878, magic(5))."""


class Damaged(Exception):
    """The image is not what it says it is; the message is for a person."""


class Slice(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: str, offset: int, size: int) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115 - closed with the slice
        self._file.seek(offset)
        self._left = size

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what fits."""
        count = self._file.readinto(memoryview(buffer)[: self._left])
        self._left -= count or 0
        return count or 0

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()


class Digested:
    """A stream that is read once, and what its bytes add up to."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream
        self._sum = hashlib.sha256()

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self._sum.update(data)
        return data

    def digest(self) -> str:
        """Of the whole stream: what was not read yet is read now."""
        while self.read(BLOCK_BYTES):
            pass
        return f"sha256:{self._sum.hexdigest()}"


def opened(file: str, offset: int, size: int) -> io.BufferedIOBase:
    """The layer without its compression."""
    with Slice(file, offset, size) as start:
        head = start.read(6) or b""
    raw = io.BufferedReader(Slice(file, offset, size), BLOCK_BYTES)
    kind = next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")
    if kind == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if kind == "bzip2":
        return bz2.BZ2File(raw)
    if kind == "xz":
        return lzma.LZMAFile(raw)
    return _zstd(raw) if kind == "zstd" else raw


def _zstd(raw: io.BufferedIOBase) -> io.BufferedIOBase:
    """By the program: Python has no zstd of its own before 3.14."""
    try:
        process = subprocess.Popen(
            ["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-3
        )
    except FileNotFoundError:
        raise Damaged("a layer is compressed with zstd: apt-get install zstd") from None
    given, taken = process.stdin, process.stdout
    assert given is not None and isinstance(taken, io.BufferedReader)

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), given:
            shutil.copyfileobj(raw, given, BLOCK_BYTES)

    threading.Thread(target=feed, daemon=True).start()
    return taken


def apply(stream: io.BufferedIOBase, diff_id: str) -> None:
    """Put a layer's files over what is there, in this process's root."""
    digested = Digested(stream)
    seen: set[str] = set()
    folders: list[tuple[str, float]] = []
    for tar, member in _members(digested):
        parent, name = posixpath.split(clean(member.name))
        # Links of lower layers are followed, within the root; the entry itself is none's target.
        parent = os.path.realpath(parent)
        path = posixpath.join(parent, name)
        if name == OPAQUE:
            _empty(parent, seen)
        elif name.startswith(WHITEOUT + WHITEOUT):
            continue  # aufs' own notes
        elif name.startswith(WHITEOUT):
            _remove(posixpath.join(parent, _hidden_name(name)))
        elif _put(tar, member, path):
            _note(path, seen)
            if member.isdir():
                folders.append((path, member.mtime))
    if digested.digest() != diff_id:
        raise Damaged(f"a layer has the digest {digested.digest()}, its config says {diff_id}")
    for path, mtime in reversed(folders):
        with contextlib.suppress(OSError):  # a later entry of the layer took its place
            os.utime(path, (mtime, mtime), follow_symlinks=False)


def _members(stream: Digested) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """The entries in the archive's order; no list of them is kept."""
    with tarfile.open(fileobj=stream, mode="r|", errorlevel=2) as tar:  # type: ignore[call-overload]
        for member in tar:
            yield tar, member
            tar.members.clear()


def clean(name: str) -> str:
    """The entry's path from the root; Damaged for one that climbs."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Damaged(f"an entry is named {name!r}: names may not climb")
    return "/" + "/".join(parts)


def _hidden_name(whiteout: str) -> str:
    name = whiteout.removeprefix(WHITEOUT)
    if name in ("", ".", ".."):
        raise Damaged(f"an entry is named {whiteout!r}: a whiteout names one entry of its folder")
    return name


def _note(path: str, seen: set[str]) -> None:
    """This layer has the path, and the folders above it."""
    while path not in seen and path != "/":
        seen.add(path)
        path = posixpath.dirname(path)


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bool:
    """Make one entry; False for what no image's file system should have."""
    if not (
        member.isreg() or member.isdir() or member.issym() or member.islnk() or member.isfifo()
    ):
        return False
    _make_room(path, folder=member.isdir())
    if member.islnk():
        os.link(clean(member.linkname), path, follow_symlinks=False)
        return True
    if member.isdir():
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
    elif member.issym():
        os.symlink(member.linkname, path)
    elif member.isfifo():
        os.mkfifo(path)
    else:
        content = tar.extractfile(member)
        assert content is not None
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            shutil.copyfileobj(content, file, BLOCK_BYTES)
    os.chown(path, member.uid, member.gid, follow_symlinks=False)
    if not member.issym():
        os.chmod(path, member.mode & 0o7777)
    _set_xattrs(path, member)
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
    return True


def _make_room(path: str, *, folder: bool) -> None:
    """The parent is there, and nothing in the entry's place but a folder where it is one."""
    os.makedirs(posixpath.dirname(path), exist_ok=True)
    if not (folder and os.path.isdir(path) and not os.path.islink(path)):
        _remove(path)


def _remove(path: str) -> None:
    if path == "/":
        raise Damaged("an entry stands for the root itself")
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def _empty(folder: str, seen: set[str]) -> None:
    """What lower layers have put there goes; what this layer has, stays."""
    if not os.path.isdir(folder):
        return
    for name in os.listdir(folder):
        path = posixpath.join(folder, name)
        if path not in seen:
            _remove(path)
        elif os.path.isdir(path) and not os.path.islink(path):
            _empty(path, seen)


def _set_xattrs(path: str, member: tarfile.TarInfo) -> None:
    """Capabilities of files are there among them."""
    for name, value in member.pax_headers.items():
        if name.startswith(XATTR):
            data = value.encode("utf-8", "surrogateescape")
            try:
                os.setxattr(path, name.removeprefix(XATTR), data, follow_symlinks=False)
            except OSError as error:
                if error.errno != errno.ENOTSUP:
                    raise


def main(text: str) -> None:
    """Unpack; what is wrong goes to standard error, in a sentence."""
    job = json.loads(text)
    try:
        streams = [
            (opened(layer["file"], layer["offset"], layer["size"]), layer["diff_id"])
            for layer in job["layers"]
        ]
        os.umask(0o022)
        os.chroot(job["root"])
        os.chdir("/")
        for stream, diff_id in streams:
            apply(stream, diff_id)
        root = os.open("/", os.O_RDONLY)
        ctypes.CDLL(None).syncfs(root)  # what is renamed into place has to be there after a crash
    except Damaged as error:
        sys.exit(str(error))
    except (
        tarfile.TarError,
        EOFError,
        lzma.LZMAError,
        OSError,
        ValueError,
        OverflowError,
    ) as error:
        sys.exit(f"a layer can't be unpacked: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
