"""Health: whether the agent answers, and whether a Pod could be attached, for the kubelet's probes.

On the loopback interface alone. A probe that is a command starts runc: two of those took as much of
a processor as all else on an idle node, the kubelet included.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from podnet.cni.call import parse
from podnet.cni.config import PLUGIN
from podnet.errors import Conflict, PodNetError
from podnet_agent.agent import Agent
from podnet_agent.cni.plugin import Plugin
from podnet_agent.install import CONFLIST
from podnet_agent.threads import Threads

HOST, PORT = "127.0.0.1", 9643

Ready = Callable[[], Awaitable[None]]
"""A PodNetError says what is lacking."""


async def answers() -> None:
    """Ready as soon as it is asked."""


def attachable(agent: Agent, threads: Threads) -> Ready:
    """Ready while a Pod could be attached: the question that containerd asks."""
    config = f'{{"cniVersion": "1.1.0", "name": "{CONFLIST["name"]}", "type": "{PLUGIN}"}}'
    call = parse({"CNI_COMMAND": "STATUS", "CNI_PATH": "/"}, config.encode())

    async def ready() -> None:
        await threads.write(Plugin(agent).status, call)

    return ready


@asynccontextmanager
async def served(ready: Ready, port: int = PORT) -> AsyncIterator[tuple[str, int]]:
    """GET /healthz: 200. GET /readyz: 200, or 503 and why. Yields where; Conflict: it is taken."""

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(request: web.Request) -> web.Response:
        try:
            await ready()
        except PodNetError as error:
            return web.Response(text=str(error), status=503)
        return web.Response(text="ok")

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            raise Conflict(
                f"{HOST}:{port} is taken, where the agent answers the kubelet's probes"
                f" ({error.strerror}): end what listens there on this node"
            ) from error
        yield runner.addresses[0]
    finally:
        await runner.cleanup()
