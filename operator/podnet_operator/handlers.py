"""What kopf does for us: it watches. Each event goes into the snapshot, which wakes the loop."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import kopf

from podnet_operator import access
from podnet_operator.client import Resource
from podnet_operator.facts import RESOURCES, name_of, version_of
from podnet_operator.snapshot import Snapshot

RESTART_SECONDS = 5.0
"""So long all objects of one list are taken for one restart of a watch."""


class Pauses:
    """Seconds before each next try, without end: kopf's own stop after eight, and the watch too."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1, 2, 4)
        while True:
            yield 8


def settings() -> kopf.OperatorSettings:
    """kopf's, each with its reason."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # the lease says who writes
    found.posting.enabled = False  # Events are for people: the loop writes those it means
    found.networking.request_timeout = 15  # instead of 5 minutes: a list that hangs is tried again
    found.networking.connect_timeout = 5
    found.networking.error_backoffs = Pauses()
    found.watching.reconnect_backoff = 0.2
    found.watching.server_timeout = 300  # a stream that died without a word ends by itself then
    found.queueing.error_delays = (
        1,
        2,
        5,
        10,
        30,
    )  # a mistake of ours; kopf waits up to 10 minutes
    found.queueing.idle_timeout = 1.0  # a worker for each object: most are silent for hours
    return found


def registry(snapshot: Snapshot, restarted: Callable[[Resource], None]) -> kopf.OperatorRegistry:
    """One handler for each kind that is watched. kopf writes nothing to any object."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    def login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo:
        return access.connection(settings)

    for resource in RESOURCES:
        _watch(found, resource, snapshot, restarted)
    return found


def _watch(
    registry: kopf.OperatorRegistry,
    resource: Resource,
    snapshot: Snapshot,
    restarted: Callable[[Resource], None],
) -> None:
    known: set[str] = set()  # uids
    restart = -RESTART_SECONDS

    @kopf.on.event(
        resource.group, resource.version, resource.plural, id=resource.plural, registry=registry
    )
    async def seen(type: str | None, body: kopf.Body, **_: Any) -> None:
        nonlocal restart
        uid, now = body["metadata"]["uid"], time.monotonic()
        if type == "DELETED":
            known.discard(uid)
            snapshot.misses(resource, name_of(body), version_of(body))
            return
        snapshot.sees(resource, body)
        if type is None and uid in known and now - restart > RESTART_SECONDS:
            restart = now  # a list anew: the watch was cut for longer than the server remembers
            restarted(resource)
        known.add(uid)
