"""The loop: look at everything, decide, write what changed. An event says when, never what."""

import asyncio
import contextlib
import logging
import time
from datetime import UTC, datetime

from podnet.errors import Conflict, PodNetError, Retryable
from podnet.shares import GONE_SECONDS
from podnet_operator.client import Client, Missing, Resource
from podnet_operator.cluster import Cluster
from podnet_operator.decisions import World, decide
from podnet_operator.facts import RESOURCES, SANDBOXES, SERVICES, SHARES, ShareFacts
from podnet_operator.lease import Lease
from podnet_operator.leaving import Leaving
from podnet_operator.reports import (
    NetworkReport,
    network_reports,
    sandbox_reports,
    share_reports,
)
from podnet_operator.snapshot import Snapshot

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.02
"""Between passes, so that a burst of events counts once; the first of it is answered at once."""
COUNT_SECONDS = 10.0
"""How often the number of addresses in use is written, at most: each pod changes it."""
RESYNC_SECONDS = 60.0
MAY_LACK = (SERVICES, SHARES, SANDBOXES)
"""Kinds that there may be none of: Kubernetes before 1.33 has no ServiceCIDR; and where all kinds
of ours are being deleted, the finalizers of PodNetworks are the last to go."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0


class Loop:
    """One at a time decides. `changed` is set by whatever comes into the snapshot."""

    def __init__(self, client: Client, lease: Lease, leaving: Leaving) -> None:
        self._client, self._lease = client, lease
        self._changed = asyncio.Event()
        lease.gained = self._changed.set
        self.snapshot = Snapshot(self._changed.set)
        self.cluster = Cluster(client, self.snapshot, lease, leaving)
        self._gone: dict[str, float] = {}  # nodes, since when
        self._counted: dict[str, float] = {}  # networks, when their numbers were written
        self._listed: set[Resource] = set()
        self.passes, self.failures = 0, 0
        self.began: float | None = None
        """When the present pass began, on the clock of time.monotonic."""

    async def run(self) -> None:
        """Decide whenever something changes, and again after a while if that failed."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._changed.clear()
            self.began = time.monotonic()
            try:
                wait = await self._pass()
            except PodNetError as error:
                self.failures += 1
                if isinstance(error, Conflict | Missing):
                    self._listed.clear()
                tell = log.warning if _may_pass(error) else log.error
                tell("not everything is done, next try in %.1f s: %s", pause, error)
                wait, pause = pause, min(pause * 2, LONGEST_PAUSE_SECONDS)
                self.began = None
                await asyncio.sleep(wait)
            else:
                pause = FIRST_PAUSE_SECONDS
                self.passes += 1
                self.began, ended = None, time.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                await asyncio.sleep(max(0.0, ended + SETTLE_SECONDS - time.monotonic()))

    @property
    def leads(self) -> bool:
        """Whether this operator is the one that writes."""
        return self._lease.held

    async def refresh(self, resource: Resource) -> None:
        """The snapshot of that kind is as the API server has it now."""
        try:
            bodies, version = await self._client.list(resource)
        except Missing:
            if resource not in MAY_LACK:
                raise
            bodies, version = [], self.snapshot.newest(resource)
        self.snapshot.holds(resource, bodies, version)
        self._listed.add(resource)

    async def _pass(self) -> float:
        """Decide and write once; in how many seconds there is something to do at the latest.

        Nothing is decided before everything was seen once: what is not known yet is not gone.
        """
        for resource in RESOURCES:
            if resource not in self._listed:
                await self.refresh(resource)
        if not self._lease.held:
            return RESYNC_SECONDS  # another one writes; to gain the lease ends the wait
        now = time.monotonic()
        world = self._world(now)
        decisions = decide(world)
        if decisions.writes:
            await self.cluster.write(decisions.writes)
            return 0.0  # what was written is looked at once more before anything is said of it
        text = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        reports = [*network_reports(world, decisions, text)]
        later = [each for each in reports if each.only_counts and not self._may_count(each, now)]
        due = [each for each in reports if each not in later]
        shares, sandboxes = share_reports(world, text), sandbox_reports(world, decisions, text)
        await self.cluster.report([*due, *shares, *sandboxes])
        self._counted |= {each.network.id.name: now for each in due}
        return self._wait(now, later)

    def _world(self, now: float) -> World:
        snapshot = self.snapshot
        nodes, shares = snapshot.nodes, snapshot.shares
        there = {node.id.name for node in nodes}
        gone = {each.share.node: now for each in shares if each.share.node not in there}
        for each in shares:
            if each.share.node in gone:
                since = now - _said_gone_seconds(each)
                gone[each.share.node] = min(since, gone[each.share.node])
        self._gone = {name: self._gone.get(name, since) for name, since in gone.items()}
        return World(
            networks=snapshot.networks,
            shares=shares,
            sandboxes=snapshot.sandboxes,
            nodes=nodes,
            services=snapshot.services,
            gone_seconds={name: now - since for name, since in self._gone.items()},
            remembered=tuple(snapshot.remembered.values()),
        )

    def _may_count(self, report: NetworkReport, now: float) -> bool:
        return now - self._counted.get(report.network.id.name, -COUNT_SECONDS) >= COUNT_SECONDS

    def _wait(self, now: float, later: list[NetworkReport]) -> float:
        ends = [now + RESYNC_SECONDS]
        ends += [
            since + GONE_SECONDS for since in self._gone.values() if since + GONE_SECONDS > now
        ]
        ends += [self._counted[each.network.id.name] + COUNT_SECONDS for each in later]
        return max(0.0, min(ends) - now)


def _said_gone_seconds(share: ShareFacts) -> float:
    """How long ago the share's node went, as this operator or the one before it has written."""
    present = share.present
    if present is None or present["status"] != "False":
        return 0.0
    since = datetime.fromisoformat(present["lastTransitionTime"])
    return max(0.0, (datetime.now(UTC) - since).total_seconds())


def _may_pass(error: PodNetError) -> bool:
    return isinstance(error, Retryable | Conflict | Missing)
