"""Routes to other nodes and to nowhere: made, found again, changed, taken away; pods' link routes.

Every kind in its four cases: it is there, missing, another one, somebody else's.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network

import pytest

from podnet.addresses import IPAddress
from podnet.backends import Link, Peer, host_gateway, unknown_shares
from podnet.commands import commands
from podnet.network import Network
from podnet.objects import HOST, Seen
from podnet.plan import Add, Plan
from support.host import Host
from support.node import Node, words
from support.values import NODE, ROUTED, netns
from support.wire import connect

LINKS = (
    Link("eth0", ip_interface("192.0.2.1/24")),
    Link("eth0", ip_interface("2001:db8:0:2::1/64")),
)
WEB = netns("web")


def other(number: int, *addresses: IPAddress) -> Peer:
    """Another node, by default one at the link's addresses of that number."""
    found = addresses or tuple(link.interface.network[number] for link in LINKS)
    cidrs = ip_network(f"172.17.{number}.0/24"), ip_network(f"fd00:17:0:{number}::/80")
    return Peer("default", f"n{number}", found, cidrs)


def network(*peers: Peer) -> Network:
    """As a node knows it that has these others."""
    routes, unreached = host_gateway(peers, LINKS)
    assert unreached == ()
    nowhere = unknown_shares("default", ROUTED.subnets, ROUTED.pod_cidrs)
    return replace(ROUTED, routes=(*routes, *nowhere))


def routes(host: Host, where: str | None = None) -> set[str]:
    """All routes of podnet's, as `ip` tells them."""
    said = [
        host.run(["ip", family, "route", "show", "proto", "142"], netns=where).stdout
        for family in ("-4", "-6")
    ]
    return {line.strip() for line in "".join(said).splitlines()}


BUILT = {
    "172.17.2.0/24 via 192.0.2.2 dev eth0",
    "172.17.3.0/24 via 192.0.2.3 dev eth0",
    "unreachable 172.17.0.0/16",
    "fd00:17:0:2::/80 via 2001:db8:0:2::2 dev eth0 metric 1024 pref medium",
    "fd00:17:0:3::/80 via 2001:db8:0:2::3 dev eth0 metric 1024 pref medium",
    "unreachable fd00:17::/64 dev lo metric 1024 pref medium",
}
INSIDE = {
    "default via 172.17.1.1 dev eth0",
    "172.17.1.1 dev eth0 scope link",
    "default via fd00:17:0:1::1 dev eth0 metric 1024 pref medium",
    "fd00:17:0:1::1 dev eth0 metric 1024 pref medium",
}


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """A node that knows two others, with a sandbox; every test leaves it so."""
    with Host("node") as host, Host("outside") as outside:
        connect(host, outside)
        node = Node(host)
        node.networks(network(other(2), other(3)), machine=NODE)
        node.attach("web", ROUTED)
        yield node


@pytest.fixture(autouse=True)
def as_built(node: Node) -> Iterator[None]:
    assert (routes(node.host), routes(node.host, WEB)) == (BUILT, INSIDE)
    assert node.plan() == Plan(())
    yield
    node.networks(network(other(2), other(3)), machine=NODE)


@dataclass(frozen=True)
class Damage:
    """Commands that do it, and what repairs it."""

    name: str
    commands: str
    repair: tuple[str, ...]
    inside: bool = False


def test_a_thousand_nodes_come_and_go_at_once(node: Node) -> None:
    """S42: the kernel's answers to all of them would not fit into a socket's buffer."""
    way = LINKS[0].interface.network[2]
    cidrs = [ip_network(f"10.{number >> 8}.{number & 255}.0/24") for number in range(1000)]
    many = [Peer("default", f"m{n}", (way,), (cidr,)) for n, cidr in enumerate(cidrs)]
    node.networks(network(other(2), other(3), *many), machine=NODE)
    assert routes(node.host) == BUILT | {f"{cidr} via {way} dev eth0" for cidr in cidrs}
    node.networks(network(other(2), other(3)), machine=NODE)
    assert routes(node.host) == BUILT


DAMAGES = (
    Damage(
        "ways to a node deleted",
        "ip route del 172.17.2.0/24; ip -6 route del fd00:17:0:2::/80",
        ("Add route 172.17.2.0/24", "Add route fd00:17:0:2::/80"),
    ),
    Damage(
        "ways to a node that lead elsewhere",
        "ip route replace 172.17.2.0/24 via 192.0.2.9 proto 142;"
        " ip route replace fd00:17:0:2::/80 via 2001:db8:0:2::9 proto 142",
        ("Change route 172.17.2.0/24", "Change route fd00:17:0:2::/80"),
    ),
    Damage(
        "ways to a node that lead nowhere",
        "ip route replace unreachable 172.17.2.0/24 proto 142; ip -6 route del fd00:17:0:2::/80;"
        " ip route add unreachable fd00:17:0:2::/80 proto 142",
        ("Change route 172.17.2.0/24", "Change route fd00:17:0:2::/80"),
    ),
    Damage(
        "nowhere deleted",
        "ip route del unreachable 172.17.0.0/16; ip -6 route del unreachable fd00:17::/64",
        ("Add route 172.17.0.0/16", "Add route fd00:17::/64"),
    ),
    Damage(
        "nowhere that leads somewhere",
        "ip route replace 172.17.0.0/16 via 192.0.2.9 proto 142",
        ("Change route 172.17.0.0/16",),
    ),
    Damage(
        "routes of a node that is none",
        "ip route add 172.17.9.0/24 via 192.0.2.9 proto 142;"
        " ip route add unreachable 172.17.8.0/24 proto 142;"
        " ip route add unreachable fd00:17:0:8::/80 proto 142",
        (
            "Remove route 172.17.9.0/24",
            "Remove route fd00:17:0:8::/80",
            "Remove route 172.17.8.0/24",
        ),
    ),
    Damage(
        "a pod's ways to its gateway deleted, and those behind",
        "ip route flush proto 142; ip -6 route flush proto 142",
        (
            "Add route 172.17.1.1/32",
            "Add route fd00:17:0:1::1/128",
            "Add route 0.0.0.0/0",
            "Add route ::/0",
        ),
        inside=True,
    ),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_repaired_exactly(node: Node, damage: Damage) -> None:
    """S22, S23, S26."""
    for command in damage.commands.split("; "):
        node.host.run(shlex.split(command), netns=WEB if damage.inside else None)
    done = node.reconcile()
    assert (words(done), done.conflicts) == (list(damage.repair), ())
    assert (routes(node.host), routes(node.host, WEB)) == (BUILT, INSIDE)


def test_what_others_route_is_theirs(node: Node) -> None:
    """A route of another program in the place of ours is a conflict, and stays."""
    node.host.run(["ip", "route", "del", "172.17.2.0/24"])
    node.host.run(["ip", "route", "add", "172.17.2.0/24", "via", "192.0.2.9", "proto", "static"])
    done = node.reconcile()
    (conflict,) = done.conflicts
    assert "NodeSubnet/default.n2 spec.podCIDRs wants it" in str(conflict)
    assert "via 192.0.2.9" in node.host.run(["ip", "route", "show", "172.17.2.0/24"]).stdout
    node.host.run(["ip", "route", "del", "172.17.2.0/24"])
    assert words(node.reconcile()) == ["Add route 172.17.2.0/24"]


def test_nodes_come_go_and_move(node: Node) -> None:
    """S23: exactly their routes change."""
    moved = other(3, *(link.interface.network[33] for link in LINKS))
    done = node.networks(network(moved, other(4)), machine=NODE)
    assert words(done) == [
        "Remove route fd00:17:0:2::/80",
        "Remove route 172.17.2.0/24",
        "Change route 172.17.3.0/24",
        "Add route 172.17.4.0/24",
        "Change route fd00:17:0:3::/80",
        "Add route fd00:17:0:4::/80",
    ]
    found = routes(node.host)
    assert "172.17.3.0/24 via 192.0.2.33 dev eth0" in found
    assert "fd00:17:0:3::/80 via 2001:db8:0:2::21 dev eth0 metric 1024 pref medium" in found
    assert node.plan() == Plan(())


def test_typed_by_hand_they_are_the_same(node: Node) -> None:
    """What the plan prints is what it does."""
    plan = node.networks()
    assert "172.17.2.0/24" not in node.host.run(["ip", "route"]).stdout
    assert len([word for word in words(plan) if word.startswith("Remove route")]) == 6
    node.networks(replace(ROUTED, routes=()), machine=NODE)
    for route in network(other(2), other(3)).routes:
        for line in commands(Add(route)):
            node.host.run(shlex.split(line))
    assert routes(node.host) == BUILT
    seen = node.look().seen
    for route in network(other(2), other(3)).routes:
        assert seen["route", HOST, str(route.destination)] == Seen(route, ours=True)
