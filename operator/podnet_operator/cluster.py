"""Writes: decisions and reports as requests; what the API server answers goes into the snapshot."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from podnet.api.nodesubnet import name_of
from podnet.errors import Conflict, PodNetError, Retryable
from podnet.event import Said, event
from podnet_operator.client import CONNECTIONS, MANAGER, Body, Client, Missing, Resource
from podnet_operator.decisions import (
    AdoptShare,
    DropShare,
    HoldNetwork,
    MakeShare,
    PlaceSandbox,
    Write,
)
from podnet_operator.facts import (
    FINALIZER,
    NETWORKS,
    SANDBOXES,
    SHARES,
    Identity,
    NetworkFacts,
    version_of,
)
from podnet_operator.lease import Lease, refuse_unless_held
from podnet_operator.leaving import Leaving
from podnet_operator.reports import NetworkReport, SandboxReport, ShareReport
from podnet_operator.snapshot import Snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")

Report = NetworkReport | ShareReport | SandboxReport
EVENTS = Resource("Event", "", "v1", "events")


class Cluster:
    """What the loop writes with. Nothing is written while another operator may do so.

    Conflict and Missing mean that objects are not as they are known here.
    """

    def __init__(self, client: Client, snapshot: Snapshot, lease: Lease, leaving: Leaving) -> None:
        self._client, self._snapshot, self._lease = client, snapshot, lease
        self._leaving = leaving
        self.written: Counter[str] = Counter()
        """How often each kind of write succeeded."""

    async def write(self, writes: Iterable[Write]) -> None:
        """All of them, as many at once as there are connections; those that drop something first.

        Goes on where one fails; one of the errors is raised then.
        """
        several = list(writes)
        await self._all(self._drop, [each for each in several if isinstance(each, DropShare)])
        others = [each for each in several if not isinstance(each, DropShare)]
        await self._all(self._one, others)

    async def report(self, reports: Iterable[Report]) -> None:
        """Write what there is to say, and the Events."""
        await self._all(self._report, list(reports))

    async def _all(self, do: Callable[[T], Awaitable[None]], things: Sequence[T]) -> None:
        limit = asyncio.Semaphore(CONNECTIONS)

        async def one(thing: T) -> None:
            async with limit:
                refuse_unless_held(self._lease)
                await do(thing)
            self.written[type(thing).__name__] += 1

        results = await asyncio.gather(*map(one, things), return_exceptions=True)
        errors = [each for each in results if isinstance(each, BaseException)]
        for error in errors:
            if not isinstance(error, PodNetError):
                raise error
        for kind in (Conflict, Missing, Retryable, PodNetError):  # the most telling one
            for error in errors:
                if isinstance(error, kind):
                    raise error

    async def _drop(self, write: DropShare) -> None:
        old = write.old.id
        await self._client.delete(SHARES, old.name, old.uid)
        self._snapshot.misses(SHARES, (old.namespace, old.name), old.version)
        log.info("deleted NodeSubnet %s", old.name)

    async def _one(self, write: Write) -> None:
        match write:
            case MakeShare():
                await self._make(write)
            case AdoptShare():
                owners = {"ownerReferences": [_owner(write.owner)]}
                await self._change(SHARES, write.old.id, {"metadata": owners})
            case PlaceSandbox():
                await self._change(SANDBOXES, write.sandbox.id, {"spec": {"nodeName": write.node}})
            case HoldNetwork():
                if FINALIZER in write.finalizers:
                    await self._leaving.prepare()
                finalizers = {"finalizers": list(write.finalizers)}
                await self._change(NETWORKS, write.network.id, {"metadata": finalizers})

    async def _make(self, write: MakeShare) -> None:
        share = write.share
        body = {
            "metadata": {
                "name": name_of(share.network, share.node),
                "ownerReferences": [_owner(write.owner)],
            },
            "spec": {
                "podNetwork": share.network,
                "nodeName": share.node,
                "podCIDRs": [str(cidr) for cidr in share.pod_cidrs],
            },
        }
        made = await self._client.create(SHARES, body)
        self._snapshot.sees(SHARES, made)
        log.info("made NodeSubnet %s: %s", made["metadata"]["name"], made["spec"]["podCIDRs"])

    async def _change(self, resource: Resource, of: Identity, change: Body) -> None:
        """Conflict where the object is not as it was when this was decided."""
        meta = {**change.get("metadata", {}), "uid": of.uid, "resourceVersion": str(of.version)}
        changed = await self._client.merge(
            resource, of.name, change | {"metadata": meta}, of.namespace
        )
        meta = changed["metadata"]
        if meta.get("deletionTimestamp") and not meta.get("finalizers"):
            self._snapshot.misses(resource, (of.namespace, of.name), version_of(changed))
        else:
            self._snapshot.sees(resource, changed)

    async def _report(self, report: Report) -> None:
        match report:
            case NetworkReport():
                resource, of = NETWORKS, report.network.id
            case ShareReport():
                resource, of = SHARES, report.share.id
            case SandboxReport():
                resource, of = SANDBOXES, report.sandbox.id
        try:
            changed = await self._client.apply_status(
                resource, of.name, of.uid, report.status, of.namespace
            )
        except Missing:  # deleted meanwhile
            return
        self._snapshot.sees(resource, changed)
        if report.said is not None:
            await self._tell(resource, of, report.said)

    async def _tell(self, resource: Resource, of: Identity, said: Said) -> None:
        """An Event. That nobody could be told is no reason to write the rest again."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = {"name": of.name, "namespace": of.namespace, "uid": of.uid}
        who = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
        body = event(said, who, now, MANAGER)
        try:
            await self._client.create(EVENTS, body, body["metadata"]["namespace"])
        except PodNetError as error:
            log.warning("no Event %s of %s %s: %s", said.reason, resource.kind, of.name, error)


def _owner(network: NetworkFacts) -> Body:
    return {
        "apiVersion": NETWORKS.api_version,
        "kind": NETWORKS.kind,
        "name": network.id.name,
        "uid": network.id.uid,
    }
