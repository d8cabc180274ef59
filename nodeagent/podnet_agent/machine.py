"""What podnet takes over from the machine: its uplink, its routes, what its kernel does.

Read before every reconcile, in the loop: by a dump of the routes and a question for each link they
lead to, never by a dump of all links, nor by a process.
"""

import os
import socket
from collections.abc import Iterator

from podnet.addresses import IPNetwork
from podnet.backends import Link as Underlay
from podnet.network import Node
from podnet.objects import RTPROT
from podnet_agent import dumps
from podnet_agent.dumps import RTN_UNICAST, RouteFacts
from podnet_agent.links import Link, link
from podnet_agent.namespaces import route_socket
from podnet_agent.observe import is_marked, read_sysctl
from podnet_agent.shortcuts import is_available

RTPROT_RA = 9
"""A route that a router advertised (linux/rtnetlink.h)."""
PASSING = 0x01 | 0x08 | 0x20 | 0x40
"""Flags of an address that others should not be told of (linux/if_addr.h): secondary in IPv4,
temporary in IPv6; found twice; deprecated; not yet looked for elsewhere."""


def read_node() -> Node:
    """The machine as it is now. Its uplink is where IPv4, else IPv6, goes by default."""
    with route_socket() as route:
        found = dumps.routes(route)
        uplink = _uplink(route, found)
        links = tuple(_links(route, uplink)) if uplink else ()
    return Node(
        uplink=uplink.name if uplink else None,
        underlay_mtu=uplink.mtu if uplink else None,
        ipv6=os.path.isdir("/proc/sys/net/ipv6"),
        bridge_netfilter=read_sysctl("net/bridge/bridge-nf-call-iptables") == "1",
        accepts_ra=uplink is not None and _accepts_ra(uplink, found),
        links=links,
        shortcuts=is_available(),
    )


def routes() -> tuple[IPNetwork, ...]:
    """Where this machine has a route to, but the default and what is ours or our bridges for."""
    with route_socket() as route:
        found = dumps.routes(route)
        links = {index: link(route, index) for index in {facts.ifindex for facts in found} if index}
    ours = {
        index for index, one in links.items() if one and one.kind == "bridge" and is_marked(one)
    }
    destinations = {
        facts.destination: None
        for facts in found
        if facts.destination.prefixlen and facts.ifindex not in ours and facts.protocol != RTPROT
    }
    return tuple(destinations)


def _uplink(route: socket.socket, found: list[RouteFacts]) -> Link | None:
    """The kernel takes the lowest metric; the first link of a route stands for its others."""
    defaults = sorted(
        (facts for facts in found if is_default(facts)),
        key=lambda facts: (facts.destination.version, facts.metric),
    )
    for facts in defaults:
        if facts.ifindex is not None and (uplink := link(route, facts.ifindex)) is not None:
            return uplink
    return None


def _links(route: socket.socket, uplink: Link) -> Iterator[Underlay]:
    """The uplink's addresses that last and have neighbours. A floating one has a whole prefix."""
    for facts in dumps.addresses(route, uplink.ifindex):
        size, most = facts.interface.network.prefixlen, facts.interface.max_prefixlen
        if not (facts.scope or facts.flags & PASSING) and size < most:
            yield Underlay(uplink.name, facts.interface)


def is_default(facts: RouteFacts) -> bool:
    """Whether the route is where everything else goes."""
    return facts.destination.prefixlen == 0 and facts.kind == RTN_UNICAST


def _accepts_ra(uplink: Link, found: list[RouteFacts]) -> bool:
    """Whether the kernel takes routes from advertisements there, and so would lose them.

    1 means: unless it forwards (Documentation/networking/ip-sysctl.rst). A route from one that is
    there though it forwards by now is not to expire. 0: none, or another program takes them.
    """
    folder = f"net/ipv6/conf/{uplink.name}"
    match read_sysctl(f"{folder}/accept_ra"):
        case "2":
            return True
        case "1":
            return read_sysctl(f"{folder}/forwarding") == "0" or any(
                facts.protocol == RTPROT_RA and facts.ifindex == uplink.ifindex
                for facts in found
                if is_default(facts)
            )
    return False
