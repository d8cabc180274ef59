"""An agent that answers what a test tells it to, on a Unix socket of its own."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

from podnet.kinds import CLUSTER_KINDS

Answer = Any
"""A body; a (code, body); a list of lines, for a stream; or a function of the request's body."""


def status(code: int, reason: str, message: str, **more: Any) -> tuple[int, dict[str, Any]]:
    """An error as docs/architecture.md has it."""
    return code, {"kind": "Status", "reason": reason, "message": message, **more}


class Stream(list[dict[str, Any]]):
    """Lines of JSON; the connection stays open behind them unless `ends`."""

    ends = False
    pause = 0.0
    """Seconds before each line."""


class FakeAgent:
    """Answers by method and path, and remembers what it was asked."""

    def __init__(self, folder: Path, answers: dict[str, Answer] | None = None) -> None:
        self.path = folder / "agent.sock"
        self.answers = dict(answers or {})
        self.asked: list[tuple[str, Any]] = []
        self._server = _Server(str(self.path), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Stop answering; the socket goes."""
        self._server.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def objects(self, *bodies: dict[str, Any]) -> None:
        """Answer for these objects: lists, single ones, and watches that tell of them."""
        for each in CLUSTER_KINDS:
            plural, kind = each.plural, each.kind
            items = [body for body in bodies if body["kind"] == kind]
            for scope in ("", "?namespace=default"):
                self.answers[f"GET /objects/{plural}{scope}"] = {"kind": "List", "items": items}
                events = [{"type": "ADDED", "object": body} for body in items]
                mark = {"type": "BOOKMARK", "object": {}}
                self.answers[f"GET /watch/{plural}{scope}"] = Stream([*events, mark])
            for body in items:
                meta = body["metadata"]
                path = f"/objects/{plural}/{meta.get('namespace', '-')}/{meta['name']}"
                self.answers[f"GET {path}"] = body
                self.answers[f"DELETE {path}"] = body


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(path, handler)
        self.over = threading.Event()


def _handler(agent: FakeAgent) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(text) if text else None
            what = f"{self.command} {self.path}"
            agent.asked.append((what, body))
            missing = status(404, "NotFound", f"the fake agent was not told of {what}")
            answer = agent.answers.get(what, missing)
            if isinstance(answer, Callable):  # type: ignore[arg-type]
                answer = answer(body)
            if isinstance(answer, Stream):
                return self._lines(answer)
            code, answer = answer if isinstance(answer, tuple) else (200, answer)
            self.send_response(code)
            self.end_headers()
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.wfile.write(text)
            return None

        do_GET = do_POST = do_DELETE = _any

        def _lines(self, lines: Stream) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # who watched has seen enough
                for line in lines:
                    time.sleep(lines.pause)
                    self.wfile.write(json.dumps(line).encode() + b"\n")
            if not lines.ends:
                assert isinstance(self.server, _Server)
                self.server.over.wait(20)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def serve(folder: Path) -> Iterator[FakeAgent]:
    """For a fixture: an agent as long as the test runs."""
    agent = FakeAgent(folder)
    try:
        yield agent
    finally:
        agent.close()
