"""Every operation on every kind of object, as a person would type it."""

import shlex
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import get_args

import pytest

from podnet.commands import commands, name_of
from podnet.objects import (
    Address,
    Bridge,
    Element,
    Endpoint,
    ForwardAccept,
    Interface,
    KernelObject,
    Namespace,
    Route,
    Ruleset,
    Shortcut,
    Sysctl,
)
from podnet.plan import Add, Change, Operation, Remove
from podnet.shortcut import ON_BRIDGE, ON_UPLINK
from support import values
from support.values import netns

POD = netns("web")
SYSCTL = Sysctl(name="net/ipv4/ip_forward", value="1", before="0")
BRIDGE = Bridge(name="podnet0", mac="02:42:ac:11:00:01", mtu=1500, alias="podnet PodNetwork/a")
VETH = replace(values.VETH, mtu=1450, hairpin=True, alias="podnet PodSandbox/default/web")
INTERFACE = Interface(netns=POD, ifname="eth0", mac="02:42:ac:11:00:02", mtu=1450)
LOOPBACK = Interface(netns=POD, ifname="lo")
ADDRESS = Address(netns=POD, ifname="eth0", interface=ip_interface("172.17.0.2/16"))
ADDRESS6 = Address(ifname="podnet0", interface=ip_interface("fd00:17::1/64"))
DEFAULT = Route(
    netns=POD,
    destination=ip_network("0.0.0.0/0"),
    gateway=ip_address("172.17.0.1"),
    ifname="eth0",
)
ROUTE6 = replace(DEFAULT, destination=ip_network("fd01::/48"), gateway=None)
NOWHERE = Route(destination=ip_network("10.8.0.0/16"), gateway=None, ifname="", unreachable=True)
NAMESPACE = Namespace(path=POD)
RULESET = Ruleset(version="1")
MEMBER = Element(container="pn_bridges", match="podnet0")
MAPPING = Element(container="pn_any4", match="tcp . 80", verdict="172.17.0.2 . 8080")
SHORTCUT = Shortcut(ifname="podnet0", version=ON_BRIDGE)
ENDPOINT = Endpoint(address=ip_address("10.1.1.2"), host_end="vethpn1a")
ACCEPT = ForwardAccept(command="ip6tables", chain="FORWARD", direction="-o", bridge="podnet0")

TABLE: list[tuple[Operation, list[str]]] = [
    (Add(NAMESPACE), ["ip netns add podnet-web"]),
    (Remove(NAMESPACE), ["ip netns delete podnet-web"]),
    (Add(SYSCTL), ["sysctl -q -w net/ipv4/ip_forward=1"]),
    (Change(SYSCTL, SYSCTL), ["sysctl -q -w net/ipv4/ip_forward=1"]),
    (Remove(SYSCTL), ["sysctl -q -w net/ipv4/ip_forward=0"]),
    (Remove(replace(SYSCTL, before=None)), []),
    (
        Add(replace(SYSCTL, netns=POD)),
        ["ip netns exec podnet-web sysctl -q -w net/ipv4/ip_forward=1"],
    ),
    (
        Add(replace(SYSCTL, netns=POD, name="net/ipv4/ping_group_range", value="0 2147483647")),
        ["ip netns exec podnet-web sysctl -q -w 'net/ipv4/ping_group_range=0 2147483647'"],
    ),
    (
        Add(BRIDGE),
        [
            "ip link add podnet0 address 02:42:ac:11:00:01 type bridge mcast_snooping 0",
            "ip link set podnet0 mtu 1500 alias 'podnet PodNetwork/a'",
        ],
    ),
    (
        Change(BRIDGE, BRIDGE),
        [
            "ip link set podnet0 address 02:42:ac:11:00:01 mtu 1500 alias 'podnet PodNetwork/a'",
            "ip link set podnet0 type bridge mcast_snooping 0",
        ],
    ),
    (Remove(BRIDGE), ["ip link delete podnet0"]),
    (
        Add(VETH),
        [
            "ip link add vethpn1a mtu 1450 numtxqueues 1 numrxqueues 1 master podnet0 up type veth"
            " peer name eth0 address 02:42:ac:11:00:02 mtu 1450 numtxqueues 1 numrxqueues 1"
            " netns podnet-web",
            "ip link set vethpn1a alias 'podnet PodSandbox/default/web' addrgenmode none",
            "ip link set vethpn1a type bridge_slave hairpin on isolated off",
        ],
    ),
    (
        Change(VETH, replace(VETH, up=False)),
        [
            "ip link set vethpn1a mtu 1450 master podnet0 alias 'podnet PodSandbox/default/web' up",
            "ip link set vethpn1a type bridge_slave hairpin on isolated off",
        ],
    ),
    (Remove(VETH), ["ip link delete vethpn1a"]),
    (
        Change(ADDRESS, replace(ADDRESS, routed=False)),
        [
            "ip -n podnet-web route replace 172.17.0.0/16 dev eth0 proto kernel scope link"
            " src 172.17.0.2"
        ],
    ),
    (
        Change(ADDRESS6, replace(ADDRESS6, routed=False)),
        ["ip route replace fd00:17::/64 dev podnet0 proto kernel metric 256"],
    ),
    (Add(ADDRESS), ["ip -n podnet-web address replace 172.17.0.2/16 dev eth0 broadcast +"]),
    (Remove(ADDRESS), ["ip -n podnet-web address delete 172.17.0.2/16 dev eth0"]),
    (Add(ADDRESS6), ["ip address replace fd00:17::1/64 dev podnet0 nodad"]),
    (Remove(ADDRESS6), ["ip address delete fd00:17::1/64 dev podnet0"]),
    (Add(INTERFACE), ["ip -n podnet-web link set eth0 up"]),
    (
        Change(INTERFACE, replace(INTERFACE, mtu=1500)),
        ["ip -n podnet-web link set eth0 address 02:42:ac:11:00:02 mtu 1450 up"],
    ),
    (Remove(INTERFACE), ["ip -n podnet-web link set eth0 down"]),
    (Add(LOOPBACK), ["ip -n podnet-web link set lo up"]),
    (Change(LOOPBACK, LOOPBACK), ["ip -n podnet-web link set lo up"]),
    (
        Add(DEFAULT),
        ["ip -n podnet-web route replace default via 172.17.0.1 dev eth0 proto 142"],
    ),
    (
        Remove(DEFAULT),
        ["ip -n podnet-web route delete default via 172.17.0.1 dev eth0 proto 142"],
    ),
    (Add(NOWHERE), ["ip route replace unreachable 10.8.0.0/16 proto 142"]),
    (Remove(NOWHERE), ["ip route delete unreachable 10.8.0.0/16 proto 142"]),
    (Add(ROUTE6), ["ip -n podnet-web route replace fd01::/48 dev eth0 proto 142"]),
    (
        Add(replace(ROUTE6, destination=ip_network("::/0"), gateway=ip_address("fd00:17::1"))),
        ["ip -n podnet-web route replace ::/0 via fd00:17::1 dev eth0 proto 142"],
    ),
    (Add(RULESET), ["podnet-agent ruleset | nft -f -"]),
    (Change(RULESET, RULESET), ["podnet-agent ruleset | nft -f -"]),
    (Remove(RULESET), ["nft delete table inet podnet"]),
    (Add(MEMBER), ["nft 'add element inet podnet pn_bridges { podnet0 }'"]),
    (Remove(MEMBER), ["nft 'delete element inet podnet pn_bridges { podnet0 }'"]),
    (
        Add(MAPPING),
        ["nft 'add element inet podnet pn_any4 { tcp . 80 : 172.17.0.2 . 8080 }'"],
    ),
    (
        Change(MAPPING, MAPPING),
        [
            "nft 'delete element inet podnet pn_any4 { tcp . 80 };"
            " add element inet podnet pn_any4 { tcp . 80 : 172.17.0.2 . 8080 }'"
        ],
    ),
    (Remove(MAPPING), ["nft 'delete element inet podnet pn_any4 { tcp . 80 }'"]),
    (
        Add(ACCEPT),
        ["ip6tables -w -I FORWARD -o podnet0 -m comment --comment podnet -j ACCEPT"],
    ),
    (
        Remove(ACCEPT),
        ["ip6tables -w -D FORWARD -o podnet0 -m comment --comment podnet -j ACCEPT"],
    ),
    (Add(SHORTCUT), ["podnet-agent shortcut --neighbours podnet0"]),
    (
        Change(Shortcut(ifname="eth0", version=ON_UPLINK), SHORTCUT),
        ["podnet-agent shortcut eth0"],
    ),
    (Remove(SHORTCUT), ["podnet-agent shortcut --remove podnet0"]),
    (Add(ENDPOINT), ["podnet-agent endpoint 10.1.1.2 vethpn1a"]),
    (
        Change(ENDPOINT, replace(ENDPOINT, host_end="vethpn1b")),
        ["podnet-agent endpoint 10.1.1.2 vethpn1a"],
    ),
    (Remove(ENDPOINT), ["podnet-agent endpoint --remove 10.1.1.2"]),
]


def sentence(operation: Operation) -> str:
    return f"{type(operation).__name__.lower()} {' '.join(operation.what.key)}"


@pytest.mark.parametrize(
    ("operation", "typed"), TABLE, ids=[sentence(operation) for operation, _ in TABLE]
)
def test_an_operation_is_typed_as(operation: Operation, typed: list[str]) -> None:
    assert list(commands(operation)) == typed
    assert all(shlex.split(line) for line in typed)


def test_the_table_has_every_kind_added_and_removed() -> None:
    tried = {(type(operation), type(operation.what)) for operation, _ in TABLE}
    kinds = get_args(KernelObject)
    assert {(verb, kind) for verb in (Add, Remove) for kind in kinds} <= tried


def test_a_namespace_is_called_as_ip_netns_calls_it() -> None:
    assert name_of(POD) == "podnet-web"
