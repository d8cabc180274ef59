"""Report: what the operator says of a network or a sandbox in its status. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podnet.addresses import bridge_name, host_numbers
from podnet.event import Said
from podnet.shares import GONE_SECONDS
from podnet.status import Body, Claim, conditions
from podnet_operator.decisions import Decisions, World, addresses_used, follows_nodes
from podnet_operator.facts import NetworkFacts, SandboxFacts, ShareFacts

NAMED = 3
"""How many of many a sentence names."""
COUNTS = ("nodes", "addressesUsed", "addressesTotal")
LET_GO = """kubectl patch podnetwork {} --type=merge -p '{{"metadata":{{"finalizers":null}}}}'"""
"""The way out when the operator can't or won't (docs/operator.md)."""
QUIET = ("Assigning", "NodesPending")
"""Reasons that come and go by themselves while all is well: no Event tells of them."""


@dataclass(frozen=True, slots=True)
class NetworkReport:
    """A PodNetwork's status as it should be."""

    network: NetworkFacts
    status: Body
    said: Said | None
    only_counts: bool  # differ: that can wait


@dataclass(frozen=True, slots=True)
class ShareReport:
    """What the operator says in a NodeSubnet's status: all of it, as it should be."""

    share: ShareFacts
    status: Body
    said: Said | None


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """What the operator says in a PodSandbox's status: all of it, as it should be."""

    sandbox: SandboxFacts
    status: Body
    said: Said | None


def network_reports(world: World, decisions: Decisions, now: str) -> Iterator[NetworkReport]:
    """Of every network whose status says something else."""
    for facts in world.networks:
        claims = [_ready(facts, world, decisions)]
        if facts.id.deleting:
            claims.append(_removable(facts, world, decisions))
        before = facts.status.get("conditions") or []
        status = _counts(facts, world)
        status["conditions"] = conditions(claims, before, facts.id.generation, now)
        old = {key: value for key, value in facts.status.items() if value is not None}
        if status != old:
            same = {key: value for key, value in status.items() if key not in COUNTS}
            counts = same == {key: value for key, value in old.items() if key not in COUNTS}
            yield NetworkReport(facts, status, _said(claims, before), counts)


def share_reports(world: World, now: str) -> Iterator[ShareReport]:
    """Of every share whose node went, or is back.

    The condition's time says since when, also to the next operator.
    """
    gone = world.gone_seconds or {}
    for facts in world.shares:
        if facts.id.deleting or not (facts.share.node in gone or facts.present):
            continue
        before = [facts.present] if facts.present else []
        claim = _present(facts) if facts.share.node in gone else Claim("NodePresent", True, "Back")
        (condition,) = conditions([claim], before, facts.id.generation, now)
        if condition != facts.present:
            yield ShareReport(facts, {"conditions": [condition]}, _said([claim], before))


def _present(facts: ShareFacts) -> Claim:
    node, used = facts.share.node, facts.addresses_used
    if used:
        sentence = (
            f"node {node} is not there, and had {used} address{'es' * (used != 1)} in use when it"
            f" was last heard: if it is off for good, kubectl delete nodesubnet {facts.id.name}"
            f" frees the share"
        )
        return Claim("NodePresent", False, "HeldForPods", sentence)
    sentence = f"node {node} is not there: the share is freed {GONE_SECONDS:.0f} s after it went"
    return Claim("NodePresent", False, "NodeGone", sentence)


def sandbox_reports(world: World, decisions: Decisions, now: str) -> Iterator[SandboxReport]:
    """Of every sandbox that has no place, or has one again.

    One that was placed at once is not told so: that would be a write for each.
    """
    for facts in world.sandboxes:
        place = decisions.places[facts.id.namespace, facts.id.name]
        before = [facts.scheduled] if facts.scheduled else []
        if facts.id.deleting or not (place.reason or before):
            continue
        if place.reason:
            claim = Claim("Scheduled", False, place.reason, place.message)
        else:
            claim = Claim("Scheduled", True, "Placed", f"runs on node {place.node}")
        (condition,) = conditions([claim], before, facts.id.generation, now)
        if condition != facts.scheduled:
            status: Body = {"conditions": [condition]}
            if facts.node is None and place.reason:
                status["phase"] = "Pending"  # no agent says so as long as there is no node
            yield SandboxReport(facts, status, _said([claim], before))


def _said(claims: Sequence[Claim], before: Sequence[Mapping[str, Any]]) -> Said | None:
    """What is told of the first claim that is another one than before."""
    known = {each["type"]: (each["status"], each["reason"]) for each in before}
    for claim in claims:
        status = "True" if claim.holds else "False"
        if known.get(claim.type) != (status, claim.reason) and claim.reason not in QUIET:
            return Said(claim.reason, claim.message or claim.type, not claim.holds)
    return None


def _counts(facts: NetworkFacts, world: World) -> Body:
    name = facts.id.name
    shares = [each for each in world.shares if each.share.network == name]
    status: Body = {"nodes": len(shares), "addressesUsed": addresses_used(world, name)}
    if facts.network is not None:
        spec = facts.network.spec
        status["bridge"] = spec.bridge.name or bridge_name(name)
        if spec.subnets:
            status["subnets"] = [str(subnet) for subnet in spec.subnets]
    if shares and all(any(c.version == 4 for c in each.share.pod_cidrs) for each in shares):
        total = sum(len(host_numbers(each.share.pod_cidrs)) for each in shares)
        status["addressesTotal"] = total
    return status


def _ready(facts: NetworkFacts, world: World, decisions: Decisions) -> Claim:
    name = facts.id.name
    if facts.network is None:
        return Claim("Ready", False, "Invalid", facts.problems)
    if not facts.network.spec.subnets and not follows_nodes(facts.network):
        sentence = (
            "has no spec.subnets, and only PodNetwork/default follows the nodes' own ranges: delete"
            " it and make it with subnets"
        )
        return Claim("Ready", False, "SubnetRequired", sentence)
    if name in decisions.refused:
        return Claim("Ready", False, "CIDROverlap", decisions.refused[name])
    lacks = decisions.lacks.get(name, ())
    if lacks:
        more = f" (and {len(lacks) - 1} nodes more)" if len(lacks) > 1 else ""
        return Claim("Ready", False, lacks[0].reason, lacks[0].message + more)
    return _built(name, world)


def _built(network: str, world: World) -> Claim:
    """Whether every node that is ready says so."""
    shares = {each.share.node: each for each in world.shares if each.share.network == network}
    nodes = [node.id.name for node in world.nodes]
    without = [name for name in nodes if name not in shares]
    if without:
        return Claim("Ready", False, "Assigning", f"no share yet for {_named(without)}")
    failing = [
        f"node {name}: {ready['message'] or ready['reason']}"
        for name, share in shares.items()
        if (ready := share.ready) is not None and ready["status"] == "False"
    ]
    if failing:
        more = f"; and {len(failing) - NAMED} nodes more" if len(failing) > NAMED else ""
        return Claim("Ready", False, "NodeNotReady", "; ".join(failing[:NAMED]) + more)
    ready_nodes = [node.id.name for node in world.nodes if node.ready]
    silent = [name for name in ready_nodes if shares[name].ready is None]
    if silent:
        return Claim(
            "Ready", False, "NodesPending", f"no word yet from the agent of {_named(silent)}"
        )
    have = "1 node has" if len(shares) == 1 else f"{len(shares)} nodes have"
    return Claim("Ready", True, "Assigned", f"{have} a share")


def _removable(facts: NetworkFacts, world: World, decisions: Decisions) -> Claim:
    """What keeps a network that is to go, and the way out."""
    name = facts.id.name
    users = [f"{each.id.namespace}/{each.id.name}" for each in decisions.users.get(name, ())]
    used = addresses_used(world, name)
    if not users and not used:
        return Claim("Removable", True, "Unused")
    who = [f"PodSandbox {_named(users)}"] if users else []
    who += [f"{used} address{'es' * (used != 1)}"] if used else []
    sentence = (
        f"{' and '.join(who)} are on it: delete those first, or let it go all the same:"
        f" {LET_GO.format(name)}"
    )
    return Claim("Removable", False, "InUse", sentence)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
