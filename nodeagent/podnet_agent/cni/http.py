"""A plugin's call as the shim sends it: an HTTP request, read from bytes. Pure.

`POST /cni` with the CNI variables as headers and standard input as the body. The same bytes lie in
a file where the agent was away. Anything that speaks HTTP may ask so, `curl --unix-socket` too.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podnet.cni.config import LARGEST_BYTES
from podnet.cni.error import CniError, Code

BEGINNING = b"POST /cni "
VARIABLES = {
    name.replace("_", "-").lower(): name
    for name in (
        "CNI_COMMAND",
        "CNI_CONTAINERID",
        "CNI_NETNS",
        "CNI_IFNAME",
        "CNI_ARGS",
        "CNI_PATH",
    )
}
"""A header's name in lower case, and the variable it stands for."""
HEAD_BYTES = 256 << 10
"""Of all headers together, at most: a variable may have 128 KiB (linux/binfmts.h)."""
REQUEST_BYTES = HEAD_BYTES + 2 * LARGEST_BYTES
"""Of all of it: what is twice too large is still read, so that it can be said."""
_END = b"\r\n\r\n"
_PHRASES = {200: b"OK", 422: b"Unprocessable Content"}


@dataclass(frozen=True, slots=True)
class Request:
    """What one call of the plugin was given."""

    environment: Mapping[str, str]
    stdin: bytes


def read(data: bytes | bytearray) -> Request | None:
    """The request, None while a part of it is missing; code 5 where it is none."""
    head, end, body = data.partition(_END)
    if len(head) > HEAD_BYTES or (not end and len(data) > HEAD_BYTES):
        raise _broken(f"its headers are more than {HEAD_BYTES} bytes")
    if not head.startswith(BEGINNING[: len(head)]):
        raise _broken("it does not begin with POST /cni")
    if not end:
        return None
    # Values are the environment's bytes, which need not be UTF-8.
    text = head.decode(errors="surrogateescape")
    headers = dict(map(_header, text.split("\r\n")[1:]))
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > 9:
        raise _broken(f"its Content-Length is {length[:40]!r}")
    if int(length) + len(head) > REQUEST_BYTES:
        raise _broken(f"{length} bytes are more than {REQUEST_BYTES}")
    if len(body) < int(length):
        return None
    environment = {
        variable: headers[name] for name, variable in VARIABLES.items() if name in headers
    }
    return Request(environment, bytes(body[: int(length)]))


def answer(status: int, body: Any = None) -> bytes:
    """The response; the connection ends with it."""
    text = b"" if body is None else json.dumps(body).encode()
    return (
        b"HTTP/1.0 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b"Connection: close\r\n\r\n%b" % (status, _PHRASES[status], len(text), text)
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise _broken("a header has no colon")
    return name.lower(), value.strip(" \t")


def _broken(details: str) -> CniError:
    return CniError(Code.IO_FAILURE, "not a request of podnet's shim", details)
