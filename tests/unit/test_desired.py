"""What an attachment, a network, a namespace and a node need, as commands."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network
from typing import Any

import pytest

from podnet.attachment import PublishedPort
from podnet.commands import commands
from podnet.desired import (
    DroppingChain,
    NodeState,
    accept_objects,
    attachment_objects,
    desired,
    namespace_objects,
    network_objects,
    node_objects,
    residue,
)
from podnet.objects import NOTHING, Address, Element, KernelObject, Route, Sysctl, Veth
from podnet.plan import as_seen, plan
from support.values import DUAL, NETWORK, NODE, ROUTED, V4, V6, attachment, sandboxed


def lines(objects: Iterable[KernelObject]) -> list[str]:
    """The commands of the plan that makes the objects."""
    return [line for operation in plan(objects, NOTHING).operations for line in commands(operation)]


def undoing(objects: Iterable[KernelObject]) -> list[str]:
    """The commands of the plan that takes them away again."""
    return [
        line for operation in plan((), as_seen(objects)).operations for line in commands(operation)
    ]


def test_one_attachment_is_these_commands() -> None:
    assert lines(attachment_objects(NETWORK, attachment())) == [
        "ip link add vethpn1a mtu 1500 numtxqueues 1 numrxqueues 1 master podnet0 up type veth"
        " peer name eth0 address 02:42:ac:11:00:02 mtu 1500 numtxqueues 1 numrxqueues 1"
        " netns podnet-web",
        "ip link set vethpn1a alias 'podnet PodSandbox/default/web' addrgenmode none",
        "ip link set vethpn1a type bridge_slave hairpin off isolated off",
        "ip netns exec podnet-web sysctl -q -w net/ipv4/conf/eth0/accept_redirects=0",
        "ip netns exec podnet-web sysctl -q -w net/ipv6/conf/eth0/disable_ipv6=1",
        "ip -n podnet-web address replace 172.17.0.2/16 dev eth0 broadcast +",
        "ip -n podnet-web link set eth0 up",
        "ip -n podnet-web route replace default via 172.17.0.1 dev eth0 proto 142",
    ]


def test_the_longest_names_still_fit_into_an_alias() -> None:
    owner = f"PodSandbox/{'n' * 63}/{'s' * 253}"
    veth, *_ = attachment_objects(NETWORK, attachment(owner=owner))
    assert isinstance(veth, Veth)
    assert veth.alias == f"podnet {owner}"[:255]


def test_dual_stack_adds_the_second_family_and_no_second_wait() -> None:
    both = attachment(26, "172.17.0.2/16", "fd00:17::2/64")
    added = set(lines(attachment_objects(DUAL, both)))
    plain = set(lines(attachment_objects(NETWORK, attachment())))
    assert added - plain == {
        "ip netns exec podnet-web sysctl -q -w net/ipv6/conf/eth0/accept_dad=0",
        "ip netns exec podnet-web sysctl -q -w net/ipv6/conf/eth0/accept_ra=0",
        "ip netns exec podnet-web sysctl -q -w net/ipv6/conf/eth0/accept_redirects=0",
        "ip -n podnet-web address replace fd00:17::2/64 dev eth0 nodad",
        "ip -n podnet-web route replace ::/0 via fd00:17::1 dev eth0 proto 142",
    }
    assert plain - added == {
        "ip netns exec podnet-web sysctl -q -w net/ipv6/conf/eth0/disable_ipv6=1"
    }


def test_ipv6_alone_has_no_route_for_ipv4() -> None:
    network = replace(NETWORK, subnets=(V6,), pod_cidrs=(V6,))
    found = list(attachment_objects(network, attachment(26, "fd00:17::2/64")))
    routes = [thing.destination for thing in found if isinstance(thing, Route)]
    assert routes == [ip_network("::/0")]


def test_a_kernel_without_ipv6_is_not_asked_to_switch_it_off() -> None:
    network = replace(NETWORK, ipv6=False)
    assert not [line for line in lines(attachment_objects(network, attachment())) if "ipv6" in line]


@pytest.mark.parametrize(
    ("port", "elements"),
    [
        pytest.param(
            PublishedPort(8080, 80),
            [
                "nft 'add element inet podnet pn_any4 { tcp . 8080 : 172.17.0.2 . 80 }'",
                "nft 'add element inet podnet pn_any6 { tcp . 8080 : fd00:17::2 . 80 }'",
            ],
            id="on any address in both families",
        ),
        pytest.param(
            PublishedPort(53, 5353, "udp", ip_address("192.0.2.1")),
            [
                "nft 'add element inet podnet pn_ip4 { 192.0.2.1 . udp . 53 : 172.17.0.2 . 5353 }'",
            ],
            id="on one address in its family alone",
        ),
        pytest.param(
            PublishedPort(80, 80, "tcp", ip_address("2001:db8::1")),
            [
                "nft 'add element inet podnet pn_ip6 { 2001:db8::1 . tcp . 80 : fd00:17::2 . 80 }'",
            ],
            id="on one IPv6 address",
        ),
    ],
)
def test_a_port_is_published(port: PublishedPort, elements: list[str]) -> None:
    both = attachment(26, "172.17.0.2/16", "fd00:17::2/64", ports=(port,))
    assert lines(attachment_objects(DUAL, both))[-len(elements) - 2 :] == [
        *elements,
        "nft 'add element inet podnet pn_self4 { 172.17.0.2 . 172.17.0.2 }'",
        "nft 'add element inet podnet pn_self6 { fd00:17::2 . fd00:17::2 }'",
    ]


def test_without_ports_nftables_is_not_touched() -> None:
    found = attachment_objects(NETWORK, attachment())
    assert not [thing for thing in found if isinstance(thing, Element)]


def test_a_mac_fixed_by_hand_is_announced_and_no_other() -> None:
    fixed = lines(attachment_objects(NETWORK, attachment(mac="02:00:00:00:00:07")))
    announce = "ip netns exec podnet-web sysctl -q -w net/ipv4/conf/eth0/arp_notify=1"
    assert announce in fixed
    assert "address 02:00:00:00:00:07 mtu" in fixed[0]
    assert announce not in lines(attachment_objects(NETWORK, attachment()))


def test_an_interface_without_routes_has_none() -> None:
    found = attachment_objects(NETWORK, attachment(ifname="net1", routes=()))
    assert not [thing for thing in found if isinstance(thing, Route)]


def test_every_object_of_an_attachment_names_the_field_that_wants_it() -> None:
    wanted = attachment(
        26,
        "172.17.0.9/16",
        addresses=(ip_address("172.17.0.9"),),
        mac="02:00:00:00:00:07",
        ports=(PublishedPort(80, 80),),
    )
    causes = {thing.key: thing.cause for thing in attachment_objects(NETWORK, wanted)}
    owner = "PodSandbox/default/web spec.network"
    fields = {kind: {causes[key] for key in causes if key[0] == kind} for kind, *_ in causes}
    assert fields == {
        "link": {f"{owner}.podNetwork"},
        "sysctl": {f"{owner}.podNetwork"},
        "address": {f"{owner}.addresses"},
        "interface": {f"{owner}.mac"},
        "route": {"PodNetwork/default spec.subnets"},
        "element": {f"{owner}.ports"},
    }


def test_what_was_attached_by_hand_names_no_field_of_the_sandbox() -> None:
    by_hand = attachment(by_hand=True, ifname="eth1", routes=(ip_network("10.9.0.0/16"),))
    causes = {thing.cause for thing in attachment_objects(NETWORK, by_hand)}
    assert causes == {
        "PodSandbox/default/web podnet attach --ifname eth1",
        "PodNetwork/default spec.subnets",
    }


def test_what_hangs_on_the_pair_goes_with_it() -> None:
    wanted = attachment(ports=(PublishedPort(80, 80),))
    objects = list(attachment_objects(NETWORK, wanted))
    (veth,) = [thing for thing in objects if isinstance(thing, Veth)]
    rest = [thing for thing in objects if not isinstance(thing, Veth | Element)]
    assert rest and {thing.within for thing in rest} == {veth.key}
    assert undoing(objects) == [
        "nft 'delete element inet podnet pn_self4 { 172.17.0.2 . 172.17.0.2 }'",
        "nft 'delete element inet podnet pn_any4 { tcp . 80 }'",
        "ip link delete vethpn1a",
    ]


@pytest.mark.parametrize("ports", [(), (PublishedPort(80, 80), PublishedPort(1, 2, "udp"))])
def test_the_record_alone_tells_what_to_undo(ports: tuple[PublishedPort, ...]) -> None:
    both = attachment(26, "172.17.0.2/16", "fd00:17::2/64", ports=ports)
    most = replace(DUAL, shortcut=True)
    assert undoing(residue(both)) == undoing(attachment_objects(most, both))


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
        "ip link add podnet0 address 02:42:ac:11:00:01 type bridge",
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


def test_hairpin_is_a_flag_of_every_port() -> None:
    found = lines(attachment_objects(replace(NETWORK, hairpin=True), attachment()))
    assert "ip link set vethpn1a type bridge_slave hairpin on isolated off" in found


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


def test_addresses_keep_the_prefix_of_their_subnet() -> None:
    objects = attachment_objects(NETWORK, attachment())
    (address,) = [thing for thing in objects if isinstance(thing, Address)]
    assert address.interface.network == V4


def test_a_pod_without_neighbours_has_a_way_to_its_gateway_first() -> None:
    alone = attachment(26, "172.17.1.2/32", "fd00:17:0:1::2/128")
    found = lines(attachment_objects(ROUTED, alone))
    assert [line for line in found if " address " in line or " route " in line][1:] == [
        "ip -n podnet-web address replace 172.17.1.2/32 dev eth0 broadcast +",
        "ip -n podnet-web address replace fd00:17:0:1::2/128 dev eth0 nodad",
        "ip -n podnet-web route replace 172.17.1.1/32 dev eth0 proto 142",
        "ip -n podnet-web route replace fd00:17:0:1::1/128 dev eth0 proto 142",
        "ip -n podnet-web route replace default via 172.17.1.1 dev eth0 proto 142",
        "ip -n podnet-web route replace ::/0 via fd00:17:0:1::1 dev eth0 proto 142",
    ]
    assert "ip link set vethpn1a type bridge_slave hairpin off isolated on" in found
    routes = [line for line in undoing(attachment_objects(ROUTED, alone)) if " route " in line]
    assert routes == []  # they go with the pair


def test_one_attached_by_hand_reaches_all_of_the_network() -> None:
    by_hand = attachment(26, "172.17.1.2/32", routes=(), by_hand=True, ifname="eth1")
    found = lines(attachment_objects(ROUTED, by_hand))
    assert found[-2:] == [
        "ip -n podnet-web route replace 172.17.1.1/32 dev eth1 proto 142",
        "ip -n podnet-web route replace 172.17.0.0/16 via 172.17.1.1 dev eth1 proto 142",
    ]


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


def test_a_shortcut_finds_each_pod_by_its_addresses_as_long_as_it_is_there() -> None:
    short, both = (
        replace(ROUTED, shortcut=True),
        attachment(26, "172.17.1.2/32", "fd00:17:0:1::2/128"),
    )
    added = lines(attachment_objects(short, both))
    assert added[-2:] == [
        "podnet-agent endpoint 172.17.1.2 vethpn1a",
        "podnet-agent endpoint fd00:17:0:1::2 vethpn1a",
    ]
    assert not [line for line in lines(attachment_objects(ROUTED, both)) if "endpoint" in line]
    assert undoing(residue(both)) == [
        "podnet-agent endpoint --remove fd00:17:0:1::2",
        "podnet-agent endpoint --remove 172.17.1.2",
        "ip link delete vethpn1a",
    ]
