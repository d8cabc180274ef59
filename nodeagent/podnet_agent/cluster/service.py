"""The agent as a member of a cluster: the service of one machine, its objects the API server's."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from podnet.api.manifest import Resource, Source
from podnet.api.meta import Found
from podnet.errors import Conflict
from podnet_agent.agent import Agent
from podnet_agent.cluster.api import Api
from podnet_agent.cluster.cache import Cache
from podnet_agent.cluster.installation import Installation
from podnet_agent.cluster.mirror import Mirror
from podnet_agent.cluster.networks import ClusterNetworks
from podnet_agent.cluster.reporter import Reporter
from podnet_agent.cluster.shipped import shipped
from podnet_agent.daemon import Machine
from podnet_agent.keeper import Look
from podnet_agent.objects import Body, Name, Objects, Write, name_of
from podnet_agent.paths import ACCOUNT, Paths
from podnet_agent.sandboxes import Sandboxes
from podnet_agent.service import Service
from podnet_agent.threads import Threads

log = logging.getLogger(__name__)


class Member(Machine):
    """A node of a cluster."""

    def __init__(
        self, api: Api, node: str, cache: Cache, namespace: str, shipped: Sequence[Body]
    ) -> None:
        self.api, self.node, self.cache, self.namespace = api, node, cache, namespace
        self.shipped = shipped

    @classmethod
    def of_cluster(cls, node: str, paths: Paths) -> "Member":
        """That node, of the cluster that this process is a Pod of."""
        api, namespace = Api.of_cluster(), (ACCOUNT / "namespace").read_text()
        return cls(api, node, Cache(paths.cluster, node), namespace, shipped(paths.shipped))

    def networks(self, agent: Agent, write: Write, objects: Objects) -> ClusterNetworks:
        """Each network has a share here, and ways to all others."""
        return ClusterNetworks(agent, write, objects, self.node, self.shipped)

    def service(self, *parts: Any) -> "ClusterService":
        """The API server has the objects. `parts` are Service's."""
        return ClusterService(self, *parts)


class ClusterService(Service):
    """What the socket offers, but for writing objects."""

    def __init__(
        self,
        member: Member,
        agent: Agent,
        threads: Threads,
        objects: Objects,
        networks: ClusterNetworks,
        sandboxes: Sandboxes,
        look: Look,
    ) -> None:
        super().__init__(agent, threads, objects, networks, sandboxes, look)
        self._api = member.api

        async def in_use(network: str) -> bool:
            return bool(await threads.write(agent.store.usage, network))

        async def forget(network: str) -> None:
            await threads.write(agent.store.forget_unused, network)

        self._mirror = Mirror(
            member.api, member.node, objects, member.cache, in_use, forget, threads.read
        )
        self._reporter = Reporter(member.api, objects, member.node)
        self._installation = Installation(member.api, member.namespace)
        self._mirror.seen = self._reporter.seen
        networks.moved = member.api.close

    def object_changed(self, name: Name) -> None:
        """An object was written or went."""
        super().object_changed(name)
        if self.started:
            self._mirror.settle(name)

    async def load(self) -> None:
        """Know the objects as they were, or after a boot as they are; then the networks."""
        await self.objects.load()
        await self._mirror.begin()
        await self.networks.clear()
        await self.networks.refresh()

    async def keep(self) -> None:
        """Follow the API server and tell it, beside all else."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().keep())
            group.create_task(self._mirror.run())
            group.create_task(self._reporter.run())
            group.create_task(self._installation.run())

    async def leave(self) -> None:
        """Where podnet itself is deleted, nothing of it is left on this node."""
        if not self.emptied and await self._installation.is_deleted():
            log.info("podnet is being deleted from the cluster: all of it goes from this node")
            log.info("%s", await self.down())

    async def close(self) -> None:
        """Also end what is asked of the API server."""
        await super().close()
        await self._api.close()

    async def apply(
        self, sources: Sequence[Source], namespace: str
    ) -> tuple[list[Body], list[str]]:
        """Refused."""
        raise _refusal("apply -f FILE")

    def refused(self, resource: Resource) -> Found:
        """Nothing: what a cluster refuses, its API server does."""
        return []

    async def run(self, source: Source, *, stdin: bool, tty: bool) -> tuple[Body, Body, list[str]]:
        """Refused."""
        raise _refusal("apply -f FILE")

    async def delete(
        self, name: Name, grace_seconds: float | None = None, *, wait: bool = True
    ) -> Body:
        """Refused."""
        raise _refusal(f"delete {name[0].lower()} {name[2]}")

    async def delete_all(
        self,
        sources: Sequence[Source],
        namespace: str,
        grace_seconds: float | None = None,
        *,
        wait: bool = True,
    ) -> list[Body]:
        """Refused."""
        raise _refusal("delete -f FILE")

    async def down(self) -> Body:
        """Take everything away that podnet made on this node; its objects stay in the cluster."""
        self._mirror.leave()
        for kind in ("NodeSubnet", "Node"):
            for body in self.objects.list(kind):
                await self.objects.remove(name_of(body))
        return await super().down()


def _refusal(command: str) -> Conflict:
    return Conflict(f"this node is a cluster's, and its objects are kept there: kubectl {command}")
