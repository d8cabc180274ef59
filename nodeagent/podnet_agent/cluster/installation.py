"""The installation this agent belongs to: whether somebody deletes it, or only restarts the agent.

Asking when the agent is told to end would be too late: its rights and its account are deleted in
the same second as all else. A watch that began before goes on, and tells of it. So two objects are
watched that never change: the namespace, and the agent's account. The DaemonSet changes with every
Pod, and deleting and making it anew is a way to upgrade.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from podnet.errors import PodNetError
from podnet_agent.cluster.api import MANAGER, Api, Resource
from podnet_agent.cluster.following import Following
from podnet_agent.objects import Body

log = logging.getLogger(__name__)

LAST_ASK_SECONDS = 2.0
"""How long an agent that ends waits for an answer. Without one it leaves all as it is."""


class Installation:
    """Lives in the asyncio loop."""

    def __init__(self, api: Api, namespace: str, account: str = MANAGER) -> None:
        chosen = f"metadata.name={namespace}", f"metadata.name={account}"
        inside = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        self._there: dict[str, bool] = {}  # by kind, as was said last
        self._followings = [
            Following(api, each, partial(self._list, each.kind), partial(self._hear, each.kind))
            for each in (
                Resource("Namespace", "namespaces", "/api/v1/namespaces", chosen[0]),
                Resource("ServiceAccount", "serviceaccounts", inside, chosen[1]),
            )
        ]

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self._followings:
                group.create_task(each.run())

    async def is_deleted(self) -> bool:
        """Whether the server said so, by itself or when asked once more; no where it is silent."""
        if self._goes():
            return True
        asking = [asyncio.create_task(each.ask()) for each in self._followings]
        await asyncio.wait(asking, timeout=LAST_ASK_SECONDS)
        for task in asking:
            task.cancel()
        for answer in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(answer, PodNetError):
                log.info("nobody says whether podnet is to go, so all stays: %s", answer)
        return self._goes()

    def _goes(self) -> bool:
        return not all(self._there.values())

    async def _list(self, kind: str, bodies: Sequence[Body]) -> None:
        self._there[kind] = any("deletionTimestamp" not in each["metadata"] for each in bodies)

    def _hear(self, kind: str, what: str, body: Body) -> None:
        if what != "BOOKMARK":
            going = what == "DELETED" or "deletionTimestamp" in body["metadata"]
            self._there[kind] = not going
