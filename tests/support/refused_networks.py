"""What is refused of PodNetworks and NodeSubnets, a case for each rule; and what is just right."""

from typing import Any

from support.cases import Accepted, Refused, changed

CIDR = "write a CIDR such as 10.8.0.0/16 or fd00:8::/64"
PRIVATE = "write a private range such as 10.8.0.0/16"
PRIVATE6 = "write a private range such as fd00:8::/64"
LARGER = "is too little, and a share is no larger than the subnet: write its prefix length or more"
LESS = (
    "is less than a node's share, which is /{} where nodePrefixLength.ipv{} is left out: write that"
    " too, or a larger subnet"
)
SHARE = {"podNetwork": "blue", "nodeName": "w1", "podCIDRs": ["10.8.1.0/24"]}


def _net(sentence: str, place: str, by_server: str = "", **spec: Any) -> Refused:
    return Refused("PodNetwork", spec, f"spec.{place}", sentence, by_server=by_server)


def _subnet(cidr: str, sentence: str, by_server: str = "") -> Refused:
    return _net(sentence, "subnets[0]", by_server, subnets=[cidr])


def _share(sentence: str, place: str, by_server: str = "", **spec: Any) -> Refused:
    return Refused(
        "NodeSubnet", SHARE | spec, f"spec.{place}", sentence, name="blue.w1", by_server=by_server
    )


REFUSED: dict[str, Refused] = {
    "a subnet that is none": _subnet("10.8/16", f"is 10.8/16, which is no CIDR: {CIDR}"),
    "a subnet without its length": _subnet(
        "10.8.0.0", f"is 10.8.0.0 without a prefix length: {CIDR}"
    ),
    "a subnet with host bits": _subnet(
        "10.8.0.1/16",
        "is 10.8.0.1/16, which has host bits set: write 10.8.0.0/16",
        "is 10.8.0.1/16, which has host bits set: write the address without them",
    ),
    "this host's addresses": _subnet(
        "0.0.0.0/0", f"0.0.0.0/0 holds addresses of this host (0.0.0.0/8): {PRIVATE}"
    ),
    "loopback": _subnet(
        "127.1.0.0/16", f"127.1.0.0/16 holds loopback addresses (127.0.0.0/8): {PRIVATE}"
    ),
    "link-local": _subnet(
        "169.254.1.0/24", f"169.254.1.0/24 holds link-local addresses (169.254.0.0/16): {PRIVATE}"
    ),
    "multicast": _subnet(
        "224.0.0.0/24", f"224.0.0.0/24 holds multicast addresses (224.0.0.0/4): {PRIVATE}"
    ),
    "reserved": _subnet(
        "240.0.0.0/24", f"240.0.0.0/24 holds reserved addresses (240.0.0.0/4): {PRIVATE}"
    ),
    "IPv6 loopback": _subnet(
        "::/64", f"::/64 holds the unspecified and the loopback address (::/127): {PRIVATE6}"
    ),
    "IPv6 link-local": _subnet(
        "fe80::/64", f"fe80::/64 holds link-local addresses (fe80::/10): {PRIVATE6}"
    ),
    "IPv6 multicast": _subnet(
        "ff02::/64", f"ff02::/64 holds multicast addresses (ff00::/8): {PRIVATE6}"
    ),
    "a subnet for no pod": _subnet(
        "10.8.0.0/31", "10.8.0.0/31 has no address for a pod: write a prefix length of 30 or less"
    ),
    "an IPv6 subnet for no pod": _subnet(
        "fd00::/127", "fd00::/127 has no address for a pod: write a prefix length of 126 or less"
    ),
    "two subnets of a family": _net(
        "10.9.0.0/16 is a second IPv4 subnet: write at most one per family",
        "subnets[1]",
        subnets=["10.8.0.0/16", "10.9.0.0/16"],
    ),
    "too small an MTU for IPv6": _net(
        "is 1279, and IPv6 needs 1280 or more",
        "mtu",
        "is too little, and IPv6 needs 1280 or more",
        subnets=["fd00::/48"],
        mtu=1279,
    ),
    "shares of a network without": _net(
        "cuts the subnets into nodes' shares, and with backend Local each node has all of them:"
        " leave it out",
        "nodePrefixLength",
        subnets=["10.8.0.0/16"],
        backend={"type": "Local"},
        nodePrefixLength={"ipv4": 24},
    ),
    "shares of no IPv4 subnet": _net(
        "cuts an IPv4 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv4",
        subnets=["fd00::/48"],
        nodePrefixLength={"ipv4": 24},
    ),
    "shares of no IPv6 subnet": _net(
        "cuts an IPv6 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv6",
        subnets=["10.8.0.0/16"],
        nodePrefixLength={"ipv6": 64},
    ),
    "shares of no subnet": _net(
        "cuts an IPv4 subnet, and there is none: leave it out",
        "nodePrefixLength.ipv4",
        nodePrefixLength={"ipv4": 24},
    ),
    "shares larger than all": _net(
        "is 16, and a share is no larger than 10.8.0.0/20: write 20 or more",
        "nodePrefixLength.ipv4",
        LARGER,
        subnets=["10.8.0.0/20"],
        nodePrefixLength={"ipv4": 16},
    ),
    "IPv6 shares larger than all": _net(
        "is 56, and a share is no larger than fd00::/64: write 64 or more",
        "nodePrefixLength.ipv6",
        LARGER,
        subnets=["fd00::/64"],
        nodePrefixLength={"ipv6": 56},
    ),
    "a subnet less than a share": _net(
        f"10.8.0.0/25 {LESS.format(24, 4)}",
        "subnets[0]",
        f"the IPv4 subnet {LESS.format(24, 4)}",
        subnets=["10.8.0.0/25"],
        backend={"type": "HostGateway"},
    ),
    "an IPv6 subnet less than a share": _net(
        f"fd00::/80 {LESS.format(64, 6)}",
        "subnets[0]",
        f"the IPv6 subnet {LESS.format(64, 6)}",
        subnets=["fd00::/80"],
        backend={"type": "HostGateway"},
    ),
    "a network's name with a dot": Refused(
        "PodNetwork",
        {"subnets": ["10.8.0.0/16"]},
        "metadata.name",
        "is a.b: write lower-case letters, digits and -, beginning and ending with a letter or"
        " digit (a DNS label)",
        name="a.b",
    ),
    "another subnet": changed(
        "PodNetwork",
        "subnets[0]",
        {"subnets": ["10.8.0.0/16"]},
        {"subnets": ["10.9.0.0/16"]},
        " and was 10.8.0.0/16, not 10.9.0.0/16",
    ),
    "another size of shares": changed(
        "PodNetwork",
        "nodePrefixLength",
        {"subnets": ["10.8.0.0/16"]},
        {"subnets": ["10.8.0.0/16"], "nodePrefixLength": {"ipv4": 25}},
        " and was left out, not a mapping",
    ),
    "another bridge": changed(
        "PodNetwork",
        "bridge.name",
        {"bridge": {"name": "one"}},
        {"bridge": {"name": "other"}},
        " and was one, not other",
    ),
    "another backend": changed(
        "PodNetwork",
        "backend.type",
        {"backend": {"type": "Local"}},
        {"backend": {"type": "HostGateway"}},
        " and was Local, not HostGateway",
    ),
    "a share that is no CIDR": _share(
        f"is x, which is no CIDR: {CIDR}", "podCIDRs[1]", podCIDRs=["10.8.1.0/24", "x"]
    ),
    "a share without its length": _share(
        f"is fd00:: without a prefix length: {CIDR}",
        "podCIDRs[1]",
        podCIDRs=["10.8.1.0/24", "fd00::"],
    ),
    "a share with host bits": _share(
        "is fd00::1/64, which has host bits set: write fd00::/64",
        "podCIDRs[1]",
        "is fd00::1/64, which has host bits set: write the address without them",
        podCIDRs=["10.8.1.0/24", "fd00::1/64"],
    ),
    "two CIDRs of a family": _share(
        "10.8.2.0/24 is a second IPv4 CIDR: write at most one per family",
        "podCIDRs[1]",
        podCIDRs=["10.8.1.0/24", "10.8.2.0/24"],
    ),
    "a share of another name": Refused(
        "NodeSubnet",
        SHARE,
        "metadata.name",
        "is blue.w2, not blue.w1: write podNetwork, a dot and nodeName",
        name="blue.w2",
    ),
    "another share": changed(
        "NodeSubnet",
        "podCIDRs",
        SHARE | {"podCIDRs": ["10.8.200.0/24"]},  # no operator has given that away
        SHARE | {"podCIDRs": ["10.8.201.0/24"]},
        "",
        "blue.w1",
    ),
    "two IPv6 subnets": _net(
        "fd01::/48 is a second IPv6 subnet: write at most one per family",
        "subnets[1]",
        subnets=["fd00::/48", "fd01::/48"],
    ),
    "two IPv6 CIDRs": _share(
        "fd02::/64 is a second IPv6 CIDR: write at most one per family",
        "podCIDRs[1]",
        podCIDRs=["fd01::/64", "fd02::/64"],
    ),
}

ACCEPTED: dict[str, Accepted] = {
    "a network with every field": Accepted(
        "PodNetwork",
        {
            "subnets": ["10.8.0.0/16", "fd00:8::/48"],
            "nodePrefixLength": {"ipv4": 26, "ipv6": 72},
            "bridge": {"name": "blue0"},
            "mtu": 1280,
            "backend": {"type": "HostGateway"},
            "masquerade": False,
            "isolated": False,
        },
    ),
    "a network with nothing": Accepted("PodNetwork"),
    "the smallest subnets": Accepted(
        "PodNetwork", {"subnets": ["10.8.0.0/30", "fd00::/126"], "backend": {"type": "Local"}}
    ),
    "a subnet that is one share": Accepted("PodNetwork", {"subnets": ["10.8.0.0/24"]}),
    "another MTU": Accepted("PodNetwork", {"mtu": 1400}, was={"mtu": 1500}),
    "a share": Accepted("NodeSubnet", SHARE, "blue.w1"),
    "a share of both families": Accepted(
        "NodeSubnet", SHARE | {"podCIDRs": ["10.8.1.0/24", "fd00:8:0:1::/64"]}, "blue.w1"
    ),
}
