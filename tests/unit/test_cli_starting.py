"""An agent that is started beside a command, and ended by `down`."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from podnet_cli import starting
from podnet_cli.client import Failure, Refused
from podnet_cli.main import run

AGENT = """
import os, sys, pathlib, threading
from support.fake_agent import FakeAgent, status
folder = pathlib.Path(sys.argv[1])
with open(folder / "started", "a") as file:
    print(os.getpid(), file=file)
over = threading.Event()
def down(_):
    threading.Timer(0.05, over.set).start()
    return {"removed": {"podsandboxes": 2, "podnetworks": 0}, "notes": ["forwarding stays on"]}
agent = FakeAgent(folder, {
    "GET /version": {"version": "1", "pid": os.getpid()},
    "GET /objects/podsandboxes": {"items": []},
    "POST /apply": status(400, "Invalid", "wrong", problems=[]),
    "POST /down": down,
})
over.wait(20)
agent.close()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where an agent listens that is started by the program below; its processes end here."""
    tests = Path(__file__).parents[1]
    monkeypatch.setenv("PODNET_SOCKET", str(tmp_path / "agent.sock"))
    monkeypatch.setenv("PYTHONPATH", str(tests))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command = [sys.executable, "-c", AGENT, str(tmp_path)]
    monkeypatch.setattr(starting, "agent_command", lambda verb, *more: command)
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(real(*args, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", popen)
    yield tmp_path
    for process in started:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_two_that_start_an_agent_at_once_start_one(folder: Path) -> None:
    threads = [threading.Thread(target=starting.start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert starting.answers()
    assert len((folder / "started").read_text().split()) == 1


def test_an_agent_that_does_not_start_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "agent.log").write_text("an older agent's last words\n")
    for code, why in (
        ("print('x', flush=True); sys.exit('podnet-agent: no runc here')", "no runc here"),
        ("sys.exit(3)", "it said nothing"),
    ):
        command = [sys.executable, "-c", f"import sys; {code}"]
        monkeypatch.setattr(starting, "agent_command", lambda verb, command=command: command)
        with pytest.raises(Failure) as caught:
            starting.start()
        assert caught.value.text == f"error: the agent did not start: {why}"


def test_who_is_not_root_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Failure, match="run it as root"):
        starting.start()
    assert not (folder / "started").exists()


def test_an_agent_started_for_nothing_is_ended_again(folder: Path) -> None:
    with pytest.raises(Refused):
        starting.call_or_start("POST", "/apply", {"sources": []})
    assert starting.until(lambda: not starting.answers(), 10)


def test_up_without_a_manifest_starts_the_agent_and_nothing_else(folder: Path) -> None:
    assert [run(["up"]), run(["up"])] == [0, 0]
    assert starting.answers()
    assert len((folder / "started").read_text().split()) == 1


def test_down_ends_with_the_agents_process(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    starting.start()
    assert run(["down"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("removed 2 podsandboxes\n", "forwarding stays on\n")
    assert not starting.answers()
