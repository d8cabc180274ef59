"""Peer: another node's share of a network, and what this node's kernel needs to reach it.

A backend is a function from peers to kernel objects. `host_gateway`: one route for each peer's
CIDR, by way of that node's own address, which has to be on a link of this one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from podnet.addresses import IPAddress, IPInterface, IPNetwork
from podnet.objects import Route


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node's share of one network, and where that node can be reached."""

    network: str
    node: str
    addresses: tuple[IPAddress, ...]
    pod_cidrs: tuple[IPNetwork, ...]

    @property
    def cause(self) -> str:
        """The first words of what this peer wants."""
        return f"NodeSubnet/{self.network}.{self.node}"


@dataclass(frozen=True, slots=True)
class Link:
    """A network that this node is on, of the underlay: no bridge of ours."""

    ifname: str
    interface: IPInterface


@dataclass(frozen=True, slots=True)
class Unreached:
    """A peer's CIDR that no route leads to: what a condition says."""

    peer: Peer
    reason: str
    message: str


def host_gateway(
    peers: Sequence[Peer], links: Sequence[Link]
) -> tuple[tuple[Route, ...], tuple[Unreached, ...]]:
    """A route to every CIDR of every peer, and those for which there can be none.

    A peer without any address has only not come yet: its own status says so. A condition here would
    be one on every node, and two writes by each of them for every node that joins.
    """
    routes: list[Route] = []
    unreached: list[Unreached] = []
    for peer in peers:
        if not peer.addresses:
            continue
        for cidr in peer.pod_cidrs:
            found = _route(peer, cidr, links)
            if isinstance(found, Route):
                routes.append(found)
            else:
                unreached.append(found)
    return tuple(routes), tuple(unreached)


def unknown_shares(
    network: str, subnets: Sequence[IPNetwork], pod_cidrs: Sequence[IPNetwork]
) -> tuple[Route, ...]:
    """Under all shares a route that leads nowhere.

    Else a packet to a pod of a node that is not known here (yet, or any more) leaves by the
    default route, and comes back or lands with a stranger. Where the node has the whole subnet
    there is no such share.
    """
    return tuple(
        Route(
            destination=subnet,
            gateway=None,
            ifname="",
            unreachable=True,
            cause=f"PodNetwork/{network} spec.subnets",
        )
        for subnet in subnets
        if subnet not in pod_cidrs
    )


def _route(peer: Peer, cidr: IPNetwork, links: Sequence[Link]) -> Route | Unreached:
    addresses = [address for address in peer.addresses if address.version == cidr.version]
    for address in addresses:
        if address in cidr:
            sentence = (
                f"node {peer.node} has the address {address}, which lies in its own share {cidr}:"
                f" make a PodNetwork with a range that no node is in"
            )
            return Unreached(peer, "AddressInShare", sentence)
        for link in links:
            if address in link.interface.network and address != link.interface.ip:
                cause = f"{peer.cause} spec.podCIDRs"
                return Route(destination=cidr, gateway=address, ifname=link.ifname, cause=cause)
    if not addresses:
        sentence = (
            f"node {peer.node} reports no IPv{cidr.version} address, so nothing leads to its share"
            f" {cidr}: give the node one, or make a PodNetwork without IPv{cidr.version}"
        )
        return Unreached(peer, "NoAddress", sentence)
    here = ", ".join(
        f"{link.interface} on {link.ifname}"
        for link in links
        if link.interface.version == cidr.version
    )
    there = ", ".join(map(str, addresses))
    sentence = (
        f"node {peer.node} ({there}) is not on the same link as this one ({here or 'no address'}),"
        f" so nothing leads to its share {cidr}: backend HostGateway needs all nodes on one link"
    )
    return Unreached(peer, "NotOnLink", sentence)
