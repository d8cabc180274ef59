"""Snapshot: the cluster as far as it is known here. Watches, lists and our own writes feed it.

They come in any order, and twice: of an object the latest version counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from podnet.shares import Share
from podnet_operator.client import Resource
from podnet_operator.facts import (
    NETWORKS,
    NODES,
    SANDBOXES,
    SERVICES,
    SHARES,
    Facts,
    Name,
    NetworkFacts,
    NodeFacts,
    SandboxFacts,
    ServiceFacts,
    ShareFacts,
    name_of,
    parse,
    version_of,
)

F = TypeVar("F", bound=Facts)


class Snapshot:
    """Lives in the loop; `changed` is called for whatever may ask for a decision."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._objects: dict[Resource, dict[Name, Facts]] = {}
        self._gone: dict[Resource, dict[Name, int]] = {}  # version of the deletion
        self.remembered: dict[tuple[str, str], Share] = {}
        """Shares that were there, by network and node: one that comes back gets its old place."""

    def sees(self, resource: Resource, body: Mapping[str, Any]) -> None:
        """The object is there, at least in that version."""
        name, version = name_of(body), version_of(body)
        objects, gone = self._of(resource)
        old = objects.get(name)
        if gone.get(name, -1) >= version or (old is not None and old.id.version >= version):
            return
        objects[name] = facts = parse(resource, body)
        if isinstance(facts, ShareFacts):
            self.remembered[facts.share.network, facts.share.node] = facts.share
        if facts != old:
            self._changed()

    def misses(self, resource: Resource, name: Name, version: int) -> None:
        """The object was deleted at that version."""
        objects, gone = self._of(resource)
        gone[name] = max(version, gone.get(name, -1))
        old = objects.get(name)
        if old is not None and old.id.version <= version:
            del objects[name]
            self._changed()

    def holds(self, resource: Resource, bodies: Sequence[Mapping[str, Any]], version: int) -> None:
        """These objects were there at that version, and no others."""
        objects, gone = self._of(resource)
        listed = {name_of(body) for body in bodies}
        for name in [name for name, old in objects.items() if old.id.version <= version]:
            if name not in listed:
                self.misses(resource, name, version)
        for body in bodies:
            self.sees(resource, body)
        for name in [name for name, deleted in gone.items() if deleted <= version]:
            del gone[name]

    def versions(self, resource: Resource) -> dict[Name, int]:
        """Of every object of that kind."""
        return {name: facts.id.version for name, facts in self._of(resource)[0].items()}

    def newest(self, resource: Resource) -> int:
        """The latest version of any object of that kind; 0 where there is none."""
        return max(self.versions(resource).values(), default=0)

    @property
    def networks(self) -> tuple[NetworkFacts, ...]:
        """The oldest first."""
        return self._sorted(NETWORKS, NetworkFacts)

    @property
    def shares(self) -> tuple[ShareFacts, ...]:
        """The oldest first."""
        return self._sorted(SHARES, ShareFacts)

    @property
    def sandboxes(self) -> tuple[SandboxFacts, ...]:
        """The oldest first."""
        return self._sorted(SANDBOXES, SandboxFacts)

    @property
    def nodes(self) -> tuple[NodeFacts, ...]:
        """The oldest first."""
        return self._sorted(NODES, NodeFacts)

    @property
    def services(self) -> tuple[ServiceFacts, ...]:
        """The oldest first."""
        return self._sorted(SERVICES, ServiceFacts)

    def _sorted(self, resource: Resource, kind: type[F]) -> tuple[F, ...]:
        found = cast("list[F]", list(self._of(resource)[0].values()))
        found.sort(key=lambda each: (each.id.created, each.id.namespace, each.id.name))
        return tuple(found)

    def _of(self, resource: Resource) -> tuple[dict[Name, Facts], dict[Name, int]]:
        return self._objects.setdefault(resource, {}), self._gone.setdefault(resource, {})
