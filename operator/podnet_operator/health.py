"""Health: whether the operator still does its work, and what it did, for a probe and Prometheus.

Served on the loopback interface alone: the operator has the node's network, and nothing of this is
anybody else's business.
"""

import time
from collections.abc import Iterator

from aiohttp import web

from podnet.errors import Conflict
from podnet_operator.loop import Loop
from podnet_operator.watchman import Watchman

HOST, PORT = "127.0.0.1", 9642
STUCK_SECONDS = 120.0
"""A pass that takes longer hangs: every request in it ends after 15 seconds."""


class Health:
    """GET /healthz: 200, or 503 and why. GET /metrics: Prometheus' text format."""

    def __init__(self, loop: Loop, watchman: Watchman) -> None:
        self._loop, self._watchman = loop, watchman

    def complaints(self) -> list[str]:
        """What only a restart mends."""
        found = [f"the watch of {plural} is dead" for plural in self._watchman.dead]
        began = self._loop.began
        if began is not None and time.monotonic() - began > STUCK_SECONDS:
            found.append(f"the loop is stuck since {time.monotonic() - began:.0f} s")
        return found

    def metrics(self) -> str:
        """Every figure, a line each."""
        return "".join(f"{line}\n" for line in self._lines())

    async def serve(self, port: int = PORT) -> web.AppRunner:
        """Answer from now on, until the runner is cleaned up."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            await runner.cleanup()
            raise Conflict(
                f"{HOST}:{port} is taken, where the operator answers probes ({error.strerror}): end"
                f" the other operator on this node"
            ) from error
        return runner

    def _lines(self) -> Iterator[str]:
        loop, snapshot = self._loop, self._loop.snapshot
        yield "# TYPE podnet_operator_passes_total counter"
        yield f'podnet_operator_passes_total{{result="done"}} {loop.passes}'
        yield f'podnet_operator_passes_total{{result="failed"}} {loop.failures}'
        yield "# TYPE podnet_operator_writes_total counter"
        for kind, number in sorted(loop.cluster.written.items()):
            yield f'podnet_operator_writes_total{{kind="{kind}"}} {number}'
        yield "# TYPE podnet_operator_objects gauge"
        for plural in ("networks", "shares", "sandboxes", "nodes"):
            yield f'podnet_operator_objects{{kind="{plural}"}} {len(getattr(snapshot, plural))}'
        yield "# TYPE podnet_operator_lease_held gauge"
        yield f"podnet_operator_lease_held {int(loop.leads)}"
        yield "# TYPE podnet_operator_watch_behind_total counter"
        for plural, times in self._watchman.behind.items():
            yield f'podnet_operator_watch_behind_total{{kind="{plural}"}} {times}'

    async def _healthz(self, request: web.Request) -> web.Response:
        complaints = self.complaints()
        return web.Response(text="\n".join(complaints) or "ok", status=503 if complaints else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(text=self.metrics(), content_type="text/plain")
