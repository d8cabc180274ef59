"""Desired and observed in, operations out. The one decision behind attach, undo and repair."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter

from podnet.errors import Conflict
from podnet.objects import (
    HOST,
    Interface,
    KernelObject,
    Key,
    Namespace,
    Netns,
    Observed,
    Seen,
    Veth,
)


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

    What lets traffic in goes first and comes last. Equal input gives equal output. Where something
    foreign stands, nothing is put into it nor built upon it.
    """
    wanted = _in_order(_in_question(list(desired), observed))
    additions: list[Add | Change] = []
    conflicts: list[Conflict] = []
    made: set[Key] = set()
    foreign = {key for key, found in observed.seen.items() if key in wanted and not found.ours}
    without = set(foreign)  # with what is not made because of that
    for key, thing in wanted.items():
        found = observed.seen.get(key)
        if found is not None and found.ours and thing.within in made:
            found = None  # a look takes its time: seen, and gone with what it was part of
        groundless = thing.within in without or not foreign.isdisjoint(thing.needs)
        if found is None and groundless:
            without.add(key)
        elif found is None:
            additions.append(Add(thing))
            made.add(key)
        elif not found.ours or isinstance(found.what, str):
            conflicts.append(_conflict(thing, found))
        elif found.what != thing and not groundless:
            additions.append(Change(thing, found.what))
    return Plan((*_removals(wanted, observed), *additions), tuple(conflicts))


def as_seen(objects: Iterable[KernelObject]) -> Observed:
    """What a plan left behind: `plan((), as_seen(objects))` takes it away again."""
    return Observed({thing.key: Seen(thing, ours=True) for thing in objects})


def _removals(wanted: dict[Key, KernelObject], observed: Observed) -> list[Remove]:
    """What is ours and not wanted, but for what goes along with something else that goes."""
    gone = {key for key, found in observed.seen.items() if found.ours and key not in wanted}
    things = (
        found.what
        for key in gone
        if not isinstance((found := observed.seen[key]).what, str) and found.what.within not in gone
    )
    return [Remove(thing) for thing in reversed(_in_order(things).values())]


def _in_order(things: Iterable[KernelObject]) -> dict[Key, KernelObject]:
    """Namespaces, the node's links, then each pod in one go, then what lets traffic in."""
    placed = sorted(((_place(thing), thing) for thing in things), key=itemgetter(0))
    return {place[-1]: thing for place, thing in placed}


def _place(thing: KernelObject) -> tuple[int, Netns, int, Key]:
    if isinstance(thing, Namespace):
        stage = 0
    elif thing.netns == HOST:
        stage = 1 if thing.rank <= Interface.rank else 3
    else:
        stage = 2
    return (stage, thing.netns, thing.rank, thing.key)


def _in_question(desired: Sequence[KernelObject], observed: Observed) -> Sequence[KernelObject]:
    """What was looked at, and in places that were not, what went with something that is missing."""
    scope = observed.scope
    if scope is None:
        return desired
    missing = {
        thing.key
        for thing in desired
        if isinstance(thing, Namespace | Veth)
        and thing.netns in scope
        and thing.key not in observed.seen
    }
    return [thing for thing in desired if thing.netns in scope or thing.within in missing]


def _conflict(thing: KernelObject, found: Seen) -> Conflict:
    kind, netns, name = thing.key
    where = f" in {netns}" if netns else ""
    return Conflict(
        f"{kind} {name}{where} exists and is not podnet's ({found.what}); {thing.cause} wants it:"
        f" remove it or choose another name"
    )
