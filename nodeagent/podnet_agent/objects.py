"""This machine's API objects: written to the store, mirrored here for reading, watched by anyone.

Lives in the asyncio loop. On one machine the command line writes them through the socket; nothing
else does, and no folder is watched.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from podnet.errors import PodNetError
from podnet.kinds import AGENT_KINDS
from podnet_agent.store import Store

Body = dict[str, Any]
Name = tuple[str, str, str]
"""Kind, namespace ("" where the kind has none), name."""
Write = Callable[..., Awaitable[Any]]
"""Runs a function in the writer thread."""
BACKLOG = 10_000
"""Events a watcher may be behind before it is cut off; it lists again then."""


class NotFound(PodNetError):
    """Nothing of that name."""


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(body: Body) -> Name:
    """Which object that is."""
    meta = body["metadata"]
    return body["kind"], meta.get("namespace", ""), meta["name"]


class Objects:
    """What an API server is in a cluster: objects with versions, and events about them."""

    def __init__(self, store: Store, write: Write) -> None:
        self._facts, self._write = store.facts, write
        self._bodies: dict[Name, Body] = {}
        self._version = 0  # the resource version given out last
        self._queues: set[asyncio.Queue[tuple[str, Body]]] = set()
        self.changed: Callable[[Name], None] = lambda name: None

    async def load(self) -> None:
        """Read what an earlier agent left."""
        self._version = await self._write(self._facts.version)
        for kind in AGENT_KINDS:
            for body in await self._write(self._facts.objects, kind.kind):
                self._bodies[name_of(body)] = body

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """The object with its status. Not to be changed by the caller."""
        return self._bodies.get((kind, namespace, name))

    def list(self, kind: str, namespace: str | None = None) -> list[Body]:
        """All of a kind, by namespace and name."""
        found = [
            (name, body)
            for name, body in self._bodies.items()
            if name[0] == kind and namespace in (None, name[1])
        ]
        return [body for _, body in sorted(found, key=lambda pair: pair[0])]

    async def apply(self, wanted: Body) -> str:
        """Create the object or give it this metadata and spec; returns kubectl's word for it."""
        name = name_of(wanted)
        old = self._bodies.get(name)
        meta = dict(wanted["metadata"])
        if old and old["spec"] == wanted["spec"] and _same_labels(old["metadata"], meta):
            return "unchanged"
        if old:
            before = old["metadata"]
            meta |= {key: before[key] for key in ("uid", "creationTimestamp")}
            moved = old["spec"] != wanted["spec"]
            meta["generation"] = before["generation"] + (1 if moved else 0)
        else:
            meta |= {
                "uid": str(uuid.uuid4()),
                "creationTimestamp": timestamp(),
                "generation": 1,
            }
        await self._put(name, wanted | {"metadata": meta}, old["status"] if old else {})
        return "configured" if old else "created"

    async def mirror(self, body: Body, status: Body | None) -> None:
        """The object is as an API server has it, uid and generation too; None: its status stays."""
        name = name_of(body)
        old = self._bodies.get(name)
        if old is None or _stripped(old) != _stripped(body):
            await self._put(name, body, {})
            old = self._bodies[name]
        if status is not None and old["status"] != status:
            await self.set_status(name, status)
            self.changed(name)

    async def mark_deleted(self, name: Name, grace_seconds: float | None = None) -> None:
        """The object is to go: whoever builds it takes it down, then calls `remove`."""
        body = self._bodies[name]
        if "deletionTimestamp" not in body["metadata"]:
            meta = body["metadata"] | {"deletionTimestamp": timestamp()}
            if grace_seconds is not None:
                meta["deletionGracePeriodSeconds"] = grace_seconds
            await self._put(name, body | {"metadata": meta}, body["status"])

    async def remove(self, name: Name) -> None:
        """The object is gone."""
        await self._write(self._facts.forget, *name)
        body = self._bodies.pop(name, None)
        if body:
            self._publish("DELETED", body)
            self.changed(name)

    async def set_status(self, name: Name, status: Mapping[str, Any]) -> None:
        """Write the status where it differs from what stands there."""
        body = self._bodies.get(name)
        if body is None or body["status"] == status:
            return
        self._version += 1
        version = self._version
        await self._write(self._facts.put_status, *name, dict(status), version)
        if name in self._bodies:
            body = self._bodies[name]
            meta = body["metadata"] | {"resourceVersion": str(version)}
            self._bodies[name] = body | {"metadata": meta, "status": dict(status)}
            self._publish("MODIFIED", self._bodies[name])

    async def watch(
        self, kind: str, namespace: str | None = None
    ) -> AsyncGenerator[tuple[str, Body], None]:
        """Every object there is as ADDED, a BOOKMARK, then every change, until the caller stops."""
        with self._queue() as queue:
            for body in self.list(kind, namespace):
                yield "ADDED", body
            yield "BOOKMARK", {}
            while True:
                what, body = await queue.get()
                if what == "":
                    return
                if body["kind"] == kind and namespace in (None, name_of(body)[1]):
                    yield what, body

    async def gone(self, name: Name) -> None:
        """Wait until the object is not there any more."""
        with self._queue() as queue:
            while name in self._bodies:
                await queue.get()

    async def _put(self, name: Name, body: Body, status: Body) -> None:
        new = name not in self._bodies
        body = {key: value for key, value in body.items() if key != "status"}
        self._version += 1
        body["metadata"] = body["metadata"] | {"resourceVersion": str(self._version)}
        await self._write(self._facts.put, *name, body, self._version)
        if name in self._bodies:  # it may say more by now
            status = self._bodies[name]["status"]
        self._bodies[name] = body | {"status": status}
        self._publish("ADDED" if new else "MODIFIED", self._bodies[name])
        self.changed(name)

    @contextlib.contextmanager
    def _queue(self) -> Iterator[asyncio.Queue[tuple[str, Body]]]:
        queue: asyncio.Queue[tuple[str, Body]] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def _publish(self, what: str, body: Body) -> None:
        for queue in list(self._queues):
            queue.put_nowait((what, body))
            if queue.qsize() > BACKLOG:
                self._queues.discard(queue)
                queue.put_nowait(("", {}))


def _stripped(body: Body) -> Body:
    """Without the version that is given out here."""
    meta = {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}
    return {"metadata": meta, "spec": body["spec"]}


def _same_labels(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return all((old.get(key) or {}) == (new.get(key) or {}) for key in ("labels", "annotations"))
