"""Place: which node a PodSandbox runs on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Name = tuple[str, str]
"""Namespace and name of a PodSandbox."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node, as a place for sandboxes."""

    name: str
    ready: bool
    schedulable: bool = True  # False: cordoned, or tainted with NoSchedule or NoExecute


@dataclass(frozen=True, slots=True)
class Guest:
    """A PodSandbox, as far as its place depends on it."""

    name: Name
    node: str | None = None  # where it was placed, by a person or earlier
    joins: str | None = None  # the sandbox of its namespace whose netns it shares


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sandbox is to run; without a node, or on a wrong one, why."""

    node: str | None
    reason: str = ""
    message: str = ""


def places(guests: Sequence[Guest], nodes: Sequence[Candidate]) -> dict[Name, Place]:
    """A place for every sandbox; those that have a node keep it.

    A sandbox that joins another one runs where that one does. The others go, in their order, to
    the node that is ready and has the fewest sandboxes then.
    """
    known = {guest.name: guest for guest in guests}
    by_name = {node.name: node for node in nodes}
    load = Counter({node.name: 0 for node in nodes})
    load.update(guest.node for guest in guests if guest.node)
    found: dict[Name, Place] = {}
    for guest in guests:
        if guest.joins is None:
            found[guest.name] = place = _alone(guest, by_name, load)
            if not guest.node and place.node:
                load[place.node] += 1
    for guest in guests:
        if guest.joins is not None:
            found[guest.name] = _joined(guest, known, found, by_name)
    return found


def _alone(guest: Guest, nodes: Mapping[str, Candidate], load: Counter[str]) -> Place:
    if guest.node:
        return _there(guest.node, nodes)
    fit = [node.name for node in nodes.values() if node.ready and node.schedulable]
    if fit:
        return Place(min(fit, key=lambda name: (load[name], name)))
    if not nodes:
        why = "there is no node"
    else:
        ready = sum(node.ready for node in nodes.values())
        why = f"of {len(nodes)} nodes {ready} are ready, and those take no new sandboxes"
    return Place(None, "NoNode", f"{why}: uncordon or add a node, or write spec.nodeName")


def _there(node: str, nodes: Mapping[str, Candidate]) -> Place:
    if node in nodes:
        return Place(node)
    sentence = f"node {node} is not there: bring it back, or delete the PodSandbox"
    return Place(node, "NodeGone", sentence)


def _joined(
    guest: Guest,
    known: Mapping[Name, Guest],
    found: Mapping[Name, Place],
    nodes: Mapping[str, Candidate],
) -> Place:
    """Behind the last of those who join one another."""
    passed = {guest.name}
    at = guest
    while at.joins is not None:
        name = (guest.name[0], at.joins)
        if name in passed:
            sentence = "joins a sandbox that joins this one: let one of them join another sandbox"
            return Place(guest.node, "JoinsItself", sentence)
        passed.add(name)
        if name not in known:
            sentence = f"PodSandbox {at.joins}, which is to be joined, is not there: make it"
            return Place(guest.node, "JoinedMissing", sentence)
        at = known[name]
    place = found[at.name]
    if place.node is None:
        sentence = f"PodSandbox {at.name[1]}, which is joined, has no node: {place.message}"
        return Place(guest.node, "JoinedUnplaced", sentence)
    if guest.node and guest.node != place.node:
        sentence = (
            f"PodSandbox {at.name[1]}, which is joined, is on node {place.node}, not on"
            f" {guest.node}: delete this one and leave spec.nodeName out"
        )
        return Place(guest.node, "JoinedElsewhere", sentence)
    return _there(place.node, nodes)
