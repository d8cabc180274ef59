"""What the API server is told: the statuses of this node's own objects. Lives in the loop.

A status is written when it differs from what the server has, and only then. Nothing another node
does makes this one write. What a person should know of the difference becomes Events.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from podnet.event import course, event
from podnet_agent.cluster.api import MANAGER, Api, ApiError, api_version
from podnet_agent.objects import Body, Name, Objects, name_of, timestamp

log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
AT_ONCE = 8
"""Writes under way: more would only wait in the server."""


class Reporter:
    """One task for each object with something to be told; it ends when that is told."""

    def __init__(self, api: Api, objects: Objects, node: str) -> None:
        self._api, self._objects, self._node = api, objects, node
        self._there: dict[Name, Body] = {}  # own objects, as the server was known to have them
        self._accepted: dict[Name, tuple[Body, Body]] = {}  # a status as sent, and what came of it
        self._group: asyncio.TaskGroup | None = None  # while it runs
        self._telling: set[Name] = set()
        self._turn = asyncio.Semaphore(AT_ONCE)

    def seen(self, body: Body) -> None:
        """The server has this own object."""
        name = name_of(body)
        self._there[name] = {"metadata": body["metadata"], "status": _shared(body)}
        self._consider(name)

    async def run(self) -> None:
        """Tell what changes until cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for kind in ("PodSandbox", "NodeSubnet", "Node"):
                self._group.create_task(self._watch(kind))

    async def _watch(self, kind: str) -> None:
        while True:  # one that is too far behind is cut off
            async with contextlib.aclosing(self._objects.watch(kind)) as events:
                async for what, body in events:
                    if what == "DELETED":
                        self._forget(name_of(body), body["metadata"]["uid"])
                    elif what != "BOOKMARK":
                        self._consider(name_of(body))

    def _consider(self, name: Name) -> None:
        if self._group and name not in self._telling and self._untold(name) is not None:
            self._telling.add(name)
            self._group.create_task(self._tell(name))

    def _forget(self, name: Name, uid: str) -> None:
        """That object is gone; another one of its name may be there already."""
        there = self._there.get(name)
        if there and there["metadata"]["uid"] == uid:
            del self._there[name]
            self._accepted.pop(name, None)

    def _untold(self, name: Name) -> Body | None:
        """The object's status, if the server should be told."""
        body, there = self._objects.get(*name), self._there.get(name)
        if body is None or there is None or not body["status"]:
            return None
        if body["metadata"]["uid"] != there["metadata"]["uid"]:
            return None
        status: Body = _without_nulls(body["status"])
        if _says(there["status"], status) or self._accepted.get(name) == (status, there["status"]):
            return None
        return status

    async def _tell(self, name: Name) -> None:
        backoff = self._api.backoff(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while (status := self._untold(name)) is not None:
            kind, namespace, called = name
            meta = {"name": called, "uid": self._there[name]["metadata"]["uid"]}
            if namespace:
                meta["namespace"] = namespace
            body = {"apiVersion": api_version(kind), "kind": kind, "metadata": meta}
            before = self._there[name]["status"]
            try:
                async with self._turn:
                    answer = await self._api.apply_status(body | {"status": status})
            except ApiError as error:
                if error.code in (404, 409):  # it is gone, or another one: the watch will say
                    self._forget(name, meta["uid"])
                    break
                pause = backoff.pause()
                log.warning("status of %s %s/%s, again in %.1f s: %s", *name, pause, error)
                await backoff.rest(pause)
                continue
            backoff.succeed()
            after = _shared(answer)
            self._accepted[name] = status, after
            if name in self._there:
                self._there[name] = {"metadata": answer["metadata"], "status": after}
            if kind == "PodSandbox":
                await self._events(body, before, status)
        self._telling.discard(name)
        self._consider(name)

    async def _events(self, of: Body, before: Body, after: Body) -> None:
        """Tell what happened in between; whom that can't reach reads the status."""
        for said in course(before, after):
            try:
                await self._api.tell(event(said, of, timestamp(), MANAGER, self._node))
            except ApiError as error:
                log.warning("no Event %s of %s: %s", said.reason, of["metadata"]["name"], error)


def _shared(body: Body) -> Body:
    """The status, as far as an agent has a say in it: of a Node's only the conditions."""
    status: Body = body.get("status", {})
    if body["kind"] == "Node":
        return {"conditions": status.get("conditions", [])}
    return status


def _says(there: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the server's status says all of ours and, but for others' conditions, no more."""
    if any(there.get(key) != status.get(key) for key in {*there, *status} if key != "conditions"):
        return False
    theirs = {each["type"]: each for each in there.get("conditions", ())}
    return all(theirs.get(each["type"]) == each for each in status.get("conditions", ()))


def _without_nulls(value: Any) -> Any:
    """As the API server keeps it: a field that has no value is not there."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value
