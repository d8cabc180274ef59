"""PodNetwork: a range of addresses, and the bridge that pods on it share."""

from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from podnet.addresses import IPNetwork, host_numbers
from podnet.api.meta import (
    DNS_LABEL,
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
from podnet.api.rules import Checked, Rule, kept

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
        default=None,
        description="The bridge's name, at most 15 bytes. Left out: podnet0 for the network"
        " `default`, pn-HASH for others.",
    )


class Backend(Model):
    """How pods reach pods of other nodes."""

    type: Literal["HostGateway", "Local"] | None = Field(
        default=None,
        description="HostGateway: a route to each other node; what a cluster takes if it is left"
        " out. Local: no other nodes; the only one without a cluster.",
        json_schema_extra={"default": "HostGateway"},
    )


class NodePrefixLength(Model):
    """The size of each node's share, by family."""

    ipv4: Whole | None = Field(
        default=None, ge=8, le=30, description="Prefix length of a node's IPv4 share. Left out: 24."
    )
    ipv6: Whole | None = Field(
        default=None,
        ge=16,
        le=126,
        description="Prefix length of a node's IPv6 share. Left out: 64.",
    )

    def of(self, version: int) -> int | None:
        """Of that family, if it is given."""
        return self.ipv4 if version == 4 else self.ipv6


NODE_PREFIX_LENGTHS = {4: 24, 6: 64}
"""Of a node's share where none is given: what kube-controller-manager cuts for a node."""
_NOT_FOR_PODS = (
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
"""RFC 6890, and multicast (RFC 5771, RFC 4291): the kernel routes none of it to a pod."""


def _reserved(cidr: str, meaning: str) -> Rule:
    private = "fd00:8::/64" if ":" in cidr else "10.8.0.0/16"
    return Rule(
        f"!isCIDR(self) || !(cidr('{cidr}').containsCIDR(self)"
        f" || cidr(self).containsCIDR('{cidr}'))",
        f"{{subnet}} holds {meaning} ({cidr}): write a private range such as {private}",
    )


_RESERVED = {ip_network(cidr): _reserved(cidr, meaning) for cidr, meaning in _NOT_FOR_PODS}
_LEAST = {4: 30, 6: 126}
_TOO_SMALL = {
    version: Rule(
        f"!isCIDR(self) || cidr(self).ip().family() != {version}"
        f" || cidr(self).prefixLength() <= {least}",
        f"{{subnet}} has no address for a pod: write a prefix length of {least} or less",
    )
    for version, least in _LEAST.items()
}
_MAPPED = ip_network("::ffff:0:0/96")
"""CEL takes nothing in it for a CIDR."""
_SUBNET = Checked(
    (*(_RESERVED[range_] for range_ in _RESERVED if range_ != _MAPPED), *_TOO_SMALL.values())
)
_CIDRS = "has(self.subnets) && self.subnets.all(s, isCIDR(s))"
_SECOND = {
    version: Rule(
        f"!({_CIDRS}) || self.subnets.filter(s, cidr(s).ip().family() == {version}).size() < 2",
        f"{{subnet}} is a second IPv{version} subnet: write at most one per family",
        ".subnets",
        {"subnet": "self.subnets[1]"},
    )
    for version in _LEAST
}
_MTU = Rule(
    "!has(self.mtu) || !has(self.subnets) || !self.subnets.exists(s, s.contains(':'))"
    f" || self.mtu >= {MIN_MTU_IPV6}",
    f"is {{mtu}}, and IPv6 needs {MIN_MTU_IPV6} or more",
    ".mtu",
    words={"mtu": "too little"},
)
_UNCUT = Rule(
    "self.backend.type != 'Local' || !has(self.nodePrefixLength)",
    "cuts the subnets into nodes' shares, and with backend Local each node has all of them: leave"
    " it out",
    ".nodePrefixLength",
)


def _share_rules(version: int) -> tuple[Rule, Rule, Rule]:
    """What a share's size must be to the subnet of its family."""
    name, default = f"ipv{version}", NODE_PREFIX_LENGTHS[version]
    given = f"has(self.nodePrefixLength) && has(self.nodePrefixLength.{name})"
    length = f"self.nodePrefixLength.{name}"
    subnet = f"self.subnets.filter(s, cidr(s).ip().family() == {version})"
    size = f"cidr({subnet}[0]).prefixLength()"
    return (
        Rule(
            f"!({given}) || (has(self.subnets) && !self.subnets.all(s, isCIDR(s)))"
            f" || (has(self.subnets) && {subnet}.size() > 0)",
            f"cuts an IPv{version} subnet, and there is none: leave it out",
            f".nodePrefixLength.{name}",
        ),
        Rule(
            f"!({given}) || !({_CIDRS}) || {subnet}.size() == 0 || {length} >= {size}",
            "is {length}, and a share is no larger than {subnet}: write {least} or more",
            f".nodePrefixLength.{name}",
            words={
                "length": "too little",
                "subnet": "the subnet",
                "least": "its prefix length",
            },
        ),
        Rule(
            f"self.backend.type != 'HostGateway' || {given} || !({_CIDRS})"
            f" || {subnet}.size() == 0 || {size} <= {default}",
            f"{{subnet}} is less than a node's share, which is /{default} where"
            f" nodePrefixLength.{name} is left out: write that too, or a larger subnet",
            ".subnets",
            words={"subnet": f"the IPv{version} subnet"},
        ),
    )


_SHARES = {version: _share_rules(version) for version in NODE_PREFIX_LENGTHS}


class PodNetworkSpec(Model):
    """What the network is to be."""

    fixed: ClassVar[tuple[str, ...]] = ("subnets", "nodePrefixLength", "bridge", "backend")
    rules = (
        *(kept(name, "PodNetwork") for name in fixed),
        *_SECOND.values(),
        _MTU,
        _UNCUT,
        *(rule for rules in _SHARES.values() for rule in rules),
    )

    subnets: tuple[Annotated[Cidr, _SUBNET], ...] = Field(
        default=(),
        max_length=2,
        description="CIDRs, at most one per family; immutable. Left out on one machine: the first"
        " of Docker's default pools that overlaps no route. Left out in a cluster: only at the"
        " network `default`, whose shares are then the nodes' spec.podCIDRs.",
    )
    node_prefix_length: NodePrefixLength | None = Field(
        default=None, description="The size of each node's share; only in a cluster; immutable."
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
        """Two subnets of one family, subnets for no pod, an MTU that IPv6 can't have, shares."""
        found: Found = []
        for index, subnet in enumerate(self.subnets):
            place = ("subnets", index)
            sentence = _unfit(subnet)
            if sentence:
                found.append((place, sentence))
            if any(other.version == subnet.version for other in self.subnets[:index]):
                found.append((place, _SECOND[subnet.version].say(subnet=subnet)))
        six = any(subnet.version == 6 for subnet in self.subnets)
        if six and self.mtu is not None and self.mtu < MIN_MTU_IPV6:
            found.append((("mtu",), _MTU.say(mtu=self.mtu)))
        if self.backend.type == "Local" and self.node_prefix_length is not None:
            found.append((("nodePrefixLength",), _UNCUT.say()))
        return found + [each for version in _SHARES for each in self._shares(version)]

    def _shares(self, version: int) -> Found:
        """What the size of a share is in the way of."""
        none, more, left_out = _SHARES[version]
        place = ("nodePrefixLength", f"ipv{version}")
        length = self.node_prefix_length.of(version) if self.node_prefix_length else None
        subnets = [subnet for subnet in self.subnets if subnet.version == version]
        if length is not None and not subnets:
            return [(place, none.say())]
        if not subnets:
            return []
        size = subnets[0].prefixlen
        if length is not None and length < size:
            return [(place, more.say(length=length, subnet=subnets[0], least=size))]
        routed = self.backend.type == "HostGateway"
        if length is None and routed and size > NODE_PREFIX_LENGTHS[version]:
            return [(("subnets", self.subnets.index(subnets[0])), left_out.say(subnet=subnets[0]))]
        return []


def _unfit(subnet: IPNetwork) -> str | None:
    """Why no pod can have an address of this subnet."""
    for range_, rule in _RESERVED.items():
        if subnet.version == range_.version and subnet.overlaps(range_):
            return rule.say(subnet=subnet)
    if not host_numbers([subnet]):
        return _TOO_SMALL[subnet.version].say(subnet=subnet)
    return None


NAME_IS_LABEL = Rule(
    f"self.metadata.name.size() <= {DNS_LABEL.most}"
    f" && self.metadata.name.matches('^{DNS_LABEL.pattern}$')",
    f"is {{name}}: write {DNS_LABEL.meaning}",
    ".metadata.name",
    {"name": "self.metadata.name"},
)


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

    rules = (NAME_IS_LABEL,)

    api_version: ApiVersion
    kind: Literal["PodNetwork"]
    metadata: NetworkMeta
    spec: PodNetworkSpec = Field(
        default=PodNetworkSpec(), description="What the network should be. Left out: every default."
    )
