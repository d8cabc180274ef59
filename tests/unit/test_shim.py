"""The CNI plugin's program under sanitizers: any answer and none, its time, its queue (S35)."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.shim import ADD, CONFIG, MIB, RESULT, SOURCE, RawAgent, asks, http, run

INSTALLED = Path(sys.executable).with_name("podnet-cni")
ERROR = b'{"cniVersion": "1.0.0", "code": 7, "msg": "no", "details": ""}'
AWAY = [("ADD", 11), ("CHECK", 11), ("STATUS", 50)]
LATER = ["DEL", "GC"]
HEADERS = (0x20, 0x28), (0x36, 0x38), (0x38, 0x3A)
PT_LOAD, PT_INTERP = 1, 3
"""Where an ELF file of 64 bits tells of its program headers; two kinds of them (elf(5))."""


def queue(folder: Path) -> list[bytes]:
    """The requests that were written down, oldest first."""
    found = sorted((folder / "run/cni").glob("*"))
    assert not [path for path in found if path.name.startswith(".")]
    return [path.read_bytes() for path in found]


# --- what is asked, what is answered ---


def test_variables_are_headers_and_the_input_is_the_body(shim: Path, tmp_path: Path) -> None:
    config = b'\xff not even JSON \x00 "\r\n\r\n'
    with RawAgent(tmp_path, http(200, RESULT)) as agent:
        said = run(shim, tmp_path, {**ADD, "CNI_NETNS": "", "OTHER": "x"}, config)
    assert (said.code, said.out) == (0, RESULT)
    assert agent.requests == [
        b"POST /cni HTTP/1.0\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: %d\r\n"
        b"Cni-Command: ADD\r\n"
        b"Cni-Containerid: c1\r\n"
        b"Cni-Netns: \r\n"
        b"Cni-Ifname: eth0\r\n"
        b"Cni-Args: IgnoreUnknown=1;K8S_POD_NAME=web\r\n"
        b"Cni-Path: /opt/cni/bin\r\n"
        b"\r\n" % len(config) + config
    ]


def test_a_variable_that_is_absent_is_no_header(shim: Path, tmp_path: Path) -> None:
    with RawAgent(tmp_path, http(200, b"")) as agent:
        said = run(shim, tmp_path, {"CNI_COMMAND": "STATUS"}, CONFIG)
    assert (said.code, said.out) == (0, b"")
    assert agent.requests[0].count(b"Cni-") == 1


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK", "GC", "STATUS"])
def test_a_cni_error_is_printed_as_it_is(shim: Path, tmp_path: Path, verb: str) -> None:
    with RawAgent(tmp_path, http(422, ERROR)):
        said = run(shim, tmp_path, asks(verb), CONFIG)
    assert (said.code, said.out) == (1, ERROR)
    assert not (tmp_path / "run/cni").exists()


@pytest.mark.parametrize("status", [100, 302, 404, 413, 500, 503])
@pytest.mark.parametrize(("verb", "code"), [*AWAY, ("DEL", 11), ("GC", 11)])
def test_any_other_status_is_a_failure_of_the_agent(
    shim: Path, tmp_path: Path, verb: str, code: int, status: int
) -> None:
    with RawAgent(tmp_path, http(status, b"Internal Server Error")):
        error = run(shim, tmp_path, asks(verb), CONFIG).error()
    assert (error["code"], error["cniVersion"]) == (code, "1.0.0")
    assert str(status) in error["details"]
    assert not (tmp_path / "run/cni").exists()


def test_the_answer_may_come_in_any_pieces_before_the_end(hasty: Path, tmp_path: Path) -> None:
    answer = http(200, RESULT)
    with RawAgent(tmp_path, *(bytes([each]) for each in answer), pause=0.0005):
        said = run(hasty, tmp_path, ADD, CONFIG)
    assert said.out == RESULT


def test_the_connection_need_not_be_closed(shim: Path, tmp_path: Path) -> None:
    with RawAgent(tmp_path, http(200, RESULT), hangs=True):
        assert run(shim, tmp_path, ADD, CONFIG).out == RESULT


# --- nobody answers ---


@pytest.mark.parametrize(("verb", "code"), AWAY)
@pytest.mark.parametrize("how", ["no folder", "no socket", "nobody listens"])
def test_without_an_agent_it_says_so_at_once(
    shim: Path, tmp_path: Path, verb: str, code: int, how: str
) -> None:
    if how != "no folder":
        (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        if how == "nobody listens":
            left.bind(str(tmp_path / "run/agent.sock"))
        begin = time.monotonic()
        error = run(shim, tmp_path, asks(verb), CONFIG).error()
    assert time.monotonic() - begin < 2
    assert (error["code"], error["cniVersion"]) == (code, "1.0.0")
    assert "run/agent.sock: " in error["details"]
    assert not (tmp_path / "run/cni").exists()


@pytest.mark.parametrize("verb", LATER)
def test_what_is_written_down_is_the_request_byte_for_byte(
    shim: Path, tmp_path: Path, verb: str
) -> None:
    config = CONFIG + b"\x00\xff" * 1000
    with RawAgent(tmp_path, http(200, b"")) as agent:
        run(shim, tmp_path, asks(verb), config)
    said = run(shim, tmp_path, asks(verb), config)
    assert (said.code, said.out) == (0, b"")
    assert queue(tmp_path) == agent.requests
    (file,) = (tmp_path / "run/cni").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_requests_are_written_down_in_order_and_never_by_their_names(
    shim: Path, tmp_path: Path
) -> None:
    ids = ["b", "a", "../../etc/passwd", "a"]
    for each in ids:
        assert run(shim, tmp_path, asks("DEL", CNI_CONTAINERID=each), CONFIG).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    for each, request in zip(ids, queue(tmp_path), strict=True):
        assert f"Cni-Containerid: {each}\r\n" in request.decode()


CUTS = {
    "before it began": 0,
    "in the status line": 7,
    "in the headers": 60,
    "before the blank line's end": len(http(200, RESULT)) - len(RESULT) - 1,
    "before the body": len(http(200, RESULT)) - len(RESULT),
    "before the last byte": len(http(200, RESULT)) - 1,
}


@pytest.mark.parametrize("at", CUTS.values(), ids=CUTS)
def test_an_answer_that_is_cut_is_none(shim: Path, tmp_path: Path, at: int) -> None:
    with RawAgent(tmp_path, http(200, RESULT)[:at]):
        assert run(shim, tmp_path, ADD, CONFIG).error()["code"] == 11
        assert run(shim, tmp_path, asks("STATUS"), CONFIG).error()["code"] == 50
        assert run(shim, tmp_path, asks("DEL"), CONFIG).code == 0
    assert len(queue(tmp_path)) == 1


GARBAGE = {
    "no HTTP": b"hello\r\n\r\n",
    "no number": b"HTTP/1.0 OK \r\nContent-Length: 2\r\n\r\n{}",
    "no length": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "no number of bytes": b"HTTP/1.0 200 OK\r\nContent-Length: two\r\n\r\n{}",
    "a negative length": b"HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "a length beyond all bounds": b"HTTP/1.0 200 OK\r\nContent-Length: "
    + b"9" * 40
    + b"\r\n\r\n{}",
    "a length that wraps": b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n{}" % (2**64 + 2),
    "more than any answer": b"x" * (2 * MIB),
    "more than it may hold": http(200, b"x" * MIB),
    "blank": b"\r\n\r\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_answer_is_none(shim: Path, tmp_path: Path, answer: bytes) -> None:
    with RawAgent(tmp_path, answer):
        assert run(shim, tmp_path, ADD, CONFIG).error()["code"] == 11


# --- in time (S35) ---

KUBELET_SECONDS, CONTAINERD_SECONDS = 120, 60
"""A kubelet waits for a sandbox (runtimeRequestTimeout), containerd for the DEL behind an ADD."""


def test_its_times_end_before_those_of_kubelet_and_containerd() -> None:
    """How long it does wait, in its own seconds, is what the tests below measure."""
    found = re.findall(r'\{"([A-Z]+)", (\d+), ', SOURCE.read_text())
    seconds = {verb: int(count) for verb, count in found}
    assert sorted(seconds) == ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"]
    assert seconds["ADD"] + seconds["DEL"] < KUBELET_SECONDS
    assert seconds["DEL"] < CONTAINERD_SECONDS
    assert seconds["STATUS"] <= 5  # containerd holds a lock meanwhile
    assert max(seconds.values()) < KUBELET_SECONDS


@pytest.mark.parametrize(
    ("verb", "code", "seconds"), [("ADD", 11, 90), ("CHECK", 11, 30), ("STATUS", 50, 3)]
)
@pytest.mark.parametrize("how", ["silent", "drips", "does not read"])
def test_it_ends_before_whoever_started_it_gives_up(
    hasty: Path, tmp_path: Path, verb: str, code: int, seconds: int, how: str
) -> None:
    pieces = [b"H"] * 2000 if how == "drips" else []
    config = CONFIG + b" " * (MIB // 2)
    with RawAgent(tmp_path, *pieces, pause=0.001, hangs=True, reads=how != "does not read"):
        begin = time.monotonic()
        error = run(hasty, tmp_path, asks(verb), config).error()
    assert error["code"] == code
    assert seconds * 0.004 <= time.monotonic() - begin < seconds * 0.004 + 2


@pytest.mark.parametrize("verb", LATER)
def test_a_deletion_that_is_not_answered_in_time_is_written_down(
    hasty: Path, tmp_path: Path, verb: str
) -> None:
    """After 20 s: containerd kills it after a minute where it cleans up behind an ADD of 90."""
    with RawAgent(tmp_path, hangs=True) as agent:
        begin = time.monotonic()
        assert run(hasty, tmp_path, asks(verb), CONFIG).code == 0
        assert 20 * 0.004 <= time.monotonic() - begin < 20 * 0.004 + 2
        assert queue(tmp_path) == agent.requests


def test_a_crowd_before_the_agents_door_is_not_waited_for(hasty: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = str(tmp_path / "run/agent.sock")
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as first:
        door.bind(path)
        door.listen(0)
        first.connect(path)
        begin = time.monotonic()
        assert run(hasty, tmp_path, asks("CHECK"), CONFIG).error()["code"] == 11
    assert 0.1 <= time.monotonic() - begin < 2


def test_input_that_does_not_end_is_not_waited_for(hasty: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b'{"cniVersion": "0.4.0", ')
    with RawAgent(tmp_path, http(200, RESULT)) as agent, os.fdopen(reader), os.fdopen(writer):
        error = run(hasty, tmp_path, asks("CHECK"), stdin=reader).error()
    assert (error["code"], error["cniVersion"], agent.requests) == (5, "0.4.0", [])


# --- the queue ---


def test_a_full_queue_refuses_and_the_runtime_asks_again(hasty: Path, tmp_path: Path) -> None:
    codes = [run(hasty, tmp_path, asks("DEL"), CONFIG).code for _ in range(4)]
    assert codes == [0, 0, 0, 1]
    assert run(hasty, tmp_path, asks("GC"), CONFIG).error()["code"] == 11
    assert len(queue(tmp_path)) == 3


def test_the_queue_is_bounded_in_bytes(shim: Path, tmp_path: Path) -> None:
    config = CONFIG + b" " * (MIB - len(CONFIG))
    codes = [run(shim, tmp_path, asks("DEL"), config).code for _ in range(17)]
    assert codes == [0] * 16 + [1]


def test_what_can_not_be_written_in_whole_is_not_there(shim: Path, tmp_path: Path) -> None:
    def little() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    error = run(shim, tmp_path, asks("DEL"), CONFIG, preexec_fn=little).error()
    assert (error["code"], error["details"]) == (11, "run/cni: No space left on device")
    assert list((tmp_path / "run/cni").iterdir()) == []


def test_a_folder_that_is_no_folder_is_an_error(shim: Path, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert run(shim, tmp_path, asks("DEL"), CONFIG).error()["details"] == "run/cni: Not a directory"


# --- as it is installed ---


def test_the_installed_one_needs_nothing_of_the_node() -> None:
    program = INSTALLED.read_bytes()
    assert program.startswith(b"\x7fELF")
    start, size, number = (int.from_bytes(program[at:to], "little") for at, to in HEADERS)
    kinds = [program[start + each * size] for each in range(number)]
    assert PT_LOAD in kinds and PT_INTERP not in kinds
    assert b"/run/podnet/agent.sock\0" in program
    said = subprocess.run([INSTALLED], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.DEVNULL)
    assert said.returncode == 0
