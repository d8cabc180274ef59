"""PodNetwork: a range of addresses, and the bridge that pods on it share."""

from ipaddress import ip_network
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from podnet.addresses import IPNetwork, host_numbers
from podnet.api.meta import (
    ApiVersion,
    Cidr,
    DnsLabel,
    Found,
    Meta,
    Mistakes,
    Model,
    Spelling,
    Truth,
    Whole,
)

IFNAME = Spelling(
    r"[A-Za-z0-9_][-A-Za-z0-9_.]*",
    15,
    "an interface name: letters, digits, -, _ and ., 15 at most",
)
"""The kernel takes more (dev_valid_name); tools and our rules are happier without."""
MIN_MTU_IPV6 = 1280
"""Bytes; RFC 8200, section 5: the kernel switches IPv6 off on a link with less."""


class Bridge(Model):
    """The network's bridge on each node."""

    name: Annotated[str, IFNAME] | None = Field(
        default=None, description="Left out: podnet0 for the network `default`, pn-HASH for others."
    )


class Backend(Model):
    """How pods reach pods of other nodes."""

    type: Literal["HostGateway", "Local"] | None = Field(
        default=None,
        description="HostGateway: a route to each other node. Local: no other nodes; the only one"
        " without a cluster.",
    )


class NodePrefixLength(Model):
    """The size of each node's share, by family."""

    ipv4: Whole | None = Field(default=None, ge=8, le=30, description="Left out: 24.")
    ipv6: Whole | None = Field(default=None, ge=16, le=126, description="Left out: 64.")


class PodNetworkSpec(Model):
    """What the network is to be."""

    subnets: tuple[Cidr, ...] = Field(
        default=(),
        max_length=2,
        description="CIDRs, at most one per family; immutable. Left out on one machine: the first"
        " of Docker's default pools that overlaps no route.",
    )
    node_prefix_length: NodePrefixLength | None = Field(
        default=None, description="The size of each node's share; only in a cluster."
    )
    bridge: Bridge = Field(
        default=Bridge(), description="The network's bridge on each node; immutable."
    )
    mtu: Whole | None = Field(
        default=None,
        ge=68,
        le=65535,
        description="Bytes of the largest IP packet of a pod. Left out: the uplink's MTU less what"
        " the backend adds.",
    )
    backend: Backend = Field(
        default=Backend(), description="How pods reach other nodes; immutable."
    )
    masquerade: Truth = Field(
        default=True, description="Source NAT for traffic that leaves all pod networks."
    )
    isolated: Truth = Field(default=True, description="No traffic to or from other PodNetworks.")

    def contradictions(self) -> Found:
        """Two subnets of one family, subnets for no pod, an MTU that IPv6 can't have."""
        found: Found = []
        for index, subnet in enumerate(self.subnets):
            place = ("subnets", index)
            sentence = _unfit(subnet)
            if sentence:
                found.append((place, sentence))
            if any(other.version == subnet.version for other in self.subnets[:index]):
                found.append(
                    (
                        place,
                        f"{subnet} is a second IPv{subnet.version} subnet:"
                        f" write at most one per family",
                    )
                )
        six = any(subnet.version == 6 for subnet in self.subnets)
        if six and self.mtu is not None and self.mtu < MIN_MTU_IPV6:
            found.append((("mtu",), f"is {self.mtu}, and IPv6 needs {MIN_MTU_IPV6} or more"))
        return found


_NOT_FOR_PODS = tuple(
    (ip_network(cidr), meaning)
    for cidr, meaning in (
        ("0.0.0.0/8", "addresses of this host"),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/4", "multicast addresses"),
        ("240.0.0.0/4", "reserved addresses"),
        ("::/127", "the unspecified and the loopback address"),
        ("::ffff:0:0/96", "IPv4-mapped addresses"),
        ("fe80::/10", "link-local addresses"),
        ("ff00::/8", "multicast addresses"),
    )
)
"""RFC 6890, and multicast (RFC 5771, RFC 4291): the kernel routes none of it to a pod."""


def _unfit(subnet: IPNetwork) -> str | None:
    """Why no pod can have an address of this subnet."""
    for range_, meaning in _NOT_FOR_PODS:
        if subnet.version == range_.version and subnet.overlaps(range_):
            private = "10.8.0.0/16" if subnet.version == 4 else "fd00:8::/64"
            return f"{subnet} holds {meaning} ({range_}): write a private range such as {private}"
    if not host_numbers([subnet]):
        least = 30 if subnet.version == 4 else 126
        return f"{subnet} has no address for a pod: write a prefix length of {least} or less"
    return None


class NetworkMeta(Meta):
    """A network's name goes into other objects' names, so it is a label."""

    name: DnsLabel = Field(description="Unique among the networks.")

    @model_validator(mode="before")
    @classmethod
    def _lies_in_no_namespace(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("namespace") is not None:
            sentence = "stands at a PodNetwork, which lies in no namespace: leave it out"
            raise Mistakes([(("namespace",), sentence)])
        return data


class PodNetwork(Model):
    """Pods on one PodNetwork reach each other; others are kept apart."""

    api_version: ApiVersion
    kind: Literal["PodNetwork"]
    metadata: NetworkMeta
    spec: PodNetworkSpec = Field(default=PodNetworkSpec(), description="Left out: every default.")
