"""Routes to other nodes' shares, and to nowhere, as the kernel takes and shows them."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from podnet.backends import Link, Peer, host_gateway, unknown_shares
from podnet.commands import commands
from podnet.objects import HOST, KernelObject, Observed
from podnet.plan import Add, Change, Operation, Plan, Remove, plan
from support.host import Host
from support.node import Node

LINKS = (Link("eth0", ip_interface("192.168.5.2/24")), Link("eth0", ip_interface("fd01::2/64")))
SUBNETS = (ip_network("10.8.0.0/16"), ip_network("fd00:8::/48"))
OWN = (ip_network("10.8.1.0/24"), ip_network("fd00:8:0:1::/64"))
OTHER = (ip_network("10.8.2.0/24"), ip_network("fd00:8:0:2::/64"))


def peer(*addresses: str) -> Peer:
    return Peer("blue", "w2", tuple(map(ip_address, addresses)), OTHER)


def routes(other: Peer) -> list[KernelObject]:
    """To that node, and to nobody."""
    found, unreached = host_gateway([other], LINKS)
    assert unreached == ()
    return [*found, *unknown_shares("blue", SUBNETS, OWN)]


WANTED = routes(peer("192.168.5.3", "fd01::3"))


@pytest.fixture
def wired(host: Host) -> Host:
    """A node with an uplink in both families."""
    host.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire"])
    for end in ("wire", "eth0"):
        host.run(["ip", "link", "set", end, "up"])
    host.run(["ip", "address", "add", "192.168.5.2/24", "dev", "eth0"])
    host.run(["ip", "address", "add", "fd01::2/64", "dev", "eth0", "nodad"])
    return host


def seen(node: Node) -> Observed:
    """The node's routes alone."""
    wanted = [thing.key for thing in WANTED]
    found: Observed = node.call("podnet_agent.observe:observe", wanted, 0, {})
    kept = {key: each for key, each in found.seen.items() if key[0] == "route"}
    return Observed(kept, 0, frozenset({HOST}))


def applied(node: Node, *operations: Operation) -> None:
    node.call("apply", operations)


def test_what_was_built_is_seen_as_built_and_goes_again(wired: Host) -> None:
    node = Node(wired)
    applied(node, *plan(WANTED, Observed({})).operations)
    assert plan(WANTED, seen(node)) == Plan(())
    applied(node, *plan([], seen(node)).operations)
    assert seen(node).seen == {}


def test_the_commands_do_the_same(wired: Host) -> None:
    for operation in plan(WANTED, Observed({})).operations:
        for line in commands(operation):
            assert wired.run(["sh", "-c", line]).stdout == ""
    node = Node(wired)
    assert plan(WANTED, seen(node)) == Plan(())
    for thing in WANTED:
        for line in commands(Remove(thing)):
            wired.run(["sh", "-c", line])
    assert seen(node).seen == {}


def test_a_node_that_has_another_address_is_followed(wired: Host) -> None:
    """S40: the route is replaced in place, there is no moment without one."""
    node = Node(wired)
    applied(node, *plan(WANTED, Observed({})).operations)
    moved = routes(peer("192.168.5.9", "fd01::9"))
    found = plan(moved, seen(node))
    assert [type(each) for each in found.operations] == [Change, Change]
    applied(node, *found.operations)
    assert plan(moved, seen(node)) == Plan(())


def test_a_share_that_nobody_knows_is_refused_at_once(wired: Host) -> None:
    """It never leaves by the default route."""
    wired.run(["ip", "route", "add", "default", "via", "192.168.5.1"])
    wired.run(["ip", "route", "add", "default", "via", "fd01::1"])
    node = Node(wired)
    applied(node, *plan(WANTED, Observed({})).operations)
    for known in ("10.8.2.9", "fd00:8:0:2::9"):
        assert "via" in wired.run(["ip", "route", "get", known]).stdout
    for unknown in ("10.8.9.9", "fd00:8:0:9::9"):
        answer = wired.run(["ip", "route", "get", unknown], check=False)
        assert answer.returncode != 0
        assert "No route to host" in answer.stderr or "unreachable" in answer.stderr
    for elsewhere in ("192.0.2.1", "2001:db8::1"):
        assert "via" in wired.run(["ip", "route", "get", elsewhere]).stdout


@pytest.mark.parametrize(
    "words",
    [
        pytest.param("10.8.2.0/24 via 192.168.5.7", id="to somewhere else"),
        pytest.param("unreachable 10.8.2.0/24", id="to nowhere"),
    ],
)
def test_a_foreign_route_in_our_place_is_a_conflict(wired: Host, words: str) -> None:
    wired.run(["ip", "route", "add", *words.split()])
    found = plan(WANTED, seen(Node(wired)))
    assert [str(each).split(" and ")[0] for each in found.conflicts] == ["route 10.8.2.0/24 exists"]
    assert Add(WANTED[0]) not in found.operations
    assert len(found.operations) == 3
