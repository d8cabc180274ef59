"""What an attachment needs, and what goes with it, as commands."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from podnet.attachment import PublishedPort
from podnet.desired import attachment_objects, residue
from podnet.objects import Address, Element, Route, Veth
from support.commands import lines, undoing
from support.values import DUAL, NETWORK, ROUTED, V4, V6, attachment


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


def test_hairpin_is_a_flag_of_every_port() -> None:
    found = lines(attachment_objects(replace(NETWORK, hairpin=True), attachment()))
    assert "ip link set vethpn1a type bridge_slave hairpin on isolated off" in found


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
