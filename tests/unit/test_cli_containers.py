"""run, exec and logs: the program as a process, with an agent that answers what it is told to, and
a conmon that sends what it is told to."""

import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from podnet_cli.terminal import Streams
from support.fake_agent import FakeAgent, Stream, serve, status
from support.host import until

PODNET = [sys.executable, "-c", "from podnet_cli.main import main; main()"]
OBJECT = "/objects/podsandboxes/default/job"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    yield from serve(tmp_path)


def start(agent: FakeAgent, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PODNET_SOCKET": str(agent.path)}
    pipes: dict[str, Any] = {"stdin": -3, "stdout": -1, "stderr": -1}
    return subprocess.Popen([*PODNET, *arguments], env=environment, **(pipes | options))


def podnet(agent: FakeAgent, *arguments: str, text: bytes | None = None) -> tuple[int, str, str]:
    given: dict[str, Any] = {} if text is None else {"stdin": subprocess.PIPE}
    process = start(agent, *arguments, **given)
    out, err = process.communicate(text, timeout=20)
    return process.returncode, out.decode(), err.decode()


class FakeConmon:
    """One container's end of an attach socket."""

    def __init__(self, folder: Path) -> None:
        self.attach, self.control = folder / "attach", folder / "ctl"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.attach))
        self._listener.listen()
        os.mkfifo(self.control)
        self.control_fd = os.open(self.control, os.O_RDWR | os.O_NONBLOCK)
        self.connection: socket.socket | None = None

    def accept(self) -> None:
        self.connection, _ = self._listener.accept()

    def send(self, *packets: bytes) -> None:
        assert self.connection
        for packet in packets:
            self.connection.send(packet)

    def close(self) -> None:
        for each in (self._listener, self.connection):
            if each:
                each.close()
        os.close(self.control_fd)


@pytest.fixture
def conmon(tmp_path: Path) -> Iterator[FakeConmon]:
    folder = tmp_path / ("long" * 30)  # an address of a socket has room for 107 bytes
    folder.mkdir()
    here = os.getcwd()
    os.chdir(folder)
    try:
        made = FakeConmon(Path("."))
    finally:
        os.chdir(here)
    made.attach, made.control = folder / "attach", folder / "ctl"
    yield made
    made.close()


def container(agent: FakeAgent, conmon: FakeConmon, exit_code: int = 0) -> None:
    """Let the agent make a container on that conmon, and see it end with that code."""
    ends = {"socket": str(conmon.attach), "control": str(conmon.control)}
    meta = {"name": "job", "namespace": "default", "uid": "u"}
    ended = {"containers": [{"name": "main", "state": "exited", "exitCode": exit_code}]}
    body = {"kind": "PodSandbox", "metadata": meta, "spec": {}, "status": ended}
    agent.answers["POST /run"] = {"object": body, "attach": {"main": ends}, "warnings": ["w!"]}
    agent.answers["POST /start/default/job"] = {}
    agent.answers["GET /watch/podsandboxes?namespace=default"] = Stream(
        [{"type": "ADDED", "object": body}, {"type": "BOOKMARK", "object": {}}]
    )
    agent.answers[f"DELETE {OBJECT}"] = body


def asked(agent: FakeAgent) -> list[str]:
    return [what for what, _ in agent.asked]


def test_run_is_the_command_with_its_streams_and_exit_code(
    agent: FakeAgent, conmon: FakeConmon
) -> None:
    container(agent, conmon, exit_code=7)
    process = start(agent, "run", "--rm", "--name", "job", "--net=none", "--", "x", "-y")
    conmon.accept()
    conmon.send(b"\2out ", b"\3err", b"\2put")
    conmon.connection.close()  # type: ignore[union-attr]
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (7, b"out put", b"WARNING: w!\nerr")
    assert asked(agent) == [
        "POST /run",
        "POST /start/default/job",
        "GET /watch/podsandboxes?namespace=default",
        f"DELETE {OBJECT}",
    ]
    sent = agent.asked[0][1]
    assert (sent["stdin"], sent["tty"]) == (False, False)
    assert sent["object"]["spec"]["network"] == {"mode": "None"}
    assert sent["object"]["spec"]["containers"][0]["command"] == ["x", "-y"]


def test_run_passes_its_input_on_and_ends_it(agent: FakeAgent, conmon: FakeConmon) -> None:
    container(agent, conmon)
    text = os.urandom(1 << 20)
    process = start(agent, "run", "-i", "--name=job", "cat", stdin=subprocess.PIPE)
    conmon.accept()

    def echo() -> None:
        assert conmon.connection
        while packet := conmon.connection.recv(1 << 16):
            conmon.send(b"\2" + packet)
        conmon.connection.close()

    thread = threading.Thread(target=echo, daemon=True)
    thread.start()
    out, _ = process.communicate(text, timeout=20)
    thread.join(10)
    assert process.returncode == 0
    assert out == text
    assert f"DELETE {OBJECT}" not in asked(agent)


def test_run_forwards_signals(agent: FakeAgent, conmon: FakeConmon) -> None:
    container(agent, conmon, exit_code=143)
    kill = "POST /kill/default/job?container=main&signal=TERM"
    agent.answers[kill] = {}
    process = start(agent, "run", "--name", "job", "sleep", "9")
    conmon.accept()
    conmon.send(b"\2ready")
    assert process.stdout is not None
    assert process.stdout.read(5) == b"ready"
    process.send_signal(signal.SIGTERM)
    until(lambda: kill in asked(agent), "the signal", 10)
    conmon.connection.close()  # type: ignore[union-attr]
    process.communicate(timeout=20)
    assert process.returncode == 143


def test_run_gives_a_terminal_and_its_size(agent: FakeAgent, conmon: FakeConmon) -> None:
    container(agent, conmon)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 44))
    before = termios.tcgetattr(theirs)
    os.write(ours, b"ahead\n")  # typed before the command is there to read it
    process = start(
        agent, "run", "-it", "--name", "job", "sh", stdin=theirs, stdout=theirs, stderr=theirs
    )
    conmon.accept()
    until(lambda: _read(conmon.control_fd) == b"1 33 44\n", "the terminal's size", 10)
    assert conmon.connection
    assert conmon.connection.recv(10) == b"ahead\n"
    os.write(ours, b"\x03a")  # in raw mode the interrupt key is a byte like any other
    assert conmon.connection.recv(10) == b"\x03a"
    termios.tcsetwinsize(theirs, (10, 20))
    process.send_signal(signal.SIGWINCH)
    until(lambda: _read(conmon.control_fd) == b"1 10 20\n", "the new size", 10)
    conmon.connection.close()
    assert process.wait(20) == 0
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    except BlockingIOError:
        return b""


def test_run_detached_prints_the_name(agent: FakeAgent, conmon: FakeConmon) -> None:
    container(agent, conmon)
    assert podnet(agent, "run", "-d", "--name", "job", "x")[:2] == (0, "job\n")
    assert asked(agent) == ["POST /run", "POST /start/default/job"]


@pytest.mark.parametrize(
    ("arguments", "answer", "code", "sentence"),
    [
        (["run"], {}, 125, "error: image `host` has no command of its own"),
        (
            ["run", "--frob", "x"],
            {},
            125,
            "error: option --frob not recognized: `podnet run --help`",
        ),
        (["run", "--rm", "--restart=always", "x"], {}, 125, "error: conflicting options"),
        (["run", "-it", "x"], {}, 125, "error: the input device is not a TTY: leave out -t"),
        (["run", "x"], status(409, "Conflict", "no"), 125, "Error from server (Conflict): no"),
        (["run", "x"], status(409, "Conflict", "no", exitCode=127), 127, "Error from server"),
    ],
)
def test_run_that_fails_has_dockers_exit_codes(
    arguments: list[str], answer: Any, code: int, sentence: str, agent: FakeAgent
) -> None:
    agent.answers["POST /run"] = answer
    found, out, err = podnet(agent, *arguments)
    assert (found, out) == (code, "")
    assert err.startswith(sentence)


def test_what_cannot_be_started_is_not_left_behind(agent: FakeAgent, conmon: FakeConmon) -> None:
    container(agent, conmon)
    agent.answers["POST /start/default/job"] = status(409, "Conflict", "no x", exitCode=127)
    code, _, err = podnet(agent, "run", "--name", "job", "x")
    assert (code, err) == (127, "WARNING: w!\nError from server (Conflict): no x\n")
    assert asked(agent)[-1] == f"DELETE {OBJECT}"


def two_containers(agent: FakeAgent) -> None:
    agent.answers[f"GET {OBJECT}"] = {
        "kind": "PodSandbox",
        "metadata": {"name": "job", "namespace": "default"},
        "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
    }


def test_exec_becomes_the_command(agent: FakeAgent) -> None:
    two_containers(agent)
    argv = ["sh", "-c", 'echo "$@"; cat; exit 5', "sh"]
    agent.answers["GET /exec/default/job?container=a"] = {"argv": argv}
    agent.answers["GET /exec/default/job?container=b"] = {"argv": argv}
    said = 'Defaulted container "a" out of: a, b\n'
    assert podnet(agent, "exec", "job", "--", "-x", "y", text=b"in") == (5, "-x y\n", said)
    got = podnet(agent, "exec", "-i", "psb/job", "-c", "b", "--", "y", text=b"in")
    assert got == (5, "y\nin", "")
    code, _, err = podnet(agent, "exec", "job", "-c", "z", "--", "y")
    assert (code, err) == (1, "error: container z is not valid for sandbox job out of: a, b\n")


def test_logs_follow_until_the_container_ends(agent: FakeAgent, tmp_path: Path) -> None:
    two_containers(agent)
    path = tmp_path / "log"
    path.write_bytes(b"T stdout F one\nT stderr F two\n")
    place = {"path": str(path), "running": True}
    agent.answers["GET /logs/default/job?container=b"] = lambda _: place
    assert podnet(agent, "logs", "job", "b")[1] == "one\ntwo\n"
    assert podnet(agent, "logs", "job", "-c", "b", "--tail", "1", "--timestamps")[1] == "T two\n"
    process = start(agent, "logs", "-f", "job", "-c", "b", "--tail=1")
    assert process.stdout is not None
    assert process.stdout.readline() == b"two\n"
    with path.open("ab") as file:
        file.write(b"T stdout F three\n")
    assert process.stdout.readline() == b"three\n"
    place["running"] = False
    assert process.communicate(timeout=20)[0] == b""
    assert process.returncode == 0


def test_run_waits_until_it_would_miss_nothing(tmp_path: Path) -> None:
    """What a container writes before conmon has taken our connection would be lost."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "attach"))
    listener.listen()
    attached = threading.Event()

    def attach() -> None:
        Streams(str(tmp_path / "attach"), "", stdin=False, tty=False)
        attached.set()

    thread = threading.Thread(target=attach)
    thread.start()
    assert not attached.wait(0.1)
    taken, _ = listener.accept()
    assert attached.wait(5)
    thread.join()
    taken.close()
    listener.close()
