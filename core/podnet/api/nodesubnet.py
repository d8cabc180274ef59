"""NodeSubnet: one node's share of a PodNetwork. The operator writes it, that node's agent reports.

Every agent watches these: they are all that is needed to reach the other nodes.
"""

from typing import Literal

from pydantic import Field

from podnet.api.meta import (
    ApiVersion,
    Cidr,
    DnsLabel,
    DnsSubdomain,
    Found,
    Meta,
    Model,
)
from podnet.api.rules import Rule, kept

_SECOND = {
    version: Rule(
        "!self.podCIDRs.all(c, isCIDR(c))"
        f" || self.podCIDRs.filter(c, cidr(c).ip().family() == {version}).size() < 2",
        f"{{cidr}} is a second IPv{version} CIDR: write at most one per family",
        ".podCIDRs",
        {"cidr": "self.podCIDRs[1]"},
    )
    for version in (4, 6)
}


class NodeSubnetSpec(Model):
    """Which addresses the node may give to its pods; immutable."""

    rules = (kept("podCIDRs", "NodeSubnet"), *_SECOND.values())  # the others are in the name

    pod_network: DnsLabel = Field(description="The PodNetwork that the share is cut from.")
    node_name: DnsSubdomain = Field(description="The node that the share is for.")
    pod_cidrs: tuple[Cidr, ...] = Field(
        alias="podCIDRs",
        min_length=1,
        max_length=2,
        description="The share: a CIDR for each family of the network. Its first address is kept"
        " for a tunnel's end, the second is the bridge's.",
    )

    def contradictions(self) -> Found:
        """Two CIDRs of one family."""
        first, *others = self.pod_cidrs
        return [
            (("podCIDRs", 1), _SECOND[cidr.version].say(cidr=cidr))
            for cidr in others
            if cidr.version == first.version
        ]


def name_of(network: str, node: str) -> str:
    """What the share of that node is called."""
    return f"{network}.{node}"


_NAMED = Rule(
    "self.metadata.name == self.spec.podNetwork + '.' + self.spec.nodeName",
    "is {name}, not {right}: write podNetwork, a dot and nodeName",
    ".metadata.name",
    {
        "name": "self.metadata.name",
        "right": "self.spec.podNetwork + '.' + self.spec.nodeName",
    },
)


class NodeSubnet(Model):
    """One node's share of a PodNetwork."""

    rules = (_NAMED,)

    api_version: ApiVersion
    kind: Literal["NodeSubnet"]
    metadata: Meta
    spec: NodeSubnetSpec = Field(description="Which part of which network is which node's.")

    def contradictions(self) -> Found:
        """A name that is not of its network and node: two of one share could exist."""
        right = name_of(self.spec.pod_network, self.spec.node_name)
        name = self.metadata.name
        return [] if name == right else [(("metadata", "name"), _NAMED.say(name=name, right=right))]
