"""The CNI plugin's program under sanitizers: bounds, odd input, random input (S34)."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.shim import (
    ADD,
    COMPLAINTS,
    CONFIG,
    FUZZ,
    MIB,
    RESULT,
    RawAgent,
    asks,
    build,
    http,
    run,
)

# --- bounds and odd input ---


def test_input_of_a_mebibyte_passes_and_one_byte_more_does_not(shim: Path, tmp_path: Path) -> None:
    config = CONFIG + b" " * (MIB - len(CONFIG))
    with RawAgent(tmp_path, http(200, RESULT)) as agent:
        assert run(shim, tmp_path, ADD, config).out == RESULT
        error = run(shim, tmp_path, ADD, config + b" ").error()
    assert (error["code"], error["cniVersion"]) == (6, "1.0.0")
    assert [request.endswith(config) for request in agent.requests] == [True]


def test_a_long_answer_is_printed_in_whole(shim: Path, tmp_path: Path) -> None:
    answer = b"x" * (MIB - 1000)
    with RawAgent(tmp_path, http(200, answer)):
        assert run(shim, tmp_path, ADD, CONFIG).out == answer


@pytest.mark.parametrize(
    "value", ["a\r\nCni-Ifname: b", "a\nb", "\t", " a", "a ", "\x7f", "a\x01", "a" * 4097]
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "STATUS"])
@pytest.mark.parametrize("name", ["CNI_CONTAINERID", "CNI_ARGS", "CNI_PATH"])
def test_a_value_that_no_header_carries_is_refused_by_name(
    hasty: Path, tmp_path: Path, verb: str, name: str, value: str
) -> None:
    error = run(hasty, tmp_path, {**asks(verb), name: value}, CONFIG).error()
    assert (error["code"], error["details"]) == (4, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [None, "", "add", "ADD ", "UPDATE", "A" * 10_000, "ADD\n", '"'])
def test_a_verb_that_is_none_is_refused(hasty: Path, tmp_path: Path, command: str | None) -> None:
    with RawAgent(tmp_path, http(200, RESULT)) as agent:
        environment = {} if command is None else {"CNI_COMMAND": command}
        error = run(hasty, tmp_path, environment, CONFIG).error()
    assert (error["code"], agent.requests) == (4, [])
    assert "CNI_COMMAND" in error["msg"]


VERSIONS = {
    CONFIG: "1.0.0",
    b'{"cniVersion":"0.3.1","prevResult":{"cniVersion":"0.4.0"}}': "0.3.1",
    b'{"cniVersion" : \n"9.9.9"}': "9.9.9",
    b"": "1.1.0",
    b"{}": "1.1.0",
    b'{"cniVersion": 1}': "1.1.0",
    b'{"cniVersion": "1.0': "1.1.0",
    b'{"cniVersion"': "1.1.0",
    b'{"cniVersion": "a\\"b"}': "1.1.0",
    b'{"cniVersion": "' + b"1" * 16 + b'"}': "1.1.0",
}


@pytest.mark.parametrize(("config", "version"), VERSIONS.items())
def test_versions_are_told_without_an_agent(
    shim: Path, tmp_path: Path, config: bytes, version: str
) -> None:
    said = run(shim, tmp_path, {"CNI_COMMAND": "VERSION"}, config)
    assert said.code == 0
    assert json.loads(said.out) == {
        "cniVersion": version,
        "supportedVersions": ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    }


def test_a_person_who_starts_it_is_told_what_it_is(shim: Path, tmp_path: Path) -> None:
    near, far = pty.openpty()
    with os.fdopen(near), os.fdopen(far):
        for words, stdin in ([shim], far), ([shim, "--help"], subprocess.DEVNULL):
            done = subprocess.run(
                words, stdin=stdin, cwd=tmp_path, env=COMPLAINTS, capture_output=True, text=True
            )
            assert (done.returncode, done.stdout) == (2, "")
            assert "podnet cni install" in done.stderr


# --- at random ---


@pytest.mark.parametrize("seed", [1, 2])
def test_no_input_makes_it_read_or_write_beside(programs: Path, seed: int) -> None:
    program = programs / "fuzz"
    if not program.exists():
        build(program, FUZZ)
    done = subprocess.run(
        [program, "700", str(seed)], env=COMPLAINTS, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 10_000


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    command=st.sampled_from(["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"]),
    config=st.binary(max_size=300) | st.just(CONFIG),
    value=st.binary(max_size=40).filter(lambda value: b"\0" not in value),
    answer=st.binary(max_size=200)
    | st.builds(http, st.integers(0, 999), st.binary(max_size=50), st.none() | st.integers(-9, 99)),
)
def test_whatever_comes_it_ends_with_a_result_or_an_error(
    shim: Path, tmp_path: Path, command: str, config: bytes, value: bytes, answer: bytes
) -> None:
    environment = {**asks(command), "CNI_ARGS": os.fsdecode(value)}
    with RawAgent(tmp_path, answer):
        said = run(shim, tmp_path, environment, config)
    if not answer.startswith(b"HTTP/1.0 422 "):
        assert said.code == 0 or said.error()["code"] in (4, 11, 50)
