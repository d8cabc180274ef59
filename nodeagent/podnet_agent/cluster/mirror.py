"""The mirror: this node's objects are what the API server has. Lives in the asyncio loop.

An event says what the server has by now; what is to be done follows from that and from what is
here. A server that is away, or does not know the kind any more, changes nothing.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from podnet_agent.cluster.api import Api, ApiError, Resource, resource
from podnet_agent.cluster.cache import Cache
from podnet_agent.cluster.following import Following
from podnet_agent.cluster.networks import DEFAULT
from podnet_agent.objects import Body, Name, Objects, name_of

log = logging.getLogger(__name__)

FIRST_SECONDS = 5.0
"""How long a node that boots waits for the server, before it takes what it knew last."""
DOUBT_SECONDS = 2.0
"""How often is asked, where the server does not say whether what was deleted still has a kind."""
HELD_SECONDS = 5.0
"""How often is looked whether what is held only for its users has none any more."""
KEEP_SECONDS = 1.0
"""How long changes gather before they are written to disk."""

SANDBOX, SUBNET, NETWORK, NODE = "PodSandbox", "NodeSubnet", "PodNetwork", "Node"
_OF_SERVER = ("managedFields", "resourceVersion", "selfLink", "deletionGracePeriodSeconds")
"""Of metadata: differs without meaning anything here. Containers have their own time to end, and
the server says 0 of every object that is not a Pod."""
_STATUS: Mapping[str, tuple[str, ...]] = {NETWORK: ("subnets",), SUBNET: ("nodeAddresses",)}
"""What of others' statuses counts here: their numbers move all the time."""


class Mirror:
    """Keeps Objects equal to what the server has for this node."""

    def __init__(
        self,
        api: Api,
        node: str,
        objects: Objects,
        cache: Cache,
        in_use: Callable[[str], Awaitable[bool]],
        forget: Callable[[str], Awaitable[None]],
        read: Callable[..., Awaitable[Any]],
    ) -> None:
        self._api, self._node, self._objects, self._cache = api, node, objects, cache
        self._in_use, self._forget, self._read = in_use, forget, read
        self.seen: Callable[[Body], None] = lambda body: None  # an object as the server has it
        self._followings = [
            Following(api, each, partial(self._list, each), self._hear)
            for each in (
                resource(NETWORK),
                resource(SUBNET),
                resource(SANDBOX, f"spec.nodeName={node}"),
                resource(NODE, f"metadata.name={node}"),
            )
        ]
        self._there: dict[Name, Body] = {}  # what the server has, as far as is known
        self._unsettled: dict[Name, None] = {}
        self._held: set[Name] = set()
        self._kinds: dict[str, str] = {}  # by kind: its own uid, when it was listed
        self._doubtful: dict[Name, str] = {}  # deleted, as was told: the uid
        self._doubt = asyncio.Event()
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()  # since it was written to disk
        self._left = False

    async def begin(self) -> None:
        """Know what there is: as the last agent had it, which may have been a moment ago.

        After a boot there is nothing: the server is asked for a moment, then the disk.
        """
        kinds = [each.resource.kind for each in self._followings]
        found = [body for kind in kinds for body in self._objects.list(kind)]
        if found:
            self._there = {name_of(body): body for body in found if not _is_going(body)}
            self._unsettled = dict.fromkeys(name_of(body) for body in found if _is_going(body))
            self._wake.set()
            return
        asked = [asyncio.create_task(each.ask()) for each in self._followings]
        await asyncio.wait(asked, timeout=FIRST_SECONDS)
        silent = set()
        for each, task in zip(self._followings, asked, strict=True):
            task.cancel()
            with contextlib.suppress(ApiError, asyncio.CancelledError):
                await task
                continue
            silent.add(each.resource.kind)
        if silent:
            log.warning("the API server does not answer: what is known is as it was before")
            kept = [body for body in self._cache.load() if body.get("kind") in silent]
            self._there |= {name_of(body): body for body in kept}
        for name in list(self._there):
            await self._settle(name)

    async def run(self) -> None:
        """Follow the server until cancelled."""
        async with asyncio.TaskGroup() as group:
            for each in self._followings:
                group.create_task(each.run())
            group.create_task(self._doubting())
            group.create_task(self._settling())
            group.create_task(self._keeping())

    def settle(self, name: Name) -> None:
        """Something of that name changed here: look soon whether it is as the server has it."""
        if name[0] == SANDBOX:
            self._unsettled |= dict.fromkeys(self._held)
        self._unsettled[name] = None
        self._wake.set()

    def leave(self) -> None:
        """From now on the node's objects are not the server's any more: they are all to go."""
        self._left = True

    # What the server says.

    async def _list(self, each: Resource, bodies: Sequence[Body]) -> None:
        """All that the server has of the kind; ApiError where the kind itself is going."""
        kind = await self._api.kind_uid(each)
        if not kind:
            raise ApiError(404, f"{each.plural} are going, the kind itself was deleted")
        self._replace(each.kind, bodies)
        self._kinds[each.kind] = kind

    def _hear(self, what: str, body: Body) -> None:
        if what in ("ADDED", "MODIFIED"):
            self._put(body)
        elif what == "DELETED":
            self._doubt_of(body)

    def _doubt_of(self, body: Body) -> None:
        """It is deleted, but with a kind that is deleted go all its objects: nobody meant them."""
        self._doubtful[name_of(body)] = body["metadata"]["uid"]
        self._doubt.set()

    async def _doubting(self) -> None:
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            for each in (following.resource for following in self._followings):
                names = [name for name in self._doubtful if name[0] == each.kind]
                try:
                    if names:
                        await self._clear_up(each, names)
                except ApiError as error:
                    log.warning("whether %s are going is not known: %s", each.plural, error)
                    await asyncio.sleep(DOUBT_SECONDS)
                    self._doubt.set()

    async def _clear_up(self, each: Resource, names: Sequence[Name]) -> None:
        """They are gone indeed if their kind is not."""
        now = await self._api.kind_uid(each)
        meant = now != "" and now == self._kinds.get(each.kind, now)
        if not meant:
            log.warning("the API server gives up %s, the kind itself: they stay", each.plural)
        for name in names:
            uid = self._doubtful.pop(name, None)
            there = self._there.get(name)
            if meant and there and there["metadata"]["uid"] == uid:
                self._drop(name)

    def _replace(self, kind: str, bodies: Sequence[Body]) -> None:
        for body in bodies:
            self._put(body)
        gone = {name for name in self._there if name[0] == kind} - {name_of(b) for b in bodies}
        for name in gone:
            self._drop(name)

    def _put(self, body: Body) -> None:
        name = name_of(body)
        if not self._is_here(body):
            self._drop(name)  # a server that does not select
            return
        if self._is_ours(name):
            self.seen(body)
        if _is_going(body):
            there = self._there.get(name)
            if there and there["metadata"]["uid"] == body["metadata"]["uid"]:
                self._doubt_of(body)
            else:
                self._drop(name)
            return
        known = _known(body)
        if self._there.get(name) != known:
            self._there[name] = known
            self._note(name)

    def _drop(self, name: Name) -> None:
        self._doubtful.pop(name, None)
        if self._there.pop(name, None) is not None:
            self._note(name)

    def _note(self, name: Name) -> None:
        self._unsettled[name] = None
        self._wake.set()
        self._changed.set()

    # What follows from it.

    async def _settling(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELD_SECONDS if self._held else None):
                    await self._wake.wait()
            self._wake.clear()
            self._unsettled |= dict.fromkeys(self._held)
            while self._unsettled and not self._left:
                name = next(iter(self._unsettled))
                del self._unsettled[name]
                await self._settle(name)

    async def _settle(self, name: Name) -> None:
        """Go one step towards what the server has; whoever takes the next one calls again."""
        wanted, have = self._there.get(name), self._objects.get(*name)
        self._held.discard(name)
        if have is None:
            if wanted is not None:
                await self._mirror(name, wanted)
        elif wanted is None:
            await self._take_down(name)
        elif name[0] == SANDBOX and wanted["metadata"]["uid"] != have["metadata"]["uid"]:
            await self._take_down(name)  # the new one comes when it is gone
        else:
            await self._mirror(name, wanted)

    async def _mirror(self, name: Name, wanted: Body) -> None:
        status = None if self._is_ours(name) else wanted["status"]
        have = self._objects.get(*name)
        if name[0] == NETWORK and have is not None:  # the rest is what is built of it here
            here = {
                key: each for key, each in have["status"].items() if key not in _STATUS[NETWORK]
            }
            status = here | wanted["status"]
        await self._objects.mirror(wanted, status)

    def _is_here(self, body: Body) -> bool:
        """Whether it is among those that the field selectors name."""
        match body["kind"]:
            case "Node":
                place = body["metadata"]["name"]
            case "PodSandbox":
                place = body.get("spec", {}).get("nodeName")
            case _:
                return True
        return bool(place == self._node)

    def _is_ours(self, name: Name) -> bool:
        """Whether this agent writes its status, and knows it better than the server."""
        if name[0] == SUBNET:
            return name[2].partition(".")[2] == self._node
        return name[0] in (SANDBOX, NODE)

    async def _take_down(self, name: Name) -> None:
        """A sandbox is taken down first. What a sandbox still hangs on stays until then."""
        kind, _, called = name
        if kind == SANDBOX:
            await self._objects.mark_deleted(name)
            return
        is_needed = kind == NETWORK or self._is_ours(name)
        network = DEFAULT if kind == NODE else called.partition(".")[0]
        if is_needed and await self._in_use(network):
            self._held.add(name)
            await self._objects.mark_deleted(name)
        else:
            await self._objects.remove(name)
            if kind == NETWORK:  # one of its name is another one
                await self._forget(network)

    async def _keeping(self) -> None:
        try:
            while True:
                await self._changed.wait()
                await asyncio.sleep(KEEP_SECONDS)
                self._changed.clear()
                await self._read(self._cache.save, list(self._there.values()))
        finally:
            if self._changed.is_set():
                self._cache.save(list(self._there.values()))


def _is_going(body: Body) -> bool:
    return "deletionTimestamp" in body["metadata"]


def _known(body: Body) -> Body:
    """What of an object is kept here."""
    if body["kind"] == NODE:  # there is much more to it, and it changes all the time
        return {
            "apiVersion": body["apiVersion"],
            "kind": NODE,
            "metadata": {key: body["metadata"][key] for key in ("name", "uid")},
            "spec": {"podCIDRs": body["spec"].get("podCIDRs", [])},
            "status": {},
        }
    meta = {key: value for key, value in body["metadata"].items() if key not in _OF_SERVER}
    status, counts = body.get("status", {}), _STATUS.get(body["kind"], ())
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": meta,
        "spec": body.get("spec", {}),
        "status": {key: status[key] for key in counts if key in status},
    }
