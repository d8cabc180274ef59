"""The CNI plugin as containerd starts it, and an agent that sends the bytes a test wants."""

import contextlib
import json
import os
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "nodeagent/cni-shim/shim.c"
FUZZ = Path(__file__).with_name("fuzz_shim.c")
SANITIZED = ("-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")
COMPLAINTS = {"ASAN_OPTIONS": "exitcode=99:detect_leaks=0", "UBSAN_OPTIONS": "halt_on_error=1"}
"""A sanitizer that finds something ends the program with 99 and says what on standard error."""
FOLDER = "run"
"""Where the programs built here look for the agent, below the folder that they are started in."""
CONFIG = b'{"cniVersion": "1.0.0", "name": "podnet", "type": "podnet-cni"}'
RESULT = b'{"cniVersion": "1.0.0", "ips": []}'
MIB = 1 << 20


def build(program: Path, source: Path = SOURCE, **defines: int) -> Path:
    """Compile with sanitizers; `defines` as in shim.c."""
    words = [f"-D{name}={value}" for name, value in defines.items()]
    where = f'-DFOLDER="{FOLDER}"'
    subprocess.run(["cc", *SANITIZED, where, *words, "-o", program, source], check=True)
    return program


def release(program: Path, source: str | None = None, **defines: int) -> Path:
    """Compile as it is shipped, for the folders that it is shipped for; `source`: other text."""
    words = [f"-D{name}={value}" for name, value in defines.items()]
    text = SOURCE.read_text() if source is None else source
    flags = ("-O2", "-s", "-static", "-I", SOURCE.parent, "-x", "c", "-")
    subprocess.run(["cc", *words, "-o", program, *flags], input=text, text=True, check=True)
    return program


@dataclass(frozen=True)
class Said:
    """How a plugin ended."""

    code: int
    out: bytes

    def error(self) -> dict[str, Any]:
        """The CNI error it printed."""
        assert self.code == 1, self
        found: dict[str, Any] = json.loads(self.out)
        assert set(found) == {"cniVersion", "code", "msg", "details"}, found
        return found


ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
    "CNI_PATH": "/opt/cni/bin",
}


def asks(command: str, **changed: str | None) -> dict[str, str]:
    """The environment of a verb; None takes a variable out."""
    values: Mapping[str, str | None] = {**ADD, "CNI_COMMAND": command, **changed}
    return {name: value for name, value in values.items() if value is not None}


def run(
    program: Path,
    folder: Path,
    environment: Mapping[str, str],
    config: bytes = b"",
    **options: Any,
) -> Said:
    """Run it to its end, in `folder`; what a sanitizer says fails the test."""
    done = subprocess.run(
        [program],
        cwd=folder,
        env={**COMPLAINTS, **environment},
        **({"input": config} if "stdin" not in options else {}),
        capture_output=True,
        timeout=30,
        **options,
    )
    assert (done.stderr, done.returncode in (0, 1)) == (b"", True), done
    return Said(done.returncode, done.stdout)


def http(status: int, body: bytes, length: int | None = None) -> bytes:
    """An answer as aiohttp gives it."""
    size = len(body) if length is None else length
    lines = [
        f"HTTP/1.0 {status} Whatever",
        "Content-Type: application/json; charset=utf-8",
        f"Content-Length: {size}",
        "Date: Wed, 25 Nov 2026 04:26:00 GMT",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class RawAgent:
    """Takes whole requests and answers each with these pieces, `pause` seconds between them.

    Then it closes the connection; with `hangs` it waits until the other side does. With
    `reads=False` it does not even read. Its socket is in `below` of `folder`. Use as a context
    manager.
    """

    def __init__(
        self,
        folder: Path,
        *pieces: bytes,
        pause: float = 0.0,
        hangs: bool = False,
        reads: bool = True,
        below: str = FOLDER,
    ) -> None:
        self.requests: list[bytes] = []
        self._pieces: Sequence[bytes] = pieces
        self._pause, self._hangs, self._reads = pause, hangs, reads
        self._over = threading.Event()
        self.path = folder / below / "agent.sock"
        self.path.parent.mkdir(exist_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "RawAgent":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join()
        self._listener.close()
        os.unlink(self.path)

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self._reads:
                    self.requests.append(_request(connection))
                for piece in self._pieces:
                    connection.sendall(piece)
                    self._over.wait(self._pause)
                while self._hangs and not self._over.wait(0.01):
                    if not connection.recv(1, socket.MSG_PEEK) and self._reads:
                        break


def _request(connection: socket.socket) -> bytes:
    text = b""
    while b"\r\n\r\n" not in text:
        text += _piece(connection)
    head, _, body = text.partition(b"\r\n\r\n")
    (length,) = (
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.startswith(b"Content-Length:")
    )
    while len(body) < length:
        body += _piece(connection)
    return head + b"\r\n\r\n" + body


def _piece(connection: socket.socket) -> bytes:
    piece = connection.recv(1 << 16)
    if not piece:
        raise ConnectionResetError
    return piece
