"""pyroute2 reads of a machine what podnet's own reader does."""

import shlex
from dataclasses import replace
from typing import Any

import pytest
from pyroute2 import IPRoute

from podnet.objects import Netns
from podnet_agent import dumps
from podnet_agent.dumps import RouteFacts
from podnet_agent.links import link, links
from podnet_agent.namespaces import entered, route_socket
from support.host import Host
from support.node import Node
from support.values import DUAL, NETWORK, V6, netns

PORT = 8080
V6_ONLY = replace(NETWORK, subnets=(V6,), pod_cidrs=(V6,))
WEB, DB = netns("web"), netns("db")
BEYOND = ("192.0.2.77", "2001:db8:77::77")
"""Addresses of the node that only a default route leads to."""


@pytest.fixture
def crowded(host: Host) -> Host:
    """A host with links, addresses and routes of many kinds."""
    node = Node(host)
    node.networks(replace(DUAL, hairpin=True))
    node.attach("web", DUAL)
    for command in (
        "ip link add va type veth peer name vb",
        "ip link set va up",
        "ip link set vb up group 7",
        "ip link add switch type bridge",  # listens to multicast groups, as ours do not
        "ip address add 10.0.0.1/24 dev va",
        "ip address add 10.0.0.2 peer 10.0.0.3/32 dev va",
        "ip address add 2001:db8::1/64 dev va",
        "ip route add default via 10.0.0.9 metric 50",
        "ip route add 10.2.0.0/16 nexthop via 10.0.0.8 nexthop via 10.0.0.9",
        "ip route add unreachable 10.3.0.0/16",
        "ip -6 route add 2001:db8:1::/48 via 2001:db8::9",
        "ip route add 10.4.0.0/16 dev va table 100",
    ):
        host.run(shlex.split(command))
    return host


def test_pyroute2_reads_the_same_links(crowded: Host) -> None:
    for place in (str(crowded.netns_path), str(crowded.path(WEB))):
        with entered(Netns(place)), route_socket() as route:
            ours = [each._asdict() for each in links(route)]
            assert [each._asdict() for n in ours if (each := link(route, n["ifindex"]))] == ours
        with pyroute2_in(place) as theirs:
            assert ours == [link_of_pyroute2(each) for each in theirs.get_links()]


def link_of_pyroute2(each: Any) -> dict[str, Any]:
    """A link of pyroute2's as one of ours."""
    info = each.get_nested("IFLA_LINKINFO") or each
    port, own = info.get_attr("IFLA_INFO_SLAVE_DATA"), info.get_attr("IFLA_INFO_DATA")
    return {
        "ifindex": each["index"],
        "name": each.get_attr("IFLA_IFNAME"),
        "up": bool(each["flags"] & 1),
        "mtu": each.get_attr("IFLA_MTU"),
        "mac": each.get_attr("IFLA_ADDRESS"),
        "master": each.get_attr("IFLA_MASTER"),
        "peer": each.get_attr("IFLA_LINK"),
        "peer_nsid": each.get_attr("IFLA_LINK_NETNSID"),
        "group": each.get_attr("IFLA_GROUP"),
        "alias": each.get_attr("IFLA_IFALIAS") or "",
        "kind": info.get_attr("IFLA_INFO_KIND") or "",
        "hairpin": bool(port and port.get_attr("IFLA_BRPORT_MODE")),
        "isolated": bool(port and port.get_attr("IFLA_BRPORT_ISOLATED")),
        "snooping": info.get_attr("IFLA_INFO_KIND") == "bridge"
        and bool(own.get_attr("IFLA_BR_MCAST_SNOOPING")),
    }


def test_pyroute2_reads_the_same_addresses_and_routes(crowded: Host) -> None:
    for place in (str(crowded.netns_path), str(crowded.path(WEB))):
        with entered(Netns(place)), route_socket() as route:
            addresses, routes = dumps.addresses(route), dumps.routes(route)
        with pyroute2_in(place) as theirs:
            assert [(each.ifindex, str(each.interface), each.scope) for each in addresses] == [
                address_of_pyroute2(each) for each in theirs.get_addr()
            ]
            assert [plain(each) for each in routes] == [
                route_of_pyroute2(each) for each in theirs.get_routes(table=254)
            ]


def address_of_pyroute2(each: Any) -> tuple[int, str, int]:
    """Index, address with prefix length, scope."""
    own = each.get_attr("IFA_LOCAL") or each.get_attr("IFA_ADDRESS")
    return each["index"], f"{own}/{each['prefixlen']}", each["scope"]


def plain(each: RouteFacts) -> tuple[object, ...]:
    """A route of ours, its addresses as text."""
    where, gateway = each.destination, each.gateway
    return (
        {4: 2, 6: 10}[where.version],
        where.prefixlen,
        str(where.network_address) if where.prefixlen else None,
        str(gateway) if gateway else None,
        *each[2:],
    )


def route_of_pyroute2(each: Any) -> tuple[object, ...]:
    """The same of pyroute2's."""
    (first, *_) = each.get_attr("RTA_MULTIPATH") or [{"oif": each.get_attr("RTA_OIF")}]
    return (
        each["family"],
        each["dst_len"],
        each.get_attr("RTA_DST"),
        each.get_attr("RTA_GATEWAY"),
        first["oif"],
        each["proto"],
        each["type"],
        each.get_attr("RTA_PRIORITY") or 0,
    )


def pyroute2_in(place: str) -> IPRoute:
    """pyroute2 on a socket of that namespace; by itself it would fork to open one."""
    with entered(Netns(place)):
        return IPRoute(fileno=route_socket().detach())
