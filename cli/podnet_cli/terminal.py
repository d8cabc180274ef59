"""A container's standard streams on this process's own, through conmon's attach socket.

The socket is SOCK_SEQPACKET. From conmon each packet is one byte that names the stream (2 output,
3 error output) and up to 8192 bytes of it; to conmon, packets are standard input as they are, and
shutting the writing side down is its end. A terminal's size goes to the control pipe as one line,
`1 ROWS COLUMNS` (conmon, src/conn_sock.c and src/ctrl.c).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKET_BYTES = 1 << 16
"""More than conmon ever sends at once."""
INPUT_BYTES = 8192
STDERR_PACKET = 3
ACCEPT_SECONDS = 5.0
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PATIENCE = 3
"""So many SIGINTs that the command does not heed make us leave it."""


class Streams:
    """Attached to one container from when it is made. Start the container, then `pump`."""

    def __init__(self, attach: str, control: str, *, stdin: bool, tty: bool) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with _short(attach) as path:
            self._socket.connect(path)
        _until_accepted(str(self._socket.getpeername()).encode())
        self._control = control
        self._stdin, self._tty = stdin, tty
        self._pending = b""
        self._impatient = 0

    def pump(self, forward: Callable[[str], None]) -> None:
        """Carry bytes both ways until the container has ended; `forward` sends it a signal."""
        with _signals(window=self._tty) as signals, _raw(self._tty and self._stdin):
            self._resize()
            while True:
                readable = {fd for fd, _ in self._poll(signals).poll()}
                if signals in readable:
                    for number in os.read(signals, 64):
                        self._signal(number, forward)
                if 0 in readable and self._stdin and not self._pending:
                    self._read_input()
                if self._pending:
                    self._write_input()
                if self._socket.fileno() in readable and not self._copy_output():
                    return

    def _poll(self, signals: int) -> select.poll:
        """Input is only read when the last of it was taken: a slow reader must not fill us."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        out = select.POLLOUT if self._pending else 0
        poll.register(self._socket.fileno(), select.POLLIN | out)
        if self._stdin and not self._pending:
            poll.register(0, select.POLLIN)
        return poll

    def _read_input(self) -> None:
        self._pending = os.read(0, INPUT_BYTES)
        if not self._pending:
            self._stdin = False
            with contextlib.suppress(OSError):  # it may have ended meanwhile
                self._socket.shutdown(socket.SHUT_WR)

    def _write_input(self) -> None:
        try:
            self._socket.send(self._pending, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionError):
            self._stdin = False
        self._pending = b""

    def _copy_output(self) -> bool:
        """One packet to where it belongs; False at the end."""
        try:
            packet = self._socket.recv(PACKET_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        text = memoryview(packet)[1:]
        while text:
            text = text[os.write(2 if packet[0] == STDERR_PACKET else 1, text) :]
        return bool(packet)

    def _signal(self, number: int, forward: Callable[[str], None]) -> None:
        if number == signal.SIGWINCH:
            return self._resize()
        self._impatient += number == signal.SIGINT
        if self._impatient >= PATIENCE:
            print("the command does not heed SIGINT: left", file=sys.stderr)
            raise KeyboardInterrupt
        return forward(signal.Signals(number).name.removeprefix("SIG"))

    def _resize(self) -> None:
        """Tell the container's terminal how large ours is."""
        if not self._tty or not os.isatty(1):
            return
        size = os.get_terminal_size(1)
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            pipe = os.open(self._control, os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, b"1 %d %d\n" % (size.lines, size.columns))
            finally:
                os.close(pipe)


def _until_accepted(address: bytes) -> None:
    """Return once the other side knows of us: conmon passes on what is written from then on alone.

    A connection that nobody has accepted has no inode yet, and the state SS_CONNECTING
    (net/unix/af_unix.c, unix_seq_show).
    """
    deadline = time.monotonic() + ACCEPT_SECONDS
    while time.monotonic() < deadline:
        with open("/proc/net/unix", "rb") as file:
            if not any(line.split(None, 7)[5:] == [b"02", b"0", address + b"\n"] for line in file):
                return
        time.sleep(0.001)


@contextlib.contextmanager
def _signals(*, window: bool) -> Iterator[int]:
    """A descriptor to read the numbers of signals from that would have ended this process."""
    numbers = [*FORWARDED, *([signal.SIGWINCH] if window else [])]
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """The terminal passes every key on, as it comes; afterwards it is what it was."""
    if not wanted or not os.isatty(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSANOW)  # what was typed ahead is for the command: not flushed
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _short(path: str) -> Iterator[str]:
    """A name for a socket whose path may be longer than the 107 bytes an address has room for."""
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{os.path.basename(path)}"
    finally:
        os.close(folder)
