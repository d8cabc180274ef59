"""The agent's socket: one request a connection, JSON there, JSON or lines of JSON back.

HTTP/1.0, where an answer ends with the connection. `podnet get` loads this module, so there is no
http.client, typing or dataclasses here, and `_socket` and `_json`, which do the work, without
`socket` and `json`, which wrap them: each of those would cost it more than all of its own work.
"""

from __future__ import annotations

import os
import sys
from _json import make_scanner
from _socket import AF_UNIX, SO_PEERCRED, SOL_SOCKET
from _socket import socket as Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PID_BYTES = 4
"""The first of what SO_PEERCRED gives: process, user, group (unix(7))."""
PIECE_BYTES = 1 << 18
"""Read at once: the table of a thousand sandboxes comes in a few pieces."""


class Failure(Exception):
    """What ends the program: a sentence for the person, and the exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code

    @property
    def text(self) -> str:
        """What is printed on standard error."""
        return f"error: {self}"


class Away(Failure):
    """No agent answers."""


class CutOff(Failure):
    """The agent went away before it had answered."""


class Refused(Failure):
    """The agent answered that it can't: its Status, as docs/architecture.md describes it."""

    def __init__(self, status: dict[str, Any]) -> None:
        self.reason: str = status.get("reason", "Unknown")
        self.message: str = status.get("message", "")
        self.problems: list[dict[str, str]] = status.get("problems") or []
        super().__init__(self.message)
        self.exit_code: int | None = status.get("exitCode")

    @property
    def text(self) -> str:
        """Every problem on a line of its own, or kubectl's sentence."""
        if self.problems:
            return "\n".join(f"{each['place']}: {each['message']}" for each in self.problems)
        return f"Error from server ({self.reason}): {self.message}"


class _Scanner:
    """How json.JSONDecoder has its scanner work (Lib/json/decoder.py)."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


_scan = make_scanner(_Scanner)  # type: ignore[arg-type] # typeshed knows one caller only


def parsed(text: str) -> Any:
    """The JSON value in a text without blanks around it; ValueError where there is none."""
    try:
        return _scan(text, 0)[0]
    except StopIteration:
        raise ValueError("no JSON") from None


def socket_path() -> str:
    """Where the agent listens."""
    return os.environ.get("PODNET_SOCKET") or "/run/podnet/agent.sock"


def log_path() -> str:
    """Where an agent that was started beside a command writes what it says."""
    return os.path.join(os.path.dirname(socket_path()), "agent.log")


def call(method: str, path: str, body: Any = None) -> Any:
    """Ask the agent and return its answer; Refused or Away when it has none."""
    return Request(method, path, body).answer()


def path_of(*parts: str, **query: str | None) -> str:
    """The path of a request: parts and values are quoted, values of None are left out."""
    path = "".join(f"/{_quoted(part)}" for part in parts)
    given = [f"{key}={_quoted(value)}" for key, value in query.items() if value is not None]
    return f"{path}?{'&'.join(given)}" if given else path


class Request:
    """A request under way: sent when made, so several can be before the first is answered."""

    def __init__(self, method: str, path: str, body: Any = None) -> None:
        self._what = f"{method} {path}"
        self._socket = _connect()
        self._read = b""
        self._send(b"" if body is None else _encoded(body))

    def answer(self) -> Any:
        """The whole answer, None where it is empty."""
        try:
            return self._whole(self._head())
        finally:
            self.close()

    def events(self) -> Iterator[dict[str, Any]]:
        """The lines of an answer that goes on, as they come; TimeoutError as `limit` says."""
        code = self._head()
        if code >= 400:
            self._whole(code)
        while True:
            yield parsed(self._up_to(b"\n").decode())

    def limit(self, seconds: float) -> None:
        """From now on wait so long, and no longer, for the next piece of the answer."""
        self._socket.settimeout(max(seconds, 0.001))

    def agent_pid(self) -> int:
        """The process that listens, as this process would name it."""
        credentials = self._socket.getsockopt(SOL_SOCKET, SO_PEERCRED, PID_BYTES)
        return int.from_bytes(credentials, sys.byteorder)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _send(self, payload: bytes) -> None:
        head = f"{self._what} HTTP/1.0\r\nContent-Length: {len(payload)}\r\n"
        head += "Content-Type: application/json\r\n" if payload else ""
        try:
            self._socket.sendall(head.encode() + b"\r\n" + payload)
        except BrokenPipeError:
            return  # refused before it was read whole: the answer says why

    def _head(self) -> int:
        """The status, once the headers are read."""
        words = self._up_to(b"\r\n\r\n").split(None, 2)
        return int(words[1])

    def _whole(self, code: int) -> Any:
        """The rest of the answer, raised if it is a refusal."""
        while self._more():
            pass
        try:
            body = parsed(self._read.decode().strip()) if self._read else None
        except ValueError:
            if code < 400:
                raise self._cut_off() from None
            said = self._read.decode(errors="replace").strip()
            body = {"reason": f"HTTP {code}", "message": said}
        if code >= 400:
            raise Refused(body or {"reason": f"HTTP {code}"})
        return body

    def _up_to(self, end: bytes) -> bytes:
        """What comes before that end, which is read as well."""
        while end not in self._read:
            if not self._more():
                raise self._cut_off()
        found, _, self._read = self._read.partition(end)
        return found

    def _cut_off(self) -> CutOff:
        return CutOff(f"the agent went away during {self._what}: {log_path()} may say why")

    def _more(self) -> bool:
        """Read on; False at the end."""
        try:
            piece = self._socket.recv(PIECE_BYTES)
        except ConnectionError:
            piece = b""
        self._read += piece
        return piece != b""


def _encoded(body: Any) -> bytes:
    import json

    return json.dumps(body).encode()


def _connect() -> Socket:
    path = socket_path()
    connection = Socket(AF_UNIX)
    try:
        connection.connect(path)
    except PermissionError:
        raise Away(f"{path} is root's: run podnet as root") from None
    except OSError as error:
        raise Away(
            f"no agent answers on {path} ({error.strerror or error}): `podnet up` starts one"
        ) from None
    return connection


def _quoted(text: str) -> str:
    """Percent-encoded; what names are made of stays readable."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"-._" else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
