"""A container's log as conmon writes it, in the CRI's format: `TIME STREAM F|P TEXT` a line.

P marks a piece of a line that goes on in the next entry.
"""

import os

BLOCK_BYTES = 1 << 16


class LogFile:
    """An open log. `read` gives what was written since, as the container wrote it."""

    def __init__(self, path: str, *, tail: int = -1, timestamps: bool = False) -> None:
        self._path = path
        self._timestamps = timestamps
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - as long as the process lives
        self._rest = b""
        self._within = False  # the last entry was a piece, so its line goes on
        if tail >= 0:
            self._file.seek(_start_of_last(self._file.fileno(), tail))

    def read(self) -> bytes:
        """All there is by now; where the file was replaced, the rest of the old one first."""
        text = self._read()
        if not text and self._is_replaced():
            self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115
            text = self._read()
        lines = (self._rest + text).split(b"\n")
        self._rest = lines.pop()
        return b"".join(map(self._entry, lines))

    def _read(self) -> bytes:
        return b"".join(iter(lambda: self._file.read(BLOCK_BYTES) or b"", b""))

    def _entry(self, line: bytes) -> bytes:
        """The text of one entry, with its line's end if it has it."""
        time, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        stamp = time + b" " if self._timestamps and not self._within else b""
        self._within = tag == b"P"
        return stamp + text + (b"" if self._within else b"\n")

    def _is_replaced(self) -> bool:
        ours = os.fstat(self._file.fileno())
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False
        return there.st_ino != ours.st_ino


def _start_of_last(file: int, count: int) -> int:
    """Where the last so many entries begin."""
    at = os.fstat(file).st_size
    left = count + 1  # the last entry's own end counts, too
    while at > 0:
        begin = max(at - BLOCK_BYTES, 0)
        block = os.pread(file, at - begin, begin)
        while (found := block.rfind(b"\n")) >= 0:
            left -= 1
            if left == 0:
                return begin + found + 1
            block = block[:found]
        at = begin
    return 0
