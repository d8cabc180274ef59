"""A private host by hand: `tests/support/enter.py COMMAND`."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

from support.guard import untouched
from support.host import until

ENTER = str(Path(__file__).parents[1] / "support/enter.py")


def test_enter_runs_a_command_and_passes_on_its_end(tmp_path: Path) -> None:
    with untouched():
        enter = [ENTER, "--"]
        told = subprocess.run(
            [*enter, "sh", "-c", "pwd; cat; ip -br link | wc -l; exit 7"],
            input="typed\n",
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert (told.returncode, told.stdout) == (7, f"{tmp_path}\ntyped\n1\n")
        killed = subprocess.run([*enter, "sh", "-c", "kill -9 $$"])
        assert killed.returncode == 137
        assert subprocess.run(enter, capture_output=True).returncode == 2


def test_enter_takes_its_command_along_when_told_to_end() -> None:
    enter = subprocess.Popen(
        [ENTER, "sh", "-c", "echo up; sleep 1000"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert enter.stdout is not None and enter.stdout.readline() == "up\n"
    enter.terminate()
    assert enter.communicate(timeout=30)[0] == ""  # ends when nobody holds the pipe
    assert enter.returncode == 128 + signal.SIGTERM


def test_enter_gives_its_terminal_to_the_command() -> None:
    """Input, output, whether there is a terminal, and the interrupt key."""
    terminal, end = pty.openpty()
    script = "test -t 0 && test -t 1 && echo terminal; read word; echo read $word; sleep 1000"
    enter = subprocess.Popen(
        [ENTER, "sh", "-c", script],
        stdin=end, stdout=end, stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(end)
    seen = b""

    def shown(text: bytes) -> bool:
        nonlocal seen
        if select.select([terminal], [], [], 0)[0]:
            seen += os.read(terminal, 1024)
        return text in seen

    def is_interrupted() -> bool:
        os.write(terminal, b"\x03")
        with suppress(subprocess.TimeoutExpired):  # sh swallows one just before it starts sleep
            enter.wait(5)
        return enter.returncode is not None

    try:
        until(lambda: shown(b"terminal"), "a terminal inside", 30)
        os.write(terminal, b"typed\n")
        until(lambda: shown(b"read typed"), "what was typed", 30)
        until(is_interrupted, "the interrupt key to end it", 20)
        assert enter.returncode == 128 + signal.SIGINT
    finally:
        enter.kill()
        enter.wait()
        os.close(terminal)
