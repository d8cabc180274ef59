"""The agent's socket: one request a connection, JSON there, JSON or lines of JSON back.

HTTP/1.0, where an answer ends with the connection. No http.client, typing or dataclasses here:
`podnet get` loads this module, and each of those would cost it more than all of its own work.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

UCRED = struct.Struct("3i")
"""What SO_PEERCRED gives: process, user, group (unix(7))."""


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
        payload = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.0\r\nContent-Length: {len(payload)}\r\n"
        head += "Content-Type: application/json\r\n" if payload else ""
        self._socket = _connect()
        with suppress(BrokenPipeError):  # refused before it was read whole: the answer says why
            self._socket.sendall(head.encode() + b"\r\n" + payload)
        self._file = self._socket.makefile("rb")

    def answer(self) -> Any:
        """The whole answer."""
        try:
            code = self._head()
            text = self._file.read()
        except ConnectionError:
            raise self._cut_off() from None
        finally:
            self.close()
        try:
            body = json.loads(text)
        except ValueError:
            body = {"reason": f"HTTP {code}", "message": text.decode(errors="replace").strip()}
        if code >= 400:
            raise Refused(body)
        return body

    def events(self) -> Iterator[dict[str, Any]]:
        """The lines of an answer that goes on, as they come; TimeoutError as `limit` says."""
        if self._head() >= 400:
            raise Refused(json.loads(self._file.read()))
        for line in self._file:
            yield json.loads(line)
        raise self._cut_off()

    def limit(self, seconds: float) -> None:
        """From now on wait so long, and no longer, for the next piece of the answer."""
        self._socket.settimeout(max(seconds, 0.001))

    def agent_pid(self) -> int:
        """The process that listens, as this process would name it."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        return int(UCRED.unpack(credentials)[0])

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()

    def _head(self) -> int:
        """The status, once the headers are read."""
        words = self._file.readline().split(None, 2)
        if len(words) < 2:
            raise self._cut_off()
        while self._file.readline().strip():
            pass
        return int(words[1])

    def _cut_off(self) -> Failure:
        return Failure(f"the agent went away during {self._what}: {log_path()} may say why")


def _connect() -> socket.socket:
    path = socket_path()
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except PermissionError:
        raise Away(f"{path} is root's: run podnet as root") from None
    except OSError as error:
        raise Away(
            f"no agent answers on {path} ({error.strerror or error}):"
            f" `podnet up FILE` or `podnet agent` starts one"
        ) from None
    return connection


def _quoted(text: str) -> str:
    """Percent-encoded; what names are made of stays readable."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"-._" else f"%{byte:02X}"
        for byte in text.encode(errors="surrogateescape")
    )
