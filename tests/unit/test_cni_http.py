"""A call of the plugin as bytes: what the shim sends, and what it leaves in a file."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.cni.error import CniError, Code
from podnet_agent.cni.http import REQUEST_BYTES, Request, answer, read

WHOLE = (
    b"POST /cni HTTP/1.0\r\nCni-Command: ADD\r\ncni-netns:\t/run/netns/a b \r\n"
    b"CNI-Args: A=1;B=\xff\r\nHost: x\r\nContent-Length: 4\r\n\r\n{}\r\n"
)
PARTS = Request(
    {"CNI_COMMAND": "ADD", "CNI_NETNS": "/run/netns/a b", "CNI_ARGS": "A=1;B=\udcff"}, b"{}\r\n"
)


def test_a_whole_request_is_read() -> None:
    assert read(WHOLE) == PARTS


def test_what_follows_a_request_is_not_its() -> None:
    assert read(WHOLE + b"more") == PARTS


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_a_part_of_a_request_is_waited_for(size: int) -> None:
    """S34: input cut half way."""
    assert read(WHOLE[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /cni HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        b"POST /cnix HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        b"\x00\x01\x02",
        b"POST /cni HTTP/1.0\r\n\r\n",
        b"POST /cni HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"POST /cni HTTP/1.0\r\nContent-Length: \xd9\xa3\r\n\r\n",
        b"POST /cni HTTP/1.0\r\nContent-Length: 9999999999\r\n\r\n",
        b"POST /cni HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % REQUEST_BYTES,
        b"POST /cni HTTP/1.0\r\nnonsense\r\nContent-Length: 0\r\n\r\n",
        b"POST /cni HTTP/1.0\r\nA: " + b"x" * (1 << 20),
    ],
    ids=lambda data: repr(data[:60]),
)
def test_what_is_no_request_is_refused(data: bytes) -> None:
    """S34."""
    with pytest.raises(CniError) as raised:
        read(data)
    assert raised.value.code == Code.IO_FAILURE


@given(st.binary(max_size=300) | st.binary(max_size=80).map(lambda data: WHOLE[:60] + data))
def test_any_bytes_are_a_request_or_a_part_of_one_or_refused(data: bytes) -> None:
    """S34."""
    try:
        read(data)
    except CniError as error:
        assert error.code == Code.IO_FAILURE


def test_an_answer_ends_the_connection() -> None:
    head, _, body = answer(422, {"code": 7}).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.0 422 Unprocessable Content"
    assert b"Connection: close" in head
    assert json.loads(body) == {"code": 7}
    assert answer(200).endswith(b"Content-Length: 0\r\nConnection: close\r\n\r\n")
