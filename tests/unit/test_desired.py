"""What a network, a namespace and a node need, as commands."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, ip_network
from typing import Any

import pytest

from podnet.desired import (
    DroppingChain,
    NodeState,
    accept_objects,
    desired,
    namespace_objects,
    network_objects,
    node_objects,
)
from podnet.objects import NOTHING, Element, KernelObject, Route, Sysctl, Veth
from podnet.plan import plan
from support.commands import lines, undoing
from support.values import DUAL, NETWORK, NODE, ROUTED, V4, attachment, sandboxed


def test_mode_none_is_a_namespace_with_loopback() -> None:
    assert lines(namespace_objects(sandboxed())) == [
        "ip netns add podnet-web",
        "ip netns exec podnet-web sysctl -q -w net/ipv4/conf/all/accept_redirects=0",
        "ip netns exec podnet-web sysctl -q -w net/ipv4/ip_unprivileged_port_start=0",
        "ip netns exec podnet-web sysctl -q -w 'net/ipv4/ping_group_range=0 2147483647'",
        "ip -n podnet-web link set lo up",
    ]
    assert undoing(namespace_objects(sandboxed())) == ["ip netns delete podnet-web"]


def test_a_network_is_a_bridge_and_what_the_table_must_know() -> None:
    assert lines(network_objects(NETWORK)) == [
        "ip link add podnet0 address 02:42:ac:11:00:01 type bridge mcast_snooping 0",
        "ip link set podnet0 mtu 1500 alias 'podnet PodNetwork/default'",
        "sysctl -q -w net/ipv4/conf/podnet0/route_localnet=1",
        "ip address replace 172.17.0.1/16 dev podnet0 broadcast +",
        "ip link set podnet0 up",
        "nft 'add element inet podnet pn_bridges { podnet0 }'",
        "nft 'add element inet podnet pn_closed { podnet0 }'",
        "nft 'add element inet podnet pn_isolated { podnet0 }'",
        "nft 'add element inet podnet pn_l2 { podnet0 }'",
        "nft 'add element inet podnet pn_masq4 { 172.17.0.0/16 }'",
        "nft 'add element inet podnet pn_nets4 { 172.17.0.0/16 }'",
        "nft 'add element inet podnet pn_own4 { podnet0 . 172.17.0.0/16 }'",
    ]


def test_a_dual_stack_network_adds() -> None:
    assert set(lines(network_objects(DUAL))) - set(lines(network_objects(NETWORK))) == {
        "sysctl -q -w net/ipv6/conf/podnet0/accept_dad=0",
        "sysctl -q -w net/ipv6/conf/podnet0/accept_ra=0",
        "sysctl -q -w net/ipv6/conf/podnet0/disable_ipv6=0",
        "ip address replace fd00:17::1/64 dev podnet0 nodad",
        "nft 'add element inet podnet pn_masq6 { fd00:17::/64 }'",
        "nft 'add element inet podnet pn_nets6 { fd00:17::/64 }'",
        "nft 'add element inet podnet pn_own6 { podnet0 . fd00:17::/64 }'",
    }


@pytest.mark.parametrize(
    ("field", "container"),
    [
        ("isolated", "pn_isolated"),
        ("masquerade", "pn_masq4"),
        ("masquerade_neighbours", "pn_l2"),
    ],
)
def test_a_field_of_a_network_is_one_element(field: str, container: str) -> None:
    with_it = set(lines(network_objects(NETWORK)))
    changed: dict[str, Any] = {field: False}
    without = set(lines(network_objects(replace(NETWORK, **changed))))
    (gone,) = with_it - without
    assert f" {container} " in gone
    assert without <= with_it


def test_what_a_bridge_has_goes_with_it() -> None:
    made = [thing for thing in network_objects(NETWORK) if not isinstance(thing, Element)]
    assert undoing(made) == ["ip link delete podnet0"]


def sysctls(objects: Iterable[KernelObject]) -> list[str]:
    return [f"{thing.name}={thing.value}" for thing in objects if isinstance(thing, Sysctl)]


def test_a_node_without_networks_needs_nothing() -> None:
    assert list(node_objects((), NODE)) == []


@pytest.mark.parametrize(
    ("network", "accepts_ra", "settings"),
    [
        pytest.param(NETWORK, True, ["net/ipv4/ip_forward=1"], id="IPv4 forwards IPv4"),
        pytest.param(
            DUAL,
            False,
            ["net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1"],
            id="dual stack forwards both",
        ),
        pytest.param(
            DUAL,
            True,
            [
                "net/ipv4/ip_forward=1",
                "net/ipv6/conf/all/forwarding=1",
                "net/ipv6/conf/eth0/accept_ra=2",
            ],
            id="advertised routes are kept",
        ),
    ],
)
def test_a_node_forwards(network: object, accepts_ra: bool, settings: list[str]) -> None:
    assert network is NETWORK or network is DUAL
    networks = [NETWORK if network is NETWORK else DUAL]
    assert sysctls(node_objects(networks, replace(NODE, accepts_ra=accepts_ra))) == settings


def test_advertised_routes_are_kept_before_forwarding_would_end_them() -> None:
    objects = list(node_objects([DUAL], replace(NODE, accepts_ra=True)))
    planned = sysctls(operation.what for operation in plan(objects, NOTHING).operations)
    assert planned.index("net/ipv6/conf/eth0/accept_ra=2") < planned.index(
        "net/ipv6/conf/all/forwarding=1"
    )


def test_without_an_uplink_no_advertisement_is_minded() -> None:
    node = replace(NODE, uplink=None, accepts_ra=True)
    assert "accept_ra" not in " ".join(sysctls(node_objects([DUAL], node)))


def test_a_dropping_chain_gets_two_exceptions() -> None:
    assert lines(accept_objects(NETWORK, DroppingChain("iptables", "DOCKER-USER"))) == [
        "iptables -w -I DOCKER-USER -i podnet0 -m comment --comment podnet -j ACCEPT",
        "iptables -w -I DOCKER-USER -o podnet0 -m comment --comment podnet -j ACCEPT",
    ]


def test_the_whole_node_is_the_sum_of_its_parts_each_thing_once() -> None:
    blue = replace(
        NETWORK,
        name="blue",
        bridge="pn-blue",
        subnets=(IPv4Network("172.18.0.0/16"),),
        pod_cidrs=(IPv4Network("172.18.0.0/16"),),
    )
    state = NodeState(
        node=NODE,
        networks=(NETWORK, blue),
        namespaces=(sandboxed("a"), sandboxed("b")),
        attachments=(
            attachment(1, name="a"),
            attachment(2, "172.18.0.2/16", name="b", network="blue"),
        ),
        dropping=(DroppingChain("iptables", "FORWARD"),),
    )
    everything = list(desired(state))
    keys = [thing.key for thing in everything]
    assert len(keys) == len(set(keys))
    assert {key[1] for key in keys} == {"", "/run/netns/podnet-a", "/run/netns/podnet-b"}
    bridges = [thing.bridge for thing in everything if isinstance(thing, Veth)]
    assert bridges == ["podnet0", "pn-blue"]
    assert lines(everything) == lines(reversed(everything))


def test_an_attachment_whose_network_is_gone_is_not_wanted() -> None:
    state = NodeState(node=NODE, attachments=(attachment(network="gone"),))
    assert list(desired(state)) == []


def test_routes_to_other_nodes_are_the_networks() -> None:
    way = Route(destination=ip_network("172.17.2.0/24"), gateway=V4[9], ifname="eth0", cause="x")
    network = replace(ROUTED, routes=(way,))
    assert set(network_objects(network)) - set(network_objects(ROUTED)) == {way}
    closed = "nft 'add element inet podnet pn_closed { podnet0 }'"
    assert closed not in lines(network_objects(network))
    assert closed in lines(network_objects(DUAL))


def test_a_network_with_a_shortcut_has_it_on_its_bridge_and_all_have_one_on_the_uplink() -> None:
    short = replace(ROUTED, shortcut=True)
    state = NodeState(NODE, networks=(short, replace(short, name="b", bridge="pn-b")))
    added = [line for line in lines(desired(state)) if "shortcut" in line]
    assert sorted(added) == [
        "podnet-agent shortcut --neighbours pn-b",
        "podnet-agent shortcut --neighbours podnet0",
        "podnet-agent shortcut eth0",
    ]
    assert [line for line in undoing(desired(state)) if "shortcut" in line] == [
        "podnet-agent shortcut --remove eth0"
    ], "a bridge takes its own along"
    alone = NodeState(replace(NODE, uplink=None), networks=(short,))
    assert "podnet-agent shortcut eth0" not in lines(desired(alone))
    assert not [line for line in lines(desired(NodeState(NODE, (ROUTED,)))) if "shortcut" in line]
