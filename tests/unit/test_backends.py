"""From other nodes' shares to routes."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from podnet.backends import Link, Peer, host_gateway, unknown_shares
from podnet.commands import commands
from podnet.objects import Route
from podnet.plan import Add

LINKS = (
    Link("eth0", ip_interface("192.168.5.2/24")),
    Link("eth0", ip_interface("fd01::2/64")),
    Link("eth1", ip_interface("10.1.0.2/16")),
)


def peer(*pod_cidrs: str, at: tuple[str, ...] = ("192.168.5.3", "fd01::3")) -> Peer:
    return Peer("blue", "w2", tuple(map(ip_address, at)), tuple(map(ip_network, pod_cidrs)))


def lines(*routes: Route) -> list[str]:
    return [line for route in routes for line in commands(Add(route))]


def test_a_share_lies_behind_its_nodes_address_in_each_family() -> None:
    routes, unreached = host_gateway([peer("10.8.2.0/24", "fd00:8:0:2::/64")], LINKS)
    assert unreached == ()
    assert lines(*routes) == [
        "ip route replace 10.8.2.0/24 via 192.168.5.3 dev eth0 proto 142",
        "ip route replace fd00:8:0:2::/64 via fd01::3 dev eth0 proto 142",
    ]
    assert {route.cause for route in routes} == {"NodeSubnet/blue.w2 spec.podCIDRs"}


def test_of_several_addresses_the_first_on_a_link_of_ours_counts() -> None:
    routes, _ = host_gateway([peer("10.8.2.0/24", at=("172.30.0.3", "10.1.0.3"))], LINKS)
    assert lines(*routes) == ["ip route replace 10.8.2.0/24 via 10.1.0.3 dev eth1 proto 142"]


@pytest.mark.parametrize(
    ("other", "reason", "message"),
    [
        pytest.param(
            peer("10.8.2.0/24", at=("192.168.6.3",)),
            "NotOnLink",
            "node w2 (192.168.6.3) is not on the same link as this one (192.168.5.2/24 on eth0,"
            " 10.1.0.2/16 on eth1), so nothing leads to its share 10.8.2.0/24: backend HostGateway"
            " needs all nodes on one link",
            id="another link",
        ),
        pytest.param(
            peer("fd00:8:0:2::/64", at=("192.168.5.3",)),
            "NoAddress",
            "node w2 reports no IPv6 address, so nothing leads to its share fd00:8:0:2::/64: give"
            " the node one, or make a PodNetwork without IPv6",
            id="no address of the family",
        ),
        pytest.param(
            peer("192.168.5.0/25"),
            "AddressInShare",
            "node w2 has the address 192.168.5.3, which lies in its own share 192.168.5.0/25: make"
            " a PodNetwork with a range that no node is in",
            id="its address is a pod's",
        ),
        pytest.param(
            peer("10.8.2.0/24", at=("192.168.5.2",)),
            "NotOnLink",
            "node w2 (192.168.5.2) is not on the same link as this one (192.168.5.2/24 on eth0,"
            " 10.1.0.2/16 on eth1), so nothing leads to its share 10.8.2.0/24: backend HostGateway"
            " needs all nodes on one link",
            id="our own address",
        ),
    ],
)
def test_a_peer_that_cant_be_reached_is_refused_by_name(
    other: Peer, reason: str, message: str
) -> None:
    routes, (unreached,) = host_gateway([other], LINKS)
    assert routes == ()
    assert (unreached.reason, unreached.message) == (reason, message)


def test_one_family_can_be_reached_without_the_other() -> None:
    routes, unreached = host_gateway(
        [peer("10.8.2.0/24", "fd00:8:0:2::/64", at=("192.168.5.3",))], LINKS
    )
    assert [str(route.destination) for route in routes] == ["10.8.2.0/24"]
    assert [each.reason for each in unreached] == ["NoAddress"]


def test_a_node_whose_address_changed_is_reached_at_the_new_one() -> None:
    """S40: a restarted node has another address."""
    (before,), _ = host_gateway([peer("10.8.2.0/24")], LINKS)
    (after,), _ = host_gateway([peer("10.8.2.0/24", at=("192.168.5.9",))], LINKS)
    assert before.key == after.key
    assert (before.gateway, after.gateway) == (ip_address("192.168.5.3"), ip_address("192.168.5.9"))


def test_what_nobody_has_leads_nowhere() -> None:
    subnets = ip_network("10.8.0.0/16"), ip_network("fd00:8::/48")
    shares = ip_network("10.8.1.0/24"), ip_network("fd00:8:0:1::/64")
    assert lines(*unknown_shares("blue", subnets, shares)) == [
        "ip route replace unreachable 10.8.0.0/16 proto 142",
        "ip route replace unreachable fd00:8::/48 proto 142",
    ]


def test_who_has_the_whole_subnet_needs_no_such_route() -> None:
    whole = (ip_network("10.8.0.0/16"),)
    assert unknown_shares("blue", whole, whole) == ()


def test_a_node_that_has_not_come_yet_is_nobodys_problem() -> None:
    """Else every node would write a condition, and take it back, for every node that joins."""
    assert host_gateway([peer("10.8.2.0/24", at=())], LINKS) == ((), ())
