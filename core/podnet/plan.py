"""Desired and observed in, operations out. The one decision behind attach, undo and repair."""

from collections.abc import Iterable
from dataclasses import dataclass

from podnet.errors import Conflict
from podnet.objects import HOST, KernelObject, Key, Namespace, Netns, Observed, Route, Seen, Veth


@dataclass(frozen=True, slots=True)
class Add:
    """Make what is not there."""

    what: KernelObject


@dataclass(frozen=True, slots=True)
class Change:
    """Make what is ours, and there, as it should be."""

    what: KernelObject
    was: KernelObject


@dataclass(frozen=True, slots=True)
class Remove:
    """Take away what is ours; gone already is success."""

    what: KernelObject


Operation = Add | Change | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations in the order they are to be carried out, and what only a person can resolve."""

    operations: tuple[Operation, ...]
    conflicts: tuple[Conflict, ...] = ()


def plan(desired: Iterable[KernelObject], observed: Observed) -> Plan:
    """The operations that turn what is observed into what is desired.

    What lets traffic in goes first and comes last. Equal input gives equal output.
    """
    wanted = {thing.key: thing for thing in desired}
    additions: list[Add | Change] = []
    conflicts: list[Conflict] = []
    remade: set[Key] = set()
    for key, thing in wanted.items():
        if not _in_scope(thing, observed):
            continue
        found = observed.seen.get(key)
        if found is None:
            additions.append(Add(thing))
            if isinstance(thing, Namespace | Veth):
                remade.add(key)
        elif not found.ours or isinstance(found.what, str):
            conflicts.append(_conflict(thing, found))
        elif found.what != thing:
            additions.append(Change(thing, found.what))
    if observed.scope is not None:  # what hung on a thing that is made again went with it
        additions += [
            Add(thing)
            for thing in wanted.values()
            if thing.within in remade and not _in_scope(thing, observed)
        ]
    removals = _removals(wanted, observed)
    additions.sort(key=lambda operation: _order(operation.what))
    removals.sort(key=lambda operation: _order(operation.what), reverse=True)
    return Plan((*removals, *additions), tuple(conflicts))


def as_seen(objects: Iterable[KernelObject]) -> Observed:
    """What a plan left behind: `plan((), as_seen(objects))` takes it away again."""
    return Observed({thing.key: Seen(thing, ours=True) for thing in objects})


def _removals(wanted: dict[Key, KernelObject], observed: Observed) -> list[Remove]:
    """What is ours and not wanted, but for what goes along with something else that goes."""
    gone = {key for key, found in observed.seen.items() if found.ours and key not in wanted}
    return [
        Remove(found.what)
        for key in gone
        if not isinstance((found := observed.seen[key]).what, str) and found.what.within not in gone
    ]


def _in_scope(thing: KernelObject, observed: Observed) -> bool:
    return observed.scope is None or thing.netns in observed.scope


def _conflict(thing: KernelObject, found: Seen) -> Conflict:
    kind, netns, name = thing.key
    where = f" in {netns}" if netns else ""
    return Conflict(
        f"{kind} {name}{where} exists and is not podnet's ({found.what}); {thing.cause} wants it:"
        f" remove it or choose another name"
    )


def _order(thing: KernelObject) -> tuple[int, Netns, int, Key]:
    """Namespaces, the node's links, then each pod in one go, then what lets traffic in."""
    if isinstance(thing, Namespace):
        stage = 0
    elif thing.netns == HOST:
        stage = 1 if thing.rank < Route.rank else 3
    else:
        stage = 2
    return (stage, thing.netns, thing.rank, thing.key)
