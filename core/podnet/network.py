"""Network: a PodNetwork as this one node builds it, with every default decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podnet.addresses import IPNetwork, bridge_name

if TYPE_CHECKING:
    from podnet.api.podnetwork import PodNetwork

DEFAULT_MTU = 1500
"""Where a machine has no uplink to follow: Ethernet's, and Docker's default."""


@dataclass(frozen=True, slots=True)
class Node:
    """What a network takes over from the machine it is built on."""

    uplink: str | None  # the interface of the default route
    underlay_mtu: int | None  # bytes, of the uplink
    ipv6: bool  # False: the kernel was started with ipv6.disable=1
    bridge_netfilter: bool  # bridged frames pass nftables too (br_netfilter)
    accepts_ra: bool = False  # the uplink has its IPv6 routes from router advertisements


@dataclass(frozen=True, slots=True)
class Network:
    """Resolved once per change of PodNetwork, share or uplink; read on every attach."""

    name: str
    bridge: str
    pod_mtu: int  # bytes
    subnets: tuple[IPNetwork, ...]  # of the whole network, at most one per family
    pod_cidrs: tuple[IPNetwork, ...]  # this node's share of them
    masquerade: bool
    isolated: bool
    hairpin: bool  # a frame may leave by the port it came in
    masquerade_neighbours: bool  # a published port on the same bridge hides who asks
    ipv6: bool  # the kernel has it, so it must be switched off where no address was given

    @property
    def cause(self) -> str:
        """The first words of what this network wants."""
        return f"PodNetwork/{self.name}"


def resolve(
    podnetwork: "PodNetwork",
    subnets: Sequence[IPNetwork],
    pod_cidrs: Sequence[IPNetwork],
    node: Node,
) -> Network:
    """The network with the given subnets and share on this node.

    Pods have an on-link prefix, so a neighbour's answer would go past the node's NAT unless
    bridged frames pass netfilter (then it must turn round on its port) or the question came
    from the node (then it is masqueraded). One of the two always holds.
    """
    spec = podnetwork.spec
    name = podnetwork.metadata.name
    return Network(
        name=name,
        bridge=spec.bridge.name or bridge_name(name),
        pod_mtu=spec.mtu or node.underlay_mtu or DEFAULT_MTU,
        subnets=tuple(subnets),
        pod_cidrs=tuple(pod_cidrs),
        masquerade=spec.masquerade,
        isolated=spec.isolated,
        hairpin=node.bridge_netfilter,
        masquerade_neighbours=not node.bridge_netfilter,
        ipv6=node.ipv6,
    )
