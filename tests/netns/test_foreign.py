"""What is not podnet's, in its place or beside it: it is named, and left."""

import shlex
from dataclasses import replace

import pytest

from podnet.errors import Conflict, PodNetError
from podnet.plan import Plan
from support.host import Host
from support.node import Node, words
from support.values import DUAL, NETWORK, V6, netns

PORT = 8080
V6_ONLY = replace(NETWORK, subnets=(V6,), pod_cidrs=(V6,))
WEB, DB = netns("web"), netns("db")
BEYOND = ("192.0.2.77", "2001:db8:77::77")
"""Addresses of the node that only a default route leads to."""


def test_a_foreign_link_in_a_bridges_place_is_named_and_left(host: Host) -> None:
    host.run(["ip", "link", "add", "podnet0", "mtu", "1400", "type", "bridge"])
    before = host.links()["podnet0"]
    node = Node(host)
    done = node.networks(DUAL)
    (conflict,) = done.conflicts
    assert str(conflict) == (
        "link podnet0 exists and is not podnet's (a link of kind bridge, index"
        f" {before['ifindex']}); PodNetwork/default spec.bridge.name wants it: remove it or choose"
        " another name"
    )
    with pytest.raises(Conflict, match="link podnet0 is not podnet's"):
        node.attach("web", DUAL)
    assert host.links() == {"lo": host.links()["lo"], "podnet0": before}
    assert host.ip_json("address", "show", "podnet0")[0]["addr_info"] == []
    assert host.sysctl("net/ipv4/conf/podnet0/route_localnet") == "0"
    assert not any("elem" in body for each in host.nft_json() for body in each.values())
    host.run(["ip", "link", "del", "podnet0"])
    assert "Add link podnet0" in words(node.reconcile())
    node.attach("web", DUAL)
    assert node.plan() == Plan(())


def test_a_foreign_link_in_a_pairs_place_is_named_and_left(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    host.run(["ip", "link", "del", "vethpn1"])
    host.run(["ip", "link", "add", "vethpn1", "type", "veth", "peer", "name", "other"])
    planned = node.plan(pods=False)
    assert [str(conflict).partition(" (")[0] for conflict in planned.conflicts] == [
        "link vethpn1 exists and is not podnet's"
    ]
    node.reconcile(pods=False)
    assert host.links()["vethpn1"]["operstate"] == "DOWN"


def test_a_foreign_interface_in_a_pod_ends_place_is_named_and_left(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    host.run(["ip", "link", "del", "vethpn1"])
    host.run(["ip", "link", "add", "eth0", "type", "bridge"], netns=WEB)
    (conflict,) = node.plan().conflicts
    assert f"interface eth0 in {WEB} exists and is not podnet's (a link of kind bridge" in str(
        conflict
    )
    node.reconcile()
    (found,) = host.ip_json("address", "show", "eth0", netns=WEB)
    assert found["linkinfo"]["info_kind"] == "bridge" and "UP" not in found["flags"]
    assert found["addr_info"] == []
    host.run(["ip", "link", "del", "eth0"], netns=WEB)
    node.reconcile()
    assert node.plan() == Plan(())


def test_a_foreign_route_in_ours_place_is_named_and_left(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    host.run(["ip", "route", "replace", "default", "via", "172.17.0.9"], netns=WEB)
    done = node.reconcile()
    (conflict,) = done.conflicts
    assert f"route 0.0.0.0/0 in {WEB} exists and is not podnet's (a route of protocol 3)" in str(
        conflict
    )
    assert done.operations == ()
    (found,) = host.ip_json("route", "show", "default", netns=WEB)
    assert found["gateway"] == "172.17.0.9"


def test_what_others_add_to_a_running_sandbox_is_theirs(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    for command in (
        "ip address add 10.9.9.9/24 dev eth0",
        "ip route add 10.8.0.0/16 via 172.17.0.1",
        "ip link add own type bridge",
        "sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
    ):
        host.run(shlex.split(command), netns=WEB)
    assert node.plan() == Plan(())


def test_a_pod_end_that_was_given_another_name_keeps_it(host: Host) -> None:
    """Somebody in the sandbox did it: the agent says what it misses and breaks nothing."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    for command in ("ip link set eth0 down", "ip link set eth0 name net1", "ip link set net1 up"):
        host.run(shlex.split(command), netns=WEB)
    with pytest.raises(PodNetError, match="eth0"):
        node.reconcile()
    (found,) = host.ip_json("address", "show", "net1", netns=WEB)
    assert "UP" in found["flags"] and found["addr_info"][0]["local"] == "172.17.0.2"


def test_nothing_is_put_into_an_interface_that_took_a_pod_ends_name(host: Host) -> None:
    """The look was at the node alone: the kernel is who says that the name is taken."""
    node = Node(host)
    node.networks(NETWORK)
    made = node.attach("web")
    for command in (f"ip link del {made.host_end}", "ip -n podnet-web link add eth0 type bridge"):
        host.run(shlex.split(command))
    with pytest.raises(Conflict, match="eth0 exists already in /run/netns/podnet-web"):
        node.reconcile(pods=False)
    (found,) = host.ip_json("address", "show", "eth0", netns=WEB)
    assert (found["operstate"], found["addr_info"]) == ("DOWN", [])


def test_a_namespace_is_ours_by_the_id_in_its_name(host: Host) -> None:
    """What a killed agent left goes; what a person called podnet-something stays."""
    node = Node(host)
    node.networks(NETWORK)
    left, foreign = "podnet-0123456789ab", "podnet-experiment"
    for name in (left, foreign):
        host.run(["ip", "netns", "add", name])
    empty = host.path("/run/netns/podnet-ba9876543210")
    empty.touch()
    assert words(node.reconcile()) == [
        f"Remove namespace /run/netns/{empty.name}",
        f"Remove namespace /run/netns/{left}",
    ]
    assert [each["name"] for each in host.ip_json("netns")] == [foreign]
    assert not empty.exists()


def test_links_named_like_ours_without_our_mark_stay(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    for command in (
        "ip link add pn-1234 type bridge",
        "ip link add vethpn77 type veth peer name vethpn78",
        "ip route add 10.1.0.0/16 dev podnet0 proto static",
    ):
        host.run(shlex.split(command))
    assert node.plan() == Plan(())


def test_settings_are_given_back_once(host: Host) -> None:
    """What podnet found is what it leaves; after that there is nothing left to do."""
    node = Node(host)
    node.networks(DUAL)
    assert host.sysctl("net.ipv4.ip_forward") == "1"
    gone = words(node.networks())
    assert {
        "Remove sysctl net/ipv6/conf/all/forwarding",
        "Remove sysctl net/ipv4/ip_forward",
    } <= set(gone)
    assert host.sysctl("net.ipv4.ip_forward") == "0"
    assert node.plan() == Plan(())
