"""The program that writes a node's containers' logs: the CRI's format, new files, odd input."""

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from podnet_agent.runtime.containerd import logger
from podnet_cli.logfile import LogFile
from support.host import until

PROGRAM = Path(sys.executable).with_name("podnet-logger")
ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) [FP] ")


BECOME = """
import os, sys
program, log, *ends = sys.argv[1:]
for number, end in enumerate(ends):
    os.dup2(int(end), 3 + number)
os.closerange(6, 100)
os.execv(program, [program, "log", log])
"""


class Logger:
    """The program as the shim starts it: the container's streams are 3 and 4."""

    def __init__(self, log: Path) -> None:
        self.out, self.err = os.pipe(), os.pipe()
        ready = os.pipe()
        # Away from 3 to 5, which they become in the program.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (self.out[0], self.err[0], ready[1])]
        words = [sys.executable, "-IS", "-c", BECOME, PROGRAM, log, *map(str, ends)]
        self.process = subprocess.Popen(words, pass_fds=ends)
        for end in (*ends, self.out[0], self.err[0], ready[1]):
            os.close(end)
        assert os.read(ready[0], 1) == b""  # it is ready
        os.close(ready[0])

    def end(self) -> int:
        for stream in (self.out[1], self.err[1]):
            os.close(stream)
        return self.process.wait(10)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def program(log: Path) -> Iterator[Logger]:
    assert PROGRAM.exists(), f"{PROGRAM} is not there: `make install` compiles it"
    program = Logger(log)
    yield program
    program.process.kill()
    program.process.wait()


def test_each_line_is_an_entry_with_its_stream(log: Path, program: Logger) -> None:
    os.write(program.out[1], b"one\n\ntwo\n")
    os.write(program.err[1], b"three\n")
    assert program.end() == 0
    lines = log.read_text().splitlines()
    assert all(ENTRY.match(line) for line in lines)
    assert sorted(line.split(" ", 1)[1] for line in lines) == [
        "stderr F three",
        "stdout F ",
        "stdout F one",
        "stdout F two",
    ]
    assert log.stat().st_mode & 0o777 == 0o640


def test_what_was_said_comes_back_byte_by_byte(log: Path, program: Logger) -> None:
    text = b"long" * 5000 + b"\n" + bytes(range(1, 256)) + b"\n" + b"no end"
    os.write(program.out[1], text)
    assert program.end() == 0
    assert LogFile(str(log)).read() == text


def test_it_goes_on_after_sigterm_until_the_streams_end(log: Path, program: Logger) -> None:
    program.process.terminate()
    os.write(program.out[1], b"last word\n")
    assert program.end() == 0
    assert log.read_text().endswith("stdout F last word\n")


def test_a_log_that_is_there_is_continued(log: Path) -> None:
    log.write_text("before\n")
    program = Logger(log)
    os.write(program.out[1], b"after\n")
    assert program.end() == 0
    assert log.read_text().startswith("before\n") and "after" in log.read_text()


def test_a_long_log_begins_anew_and_readers_see_another_file(log: Path, program: Logger) -> None:
    os.write(program.out[1], b"first\n")
    until(lambda: log.read_text(), "an entry")
    reader = LogFile(str(log))
    said = reader.read()
    for number in range(130):
        os.write(program.out[1], b"%0100000d\n" % number)
        said += reader.read()
    assert program.end() == 0
    assert log.stat().st_size < 10 << 20
    assert [int(line[-9:]) for line in (said + reader.read()).split()[1:]] == list(range(130))


def test_the_node_gets_the_program_once_and_a_new_one_in_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    path = logger.install(folder)
    assert path.read_bytes() == PROGRAM.read_bytes() and os.access(path, os.X_OK)
    before = path.stat().st_ino
    assert logger.install(folder).stat().st_ino == before
    path.write_bytes(b"old")
    assert logger.install(folder).read_bytes() == PROGRAM.read_bytes()
    assert list(folder.iterdir()) == [path]
