"""Share: the part of a network that one node may hand out. Never two of one range, never moved.

The operator decides this for all nodes; one machine is a cluster of one.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from podnet.addresses import IPNetwork

GONE_SECONDS = 300.0
"""How long a node stays away before its share is another's: Kubernetes takes its Pods elsewhere
after as much (the toleration of node.kubernetes.io/unreachable by default)."""


@dataclass(frozen=True, slots=True)
class Cut:
    """How a network is to be cut; without subnets each share is what the node itself has."""

    network: str
    subnets: tuple[IPNetwork, ...] = ()
    prefix_lengths: tuple[int, ...] = ()  # of a share, by subnet; none: each node has all (Local)
    grows: bool = True  # False: what is given out stays, nothing more is


@dataclass(frozen=True, slots=True)
class Member:
    """A node that is there."""

    name: str
    pod_cidrs: tuple[IPNetwork, ...] = ()  # the node's spec.podCIDRs


@dataclass(frozen=True, slots=True)
class Share:
    """What a NodeSubnet says: this node may hand out these addresses of this network."""

    network: str
    node: str
    pod_cidrs: tuple[IPNetwork, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """A share that is given out."""

    share: Share
    addresses_used: int = 0  # as the node said last
    gone_seconds: float | None = None  # since the node was there; None: it is


@dataclass(frozen=True, slots=True)
class Lack:
    """A node that has no share of a network, and why."""

    network: str
    node: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Every share that should exist, by network and node, and what can't be."""

    shares: tuple[Share, ...]
    lacks: tuple[Lack, ...] = ()


def is_held(holding: Holding) -> bool:
    """Whether the share stays with its node: it is there, is expected back, or has pods still.

    A node that went with pods may only be unknown to the cluster: they would share addresses with
    new ones. A person who knows that it is off deletes the NodeSubnet.
    """
    gone = holding.gone_seconds
    return gone is None or gone < GONE_SECONDS or holding.addresses_used > 0


def assign(
    cuts: Sequence[Cut],
    members: Sequence[Member],
    holdings: Sequence[Holding],
    remembered: Sequence[Share] = (),
) -> Assignment:
    """Shares are kept where they are, cut where a node has none, and freed as `is_held` says.

    Of two holdings of one range the first stays. `remembered`: shares that were there until now,
    in their old places if nobody has those.
    """
    shares: list[Share] = []
    lacks: list[Lack] = []
    for cut in sorted(cuts, key=lambda cut: cut.network):
        held = [each for each in holdings if each.share.network == cut.network and is_held(each)]
        before = {each.node: each for each in remembered if each.network == cut.network}
        found, missing = _one(cut, members, [each.share for each in held], before)
        shares += found
        lacks += missing
    return Assignment(tuple(sorted(shares, key=lambda s: (s.network, s.node))), tuple(lacks))


def _one(
    cut: Cut, members: Sequence[Member], held: Sequence[Share], before: dict[str, Share]
) -> tuple[list[Share], list[Lack]]:
    names = sorted(members, key=lambda member: member.name)
    if not cut.subnets:
        return _followed(cut, names, held)
    if not cut.prefix_lengths:
        nodes = {member.name for member in names} if cut.grows else set()
        nodes |= {share.node for share in held}
        return [Share(cut.network, node, cut.subnets) for node in sorted(nodes)], []
    places = _Places(cut)
    shares = [share for share in held if places.take(share)]
    have = {share.node for share in shares}
    lacks: list[Lack] = []
    waiting = [member.name for member in names if member.name not in have]
    returned = [before[node] for node in waiting if node in before and cut.grows]
    returned = [share for share in returned if places.take(share)]
    have |= {share.node for share in returned}
    for node in waiting:
        if node in have or not cut.grows:
            continue
        pod_cidrs = places.next()
        if pod_cidrs is None:
            lacks.append(Lack(cut.network, node, "SubnetExhausted", _exhausted(cut, node)))
        else:
            returned.append(Share(cut.network, node, pod_cidrs))
    return shares + returned, lacks


def _followed(
    cut: Cut, members: Sequence[Member], held: Sequence[Share]
) -> tuple[list[Share], list[Lack]]:
    """Shares that kube-controller-manager, or whoever made the node, has cut."""
    lacks = []
    shares = {share.node: share for share in held}
    for member in members if cut.grows else ():
        if member.pod_cidrs:
            shares[member.name] = Share(cut.network, member.name, member.pod_cidrs)
        elif member.name not in shares:
            sentence = (
                f"node {member.name} has no spec.podCIDRs, which PodNetwork/{cut.network} follows:"
                f" start kube-controller-manager with --allocate-node-cidrs, or make a PodNetwork"
                f" with subnets"
            )
            lacks.append(Lack(cut.network, member.name, "NoPodCIDRs", sentence))
    kept: list[Share] = []
    given = _Given()
    present = {member.name for member in members}
    for share in sorted(shares.values(), key=lambda each: (each.node not in present, each.node)):
        other = given.add(share)
        if other is None:
            kept.append(share)
        elif share.node in present:  # one that is gone makes way without a word
            sentence = (
                f"node {share.node} has spec.podCIDRs that node {other} has as well: delete one of"
                f" the Nodes and let it register again"
            )
            lacks.append(Lack(cut.network, share.node, "PodCIDRsOverlap", sentence))
    return kept, lacks


class _Given:
    """Ranges of addresses, none of which overlap, and whose they are."""

    def __init__(self) -> None:
        self._ends: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}  # last, first, node

    def add(self, share: Share) -> str | None:
        """Take the share in; or the node that has some of its addresses already."""
        places = []
        for cidr in share.pod_cidrs:
            first = int(cidr.network_address)
            last = first + cidr.num_addresses - 1
            ends = self._ends[cidr.version]
            at = bisect_left(ends, (first,))
            if at < len(ends) and ends[at][1] <= last:
                return ends[at][2]
            places.append((cidr.version, (last, first, share.node)))
        for version, place in places:
            insort(self._ends[version], place)
        return None


def _exhausted(cut: Cut, node: str) -> str:
    sizes = [
        f"{subnet} has {2 ** (length - subnet.prefixlen)} shares of /{length}"
        for subnet, length in zip(cut.subnets, cut.prefix_lengths, strict=True)
    ]
    return (
        f"{' and '.join(sizes)}, all of them taken, so node {node} has none: delete NodeSubnets of"
        f" nodes that are off for good, or make a PodNetwork with a larger subnet"
    )


class _Places:
    """The places of a network's subnets: number n is the nth share of each family."""

    def __init__(self, cut: Cut) -> None:
        self._cuts = tuple(zip(cut.subnets, cut.prefix_lengths, strict=True))
        self._taken: set[int] = set()
        self._nodes: set[str] = set()
        self._end = min(2 ** (length - subnet.prefixlen) for subnet, length in self._cuts)
        self._numbers = count()

    def take(self, share: Share) -> bool:
        """Claim the share's place; False if it has none here, or another one has it."""
        numbers = self._numbers_of(share)
        if numbers is None or share.node in self._nodes or not numbers.isdisjoint(self._taken):
            return False
        self._taken |= numbers
        self._nodes.add(share.node)
        return True

    def next(self) -> tuple[IPNetwork, ...] | None:
        """Claim the lowest place that nobody has."""
        for number in self._numbers:
            if number >= self._end:
                return None
            if number not in self._taken:
                self._taken.add(number)
                return tuple(_nth(subnet, length, number) for subnet, length in self._cuts)
        return None

    def _numbers_of(self, share: Share) -> set[int] | None:
        """Where its CIDRs lie; None unless each is one share of the subnet of its family."""
        if len(share.pod_cidrs) != len(self._cuts):
            return None
        by_version = {cidr.version: cidr for cidr in share.pod_cidrs}
        numbers = set()
        for subnet, length in self._cuts:
            cidr = by_version.get(subnet.version)
            if cidr is None or cidr.prefixlen != length or not subnet.overlaps(cidr):
                return None
            offset = int(cidr.network_address) - int(subnet.network_address)
            numbers.add(offset >> (cidr.max_prefixlen - length))
        return numbers


def _nth(subnet: IPNetwork, length: int, number: int) -> IPNetwork:
    address = int(subnet.network_address) + (number << (subnet.max_prefixlen - length))
    return type(subnet)((address, length))
