"""Following: a list, then what a watch tells of it, for ever. Lives in the asyncio loop."""

import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from podnet_agent.cluster.api import Api, ApiError, Resource
from podnet_agent.cluster.backoff import Backoff
from podnet_agent.objects import Body

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
SHORT_SECONDS = 1.0
"""A stream that ends sooner counts as failed."""
FORGOTTEN = (400, 404, 410, 504)
"""Answers that say: list again. The kind went, its schema changed, history was compacted or is an
older one by now (of a server that was restored)."""


class Following:
    """`listed` is given all objects there are, `heard` what happened to one since.

    A server that is away, or does not know the kind, is asked again; also where `listed` raises
    ApiError.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        listed: Callable[[Sequence[Body]], Awaitable[None]],
        heard: Callable[[str, Body], None],
    ) -> None:
        self.resource = resource
        self._api, self._listed, self._heard = api, listed, heard
        self._version: str | None = None  # where the watch goes on

    async def ask(self) -> None:
        """List once; ApiError where that fails."""
        bodies, version = await self._api.list(self.resource)
        await self._listed(bodies)
        self._version = version

    async def run(self) -> None:
        """Follow until cancelled."""
        backoff = self._api.backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                if self._version is None:
                    await self.ask()
                else:
                    await self._watch(self._version, backoff)
            except ApiError as error:
                if error.code in FORGOTTEN:
                    self._version = None
                pause = backoff.pause()
                log.warning("%s, again in %.1f s: %s", self.resource.plural, pause, error)
                await backoff.rest(pause)

    async def _watch(self, version: str, backoff: Backoff) -> None:
        """Until the server ends the stream; ApiError where it does so at once."""
        begun = time.monotonic()
        async with contextlib.aclosing(self._api.watch(self.resource, version)) as events:
            async for what, body in events:
                self._heard(what, body)
                self._version = body["metadata"].get("resourceVersion") or self._version
                backoff.succeed()
        if time.monotonic() - begun < SHORT_SECONDS:
            raise ApiError(0, "the API server ended the stream at once")
