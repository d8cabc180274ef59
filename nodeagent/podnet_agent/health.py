"""Health: whether the agent answers, and whether a Pod could be attached, for the kubelet's probes.

On the loopback interface alone. A probe that is a command starts runc: two of those took as much of
a processor as all else on an idle node, the kubelet included.
"""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from podnet.cni.call import parse
from podnet.errors import Conflict, PodNetError, Retryable
from podnet_agent.agent import Agent
from podnet_agent.cni.plugin import Plugin
from podnet_agent.install import STATUS
from podnet_agent.threads import Threads

HOST, PORT = "127.0.0.1", 9643
GOODBYE_SECONDS = 1.0
"""How long a probe may keep an agent that ends from ending; aiohttp takes 0 for ever."""

Question = Callable[[], Awaitable[None]]
"""A PodNetError says what is lacking."""


async def answers() -> None:
    """Well, as soon as it is asked."""


def reachable(path: Path) -> Question:
    """Well while the socket at that path is the one that is there now: all others come by it."""
    own = _identity(path)

    async def alive() -> None:
        if _identity(path) != own:
            raise Retryable(f"{path} is not this agent's socket any more: the next agent makes one")

    return alive


def attachable(agent: Agent, threads: Threads) -> Question:
    """Well while a Pod could be attached: the question that containerd asks."""
    call = parse({"CNI_COMMAND": "STATUS", "CNI_PATH": "/"}, STATUS.encode())

    async def ready() -> None:
        await threads.write(Plugin(agent).status, call)

    return ready


def listen(port: int = PORT) -> socket.socket:
    """Where the probes ask; Conflict where somebody else listens."""
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise Conflict(
            f"{HOST}:{port} is taken, where the agent answers the kubelet's probes"
            f" ({error.strerror}): end the other agent, or what listens there on this node"
        ) from error
    return listener


@asynccontextmanager
async def served(listener: socket.socket, alive: Question, ready: Question) -> AsyncIterator[None]:
    """GET /healthz and /readyz: 200, or 503 and why."""

    def page(asked: Question) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                await asked()
            except PodNetError as error:
                return web.Response(text=str(error), status=503)
            return web.Response(text="ok")

        return answer

    app = web.Application()
    app.add_routes([web.get("/healthz", page(alive)), web.get("/readyz", page(ready))])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=GOODBYE_SECONDS)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
