"""Decision: what has to be written, from all that is known. Pure: the core is asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from podnet.api.podnetwork import NODE_PREFIX_LENGTHS, PodNetwork
from podnet.overlaps import Range, overlaps
from podnet.placement import Candidate, Guest, Place, places
from podnet.shares import Assignment, Cut, Holding, Lack, Member, Share, assign, is_held
from podnet_operator.facts import (
    FINALIZER,
    NetworkFacts,
    NodeFacts,
    SandboxFacts,
    ServiceFacts,
    ShareFacts,
)

FOLLOWER = "default"
"""The only network whose shares may be the nodes' own ranges: those are one network's."""


@dataclass(frozen=True, slots=True)
class World:
    """All that is known, the oldest of each kind first."""

    networks: tuple[NetworkFacts, ...] = ()
    shares: tuple[ShareFacts, ...] = ()
    sandboxes: tuple[SandboxFacts, ...] = ()
    nodes: tuple[NodeFacts, ...] = ()
    services: tuple[ServiceFacts, ...] = ()
    gone_seconds: Mapping[str, float] | None = None  # of nodes that are not there
    remembered: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True)
class DropShare:
    """Delete a NodeSubnet that should not exist, or not so."""

    old: ShareFacts


@dataclass(frozen=True, slots=True)
class MakeShare:
    """Create a NodeSubnet that belongs to that PodNetwork."""

    share: Share
    owner: NetworkFacts


@dataclass(frozen=True, slots=True)
class AdoptShare:
    """Give a NodeSubnet to the PodNetwork that was made anew under the old one's name."""

    old: ShareFacts
    owner: NetworkFacts


@dataclass(frozen=True, slots=True)
class PlaceSandbox:
    """Write spec.nodeName."""

    sandbox: SandboxFacts
    node: str


@dataclass(frozen=True, slots=True)
class HoldNetwork:
    """Set or take away our finalizer."""

    network: NetworkFacts
    finalizers: tuple[str, ...]


Write = DropShare | MakeShare | AdoptShare | PlaceSandbox | HoldNetwork


@dataclass(frozen=True, slots=True)
class Decisions:
    """What has to be written, and what there is to say of each network and sandbox."""

    writes: tuple[Write, ...]
    lacks: Mapping[str, tuple[Lack, ...]]  # by network
    refused: Mapping[str, str]  # networks whose range is somebody else's: a sentence
    users: Mapping[str, tuple[SandboxFacts, ...]]  # by network
    places: Mapping[tuple[str, str], Place]  # by namespace and name of a sandbox


def decide(world: World) -> Decisions:
    """Everything that follows from the world as it is."""
    refused = _refused(world)
    found = _assignment(world, refused)
    users: dict[str, tuple[SandboxFacts, ...]] = {}
    for sandbox in world.sandboxes:
        if sandbox.network is not None:
            users[sandbox.network] = (*users.get(sandbox.network, ()), sandbox)
    placed = _places(world)
    writes = (
        *_share_writes(world, found),
        *_placements(world, placed),
        *_holds(world, users),
    )
    lacks: dict[str, tuple[Lack, ...]] = {}
    for lack in found.lacks:
        lacks[lack.network] = (*lacks.get(lack.network, ()), lack)
    return Decisions(writes, lacks, refused, users, placed)


def follows_nodes(network: PodNetwork) -> bool:
    """Whether the network's shares are the nodes' own ranges."""
    return network.metadata.name == FOLLOWER and not network.spec.subnets


def _refused(world: World) -> dict[str, str]:
    """Networks that overlap Services, nodes or an older network. Whose pods run counts as older."""
    have = {each.share.network for each in world.shares}
    networks = [
        each.network
        for each in sorted(world.networks, key=lambda each: each.id.name not in have)
        if each.network is not None
    ]
    claims = [Range(_owner(each), subnet) for each in networks for subnet in each.spec.subnets]
    taken = [
        Range(f"ServiceCIDR/{service.id.name}", cidr)
        for service in world.services
        for cidr in service.cidrs
    ]
    for node in world.nodes:
        taken += [Range(f"node {node.id.name}", ip_network(each)) for each in node.addresses]
    if any(follows_nodes(each) for each in networks):
        taken += [
            Range(f"node {node.id.name}, which PodNetwork/{FOLLOWER} follows", cidr)
            for node in world.nodes
            for cidr in node.pod_cidrs
        ]
    found = overlaps(claims, taken)
    return {each.metadata.name: found[_owner(each)] for each in networks if _owner(each) in found}


def _owner(network: PodNetwork) -> str:
    return f"PodNetwork/{network.metadata.name}"


def _assignment(world: World, refused: Mapping[str, str]) -> Assignment:
    members = [Member(node.id.name, node.pod_cidrs) for node in world.nodes]
    gone = world.gone_seconds or {}
    holdings = [
        Holding(each.share, each.addresses_used, gone.get(each.share.node)) for each in world.shares
    ]
    cuts = []
    for each in world.networks:
        name = each.id.name
        cut = _cut(each, grows=not each.id.deleting and name not in refused)
        if cut is not None:
            cuts.append(cut)
    known = {cut.network for cut in cuts}
    found = assign(cuts, members, holdings, world.remembered)
    kept = [  # nobody can say what such a network's shares should be: they stay as they are
        holding.share
        for holding in holdings
        if holding.share.network in {each.id.name for each in world.networks} - known
        and is_held(holding)
    ]
    return Assignment((*found.shares, *kept), found.lacks)


def _cut(facts: NetworkFacts, *, grows: bool) -> Cut | None:
    if facts.network is None:
        return None
    spec, name = facts.network.spec, facts.id.name
    if not spec.subnets and not follows_nodes(facts.network):
        return None
    lengths: tuple[int, ...] = ()
    if spec.backend.type != "Local":
        given = spec.node_prefix_length
        lengths = tuple(
            (given.of(subnet.version) if given else None) or NODE_PREFIX_LENGTHS[subnet.version]
            for subnet in spec.subnets
        )
    return Cut(name, spec.subnets, lengths, grows=grows)


def _share_writes(world: World, found: Assignment) -> Iterator[Write]:
    """First what has to go: a new one may have its name, or its addresses."""
    owners = {each.id.name: each for each in world.networks}
    wanted = {(share.network, share.node): share for share in found.shares}
    there = set()
    for old in world.shares:
        key = old.share.network, old.share.node
        if old.id.deleting:
            there.add(key)
        elif wanted.get(key) != old.share:
            there.add(key)
            yield DropShare(old)
        else:
            there.add(key)
            owner = owners[old.share.network]
            if owner.id.uid not in old.owners:
                yield AdoptShare(old, owner)
    for key, share in wanted.items():
        if key not in there:
            yield MakeShare(share, owners[share.network])


def _places(world: World) -> dict[tuple[str, str], Place]:
    candidates = [Candidate(node.id.name, node.ready, node.schedulable) for node in world.nodes]
    guests = [
        Guest((each.id.namespace, each.id.name), each.node, each.joins) for each in world.sandboxes
    ]
    return places(guests, candidates)


def _placements(world: World, placed: Mapping[tuple[str, str], Place]) -> Iterator[Write]:
    for sandbox in world.sandboxes:
        place = placed[sandbox.id.namespace, sandbox.id.name]
        if sandbox.node is None and place.node is not None and not sandbox.id.deleting:
            yield PlaceSandbox(sandbox, place.node)


def _holds(world: World, users: Mapping[str, Sequence[SandboxFacts]]) -> Iterator[Write]:
    for each in world.networks:
        held = FINALIZER in each.finalizers
        in_use = bool(users.get(each.id.name)) or addresses_used(world, each.id.name) > 0
        if held and not in_use:
            others = tuple(word for word in each.finalizers if word != FINALIZER)
            yield HoldNetwork(each, others)
        elif in_use and not held and not each.id.deleting:
            yield HoldNetwork(each, (*each.finalizers, FINALIZER))


def addresses_used(world: World, network: str) -> int:
    """Pods on that network that have an address, as its nodes said last."""
    return sum(each.addresses_used for each in world.shares if each.share.network == network)
