"""Watchman: notices a watch that tells nothing any more, and puts right what it did not tell.

kopf lists anew after a cut watch, but says nothing of objects that went meanwhile; and a watch can
die without a word (kopf's issues 1276 and 996). So the names and versions of all objects are
looked at every minute: they are a hundredth of the objects' size.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from podnet.errors import PodNetError
from podnet_operator.client import Client, Missing, Resource
from podnet_operator.facts import RESOURCES, Name, name_of, version_of
from podnet_operator.snapshot import Snapshot

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
START_SECONDS = 5.0
"""By then kopf watches; what went between the loop's first list and that was told by nobody."""
RETRY_SECONDS = 1.0
BEHIND, CAUGHT_UP, DEAD = 2, -1, 3
"""Points of a watch at each look. A dead one is behind at every second look, since the list that
mends it holds what the look between sees: 2, 1, 3. One that was late once is forgiven: 2, 1, 0."""


class Watchman:
    """Compares what the watches told with what there is."""

    def __init__(
        self,
        client: Client,
        snapshot: Snapshot,
        refresh: Callable[[Resource], Awaitable[None]],
        *,
        seconds: float = LOOK_SECONDS,
    ) -> None:
        self._client, self._snapshot, self._refresh = client, snapshot, refresh
        self._seconds = seconds
        self._seen: dict[Resource, tuple[dict[Name, int], int]] = {}
        self._restarted: set[Resource] = set()
        self._wake = asyncio.Event()
        self._points: Counter[Resource] = Counter()
        self.behind: Counter[str] = Counter()
        """How often a watch was, by plural."""

    @property
    def dead(self) -> list[str]:
        """Kinds of which the watch tells nothing any more."""
        return [each.plural for each, points in self._points.items() if points >= DEAD]

    def restarted(self, *resources: Resource) -> None:
        """These watches began anew, with a list: what is not in it went unseen."""
        self._restarted.update(resources)
        self._wake.set()

    async def run(self) -> None:
        """Look for ever."""
        loop = asyncio.get_running_loop()
        next_look = loop.time() + self._seconds
        loop.call_later(min(START_SECONDS, self._seconds), self.restarted, *RESOURCES)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_look):
                    await self._wake.wait()
            try:
                await self._catch_up()
                if loop.time() >= next_look:
                    next_look = loop.time() + self._seconds
                    await self.look()
            except PodNetError as error:
                log.warning("the watches could not be looked after: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                if self._restarted:
                    self._wake.set()

    async def look(self) -> None:
        """Take what is there now as what has to be known at the next look."""
        for resource in RESOURCES:
            try:
                bodies, version = await self._client.list(resource, names_only=True)
            except Missing:  # its last objects may have gone without a word
                bodies, version = [], 0
                if self._snapshot.versions(resource):
                    with contextlib.suppress(Missing):  # a kind that must be there says nothing
                        await self._refresh(resource)
            now = {name_of(body): version_of(body) for body in bodies}
            behind = self._is_behind(resource, now)
            points = self._points[resource] + (BEHIND if behind else CAUGHT_UP)
            self._points[resource] = max(0, points)
            self.behind[resource.plural] += behind
            self._seen[resource] = (now, version)
            if behind:
                log.warning("the watch of %s is behind: listing", resource.plural)
                await self._refresh(resource)

    def _is_behind(self, resource: Resource, now: Mapping[Name, int]) -> bool:
        """Whether the watch has not told what was so a whole period ago, and still is."""
        before, version = self._seen.get(resource, ({}, 0))
        known = self._snapshot.versions(resource)
        late = any(known.get(name, 0) < before[name] for name in before.keys() & now.keys())
        ghosts = known.keys() - before.keys() - now.keys()
        return late or any(known[name] <= version for name in ghosts)

    async def _catch_up(self) -> None:
        self._wake.clear()
        while self._restarted:
            resource = next(iter(self._restarted))
            await self._refresh(resource)
            self._restarted.discard(resource)
