"""What runc's words mean, and what is known of processes by files alone."""

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from podnet.errors import PodNetError
from podnet_agent.runtime import CannotRun, Files, failures, processes, runc

BEGIN = 'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start container'


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        (
            rf'{BEGIN} process: exec: \"x\": executable file not found in $PATH"',
            127,
            'container c: command "x": executable file not found in $PATH',
        ),
        (
            rf'{BEGIN} process: exec: \"/x\": stat /x: no such file or directory"',
            127,
            'container c: command "/x": stat /x: no such file or directory',
        ),
        (
            rf'{BEGIN} process: exec: \"/etc\": permission denied"',
            126,
            'container c: command "/etc": permission denied',
        ),
        (
            rf'{BEGIN} process: error mounting \"/a\": no such file or directory"',
            None,
            'container c: error mounting "/a": no such file or directory',
        ),
        ("some words\n", None, "container c: some words"),
        ("", None, "container c: runc failed and said nothing"),
    ],
)
def test_runcs_words_become_a_sentence(said: str, code: int | None, sentence: str) -> None:
    error = failures.failure("c", said)
    assert str(error) == sentence
    assert (error.exit_code if isinstance(error, CannotRun) else None) == code


def test_a_program_that_is_missing_is_said_with_its_package() -> None:
    with pytest.raises(PodNetError, match="no-such is not installed: apt-get install no-such"):
        processes.find("no-such")


def test_a_program_is_run_to_its_end_though_a_child_of_it_goes_on() -> None:
    done = asyncio.run(
        asyncio.wait_for(processes.run(["/bin/sh", "-c", "sleep 30 & echo $! >&2; exit 3"]), 5)
    )
    code, said = done
    os.kill(int(said), 9)
    assert code == 3


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files("id", "c", tmp_path, tmp_path)


def test_a_number_that_another_process_has_by_now_is_nobodys(files: Files) -> None:
    assert runc.monitor_of(files) is None
    assert runc.first_process(files) is None
    for file in (files.monitor_pid, files.pid):
        file.write_text(str(os.getpid()))  # neither a conmon of ours, nor a child of one
    assert runc.monitor_of(files) is None
    assert runc.first_process(files) is None
    assert runc.send(files, 9) is False


def test_what_has_no_handler_is_told_from_what_has(files: Files) -> None:
    assert runc.heeds(files, 15) is False
    for script, heeds in (("trap : 15", True), ("trap '' 15", True), (":", False)):
        words = ["/bin/sh", "-c", f"{script}; echo; read x"]
        shell = subprocess.Popen(words, stdin=-1, stdout=-1)
        assert shell.stdout is not None and shell.stdin is not None
        shell.stdout.readline()
        files.pid.write_text(str(shell.pid))
        assert runc.heeds(files, 15) is heeds
        shell.stdin.close()
        shell.stdout.close()
        shell.wait(5)
