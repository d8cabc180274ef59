"""Network: a PodNetwork as this one node builds it, with every default decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podnet.addresses import IPAddress, IPInterface, IPNetwork, at, bridge_name, gateway
from podnet.backends import Link
from podnet.objects import Route

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
    links: tuple[Link, ...] = ()  # the uplink with each of its lasting addresses
    shortcuts: bool = False  # its kernel takes the shortcut's program (shortcut.py)


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
    on_link: bool = True  # pods ask for each other on the bridge; else the node routes to each
    isolated_ports: bool = False  # no frame goes from pod to pod
    closed: bool = True  # from outside only published ports
    routes: tuple[Route, ...] = ()  # to other nodes' shares
    shortcut: bool = False  # TCP connections that have begun go past the rules

    @property
    def cause(self) -> str:
        """The first words of what this network wants."""
        return f"PodNetwork/{self.name}"

    def interface(self, pod_cidr: IPNetwork, host_number: int) -> IPInterface:
        """A pod's address in one of the shares, with the prefix length it has in the pod."""
        address = at(pod_cidr, host_number)
        return address if self.on_link else type(address)(address.ip)

    def gateway(self, version: int) -> IPAddress | None:
        """The bridge's address of that family."""
        shares = (pod_cidr for pod_cidr in self.pod_cidrs if pod_cidr.version == version)
        return next((gateway(pod_cidr) for pod_cidr in shares), None)


def resolve(
    podnetwork: "PodNetwork",
    subnets: Sequence[IPNetwork],
    pod_cidrs: Sequence[IPNetwork],
    node: Node,
    routes: Sequence[Route] | None = None,
) -> Network:
    """The network with the given subnets and share on this node; None: no other nodes have one.

    Pods of one machine have an on-link prefix, so a neighbour's answer would go past the node's
    NAT unless bridged frames pass netfilter (then it must turn round on its port) or the question
    came from the node (then it is masqueraded). One of the two always holds. Among other nodes
    the node routes between its pods too, and who asks is never hidden. But where bridged frames
    pass netfilter, what is translated to a neighbour is bridged there (br_netfilter's
    br_nf_pre_routing_finish), so ports can't be isolated then, and a shortcut would see what is
    translated already as if it were not.
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
        masquerade_neighbours=routes is None and not node.bridge_netfilter,
        ipv6=node.ipv6,
        on_link=routes is None,
        isolated_ports=routes is not None and not node.bridge_netfilter,
        closed=routes is None,
        routes=tuple(routes or ()),
        shortcut=routes is not None and not node.bridge_netfilter and node.shortcuts,
    )
