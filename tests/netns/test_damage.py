"""What was damaged is repaired, exactly: no more than what is missing."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from podnet.errors import PodNetError
from podnet.objects import HOST
from podnet.plan import Plan
from support.host import Host, until
from support.node import Node, words
from support.traffic import Place, icmp, reach, serve, tcp, udp
from support.values import DUAL, NETWORK, netns

PORT = 8080
WEB, DB = netns("web"), netns("db")
BEYOND = ("192.0.2.77", "2001:db8:77::77")
"""Addresses of the node that only a default route leads to."""


@pytest.fixture(scope="module")
def built() -> Iterator[Node]:
    """A node with two sandboxes; every test leaves it as it was."""
    with Host("damage") as host:
        host.run(["ip", "address", "add", f"{BEYOND[0]}/32", "dev", "lo"])
        host.run(["ip", "address", "add", f"{BEYOND[1]}/128", "dev", "lo", "nodad"])
        node = Node(host)
        network = replace(DUAL, pod_mtu=1400)
        node.networks(network)
        node.attach("web", network)
        node.attach("db", network)
        with serve(Place(host, DB), PORT):
            yield node


@dataclass(frozen=True)
class Damage:
    """Commands that do it, in the node or in the namespace of `web`, and what repairs it."""

    name: str
    commands: str
    repair: tuple[str, ...]
    inside: bool = False


POD_END = (
    "Add sysctl net/ipv4/conf/eth0/accept_redirects",
    "Add sysctl net/ipv6/conf/eth0/accept_dad",
    "Add sysctl net/ipv6/conf/eth0/accept_ra",
    "Add sysctl net/ipv6/conf/eth0/accept_redirects",
    "Add address eth0 172.17.0.2/16",
    "Add address eth0 fd00:17::2/64",
    "Add interface eth0",
    "Add route 0.0.0.0/0",
    "Add route ::/0",
)
DAMAGES = (
    Damage("a host end deleted", "ip link del vethpn1", ("Add link vethpn1", *POD_END)),
    Damage("a pod end deleted", "ip link del eth0", ("Add link vethpn1", *POD_END), inside=True),
    Damage(
        "the bridge deleted",
        "ip link del podnet0",
        (
            "Add link podnet0",
            "Add sysctl net/ipv4/conf/podnet0/route_localnet",
            "Add sysctl net/ipv6/conf/podnet0/accept_dad",
            "Add sysctl net/ipv6/conf/podnet0/accept_ra",
            "Add sysctl net/ipv6/conf/podnet0/disable_ipv6",
            "Change link vethpn1",
            "Change link vethpn2",
            "Add address podnet0 172.17.0.1/16",
            "Add address podnet0 fd00:17::1/64",
            "Add interface podnet0",
        ),
    ),
    Damage("a port moved out", "ip link set vethpn1 nomaster", ("Change link vethpn1",)),
    Damage(
        "a port moved elsewhere",
        "ip link add foreign type bridge; ip link set vethpn1 master foreign; ip link del foreign",
        ("Change link vethpn1",),
    ),
    Damage("a port down", "ip link set vethpn1 down", ("Change link vethpn1",)),
    Damage(
        "a port that turns frames round",
        "ip link set vethpn1 type bridge_slave hairpin on",
        ("Change link vethpn1",),
    ),
    Damage(
        "isolated ports",
        "bridge link set dev vethpn1 isolated on; bridge link set dev vethpn2 isolated on",
        ("Change link vethpn1", "Change link vethpn2"),
    ),
    Damage(
        "a port with a smaller MTU, which the bridge does not follow",
        "ip link set vethpn1 mtu 1280",
        ("Change link vethpn1",),
    ),
    Damage("the bridge with another MTU", "ip link set podnet0 mtu 1280", ("Change link podnet0",)),
    Damage(
        "the bridge with another MAC",
        "ip link set podnet0 address 02:00:00:00:00:09",
        ("Change link podnet0",),
    ),
    Damage(
        "the bridge with an ear for multicast groups",
        "ip link set podnet0 type bridge mcast_snooping 1",
        ("Change link podnet0",),
    ),
    Damage(
        "the bridge down",
        "ip link set podnet0 down",
        ("Add address podnet0 fd00:17::1/64", "Add interface podnet0"),
    ),
    Damage(
        "no aliases",
        "ip link set podnet0 alias ''; ip link set vethpn1 alias ''",
        ("Change link podnet0", "Change link vethpn1"),
    ),
    Damage(
        "the bridge's addresses flushed",
        "ip address flush dev podnet0",
        ("Add address podnet0 172.17.0.1/16", "Add address podnet0 fd00:17::1/64"),
    ),
    Damage(
        "an address too many on the bridge",
        "ip address add 10.9.9.9/32 dev podnet0",
        ("Remove address podnet0 10.9.9.9/32",),
    ),
    Damage(
        "the bridge's own routes deleted",
        "ip route del 172.17.0.0/16; ip -6 route del fd00:17::/64 dev podnet0",
        ("Change address podnet0 172.17.0.1/16", "Change address podnet0 fd00:17::1/64"),
    ),
    Damage(
        "forwarding off",
        "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0",
        ("Change sysctl net/ipv4/ip_forward", "Change sysctl net/ipv6/conf/all/forwarding"),
    ),
    Damage(
        "the bridge's settings",
        "sysctl -qw net.ipv4.conf.podnet0.route_localnet=0",
        ("Change sysctl net/ipv4/conf/podnet0/route_localnet",),
    ),
    Damage("lo down", "ip link set lo down", ("Add interface lo",), inside=True),
    Damage(
        "eth0 down, which takes IPv6 and the routes along",
        "ip link set eth0 down",
        ("Add address eth0 fd00:17::2/64", "Add interface eth0", *POD_END[-2:]),
        inside=True,
    ),
    Damage("another MTU", "ip link set eth0 mtu 1300", ("Change interface eth0",), inside=True),
    Damage(
        "another MAC",
        "ip link set eth0 address 02:00:00:00:00:08",
        ("Change interface eth0",),
        inside=True,
    ),
    Damage(
        "addresses flushed, which takes IPv4's default route along",
        "ip address flush dev eth0",
        ("Add address eth0 172.17.0.2/16", "Add address eth0 fd00:17::2/64", "Add route 0.0.0.0/0"),
        inside=True,
    ),
    Damage(
        "default routes deleted",
        "ip route del default; ip -6 route del default",
        POD_END[-2:],
        inside=True,
    ),
    Damage(
        "all routes flushed",
        "ip route flush table main; ip -6 route flush table main",
        (
            "Change address eth0 172.17.0.2/16",
            "Change address eth0 fd00:17::2/64",
            *POD_END[-2:],
        ),
        inside=True,
    ),
    Damage(
        "a setting inside",
        "sysctl -qw net.ipv4.ping_group_range='1 0'",
        ("Change sysctl net/ipv4/ping_group_range",),
        inside=True,
    ),
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_repaired_exactly(built: Node, damage: Damage) -> None:
    """S22, S26: the plan is what is missing and nothing else, and the pods' traffic is back."""
    assert built.plan() == Plan(())
    for command in damage.commands.split("; "):
        built.host.run(shlex.split(command), netns=WEB if damage.inside else None)
    done = built.reconcile()
    assert (words(done), done.conflicts) == (list(damage.repair), ())
    assert built.plan() == Plan(())
    place = Place(built.host, WEB)
    for target in (
        tcp("172.17.0.3", PORT),
        udp("fd00:17::3", PORT),
        *map(icmp, BEYOND),
        icmp("172.17.0.1"),
        icmp("fd00:17::1"),
        icmp("127.0.0.1"),
    ):
        reach(place, target)
    for address in ("172.17.0.2", "fd00:17::2"):
        reach(Place(built.host), icmp(address))


def test_the_table_comes_back_with_what_was_in_it(built: Node) -> None:
    """S13: somebody flushes all rules of the machine."""
    before = built.host.nft_json("-s", "list", "table", "inet", "podnet")
    built.host.run(["nft", "flush", "ruleset"])
    assert any("ruleset" in word for word in words(built.reconcile()))
    assert built.plan() == Plan(())
    after = built.host.nft_json("-s", "list", "table", "inet", "podnet")
    assert without_handles(after) == without_handles(before)


def without_handles(objects: list[Any]) -> list[Any]:
    """What nft lists, but for the numbers that a reload gives anew, in any order."""
    bare = [
        {
            kind: {name: value for name, value in body.items() if name != "handle"}
            for kind, body in each.items()
        }
        for each in objects
    ]
    return sorted(bare, key=repr)


def test_a_namespace_that_is_gone_is_missed_with_all_that_was_in_it(host: Host) -> None:
    """S36: `ip netns del` of a running sandbox's namespace."""
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    there = {key for key in node.look().seen if key[1] == WEB}
    host.run(["ip", "netns", "del", "podnet-web"])
    until(lambda: "vethpn1" not in host.links(), "the end of the namespace, and of the pair")
    missed = {each.what.key for each in node.plan().operations}
    assert missed == there | {("namespace", HOST, WEB), ("link", HOST, "vethpn1")}


def test_a_port_taken_away_for_good_leaves_a_bridge_of_the_same_mtu(host: Host) -> None:
    """A bridge whose MTU nobody had set would fall back to 1500 with its last port."""
    node = Node(host)
    network = replace(NETWORK, pod_mtu=1400)
    node.networks(network)
    node.attach("web", network)
    node.detach("web")
    assert node.plan() == Plan(())
    assert host.links()["podnet0"]["mtu"] == 1400


def test_links_with_new_names_are_taken_away_and_made_anew(host: Host) -> None:
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    node.attach("db", DUAL)
    for command in (
        "ip link set podnet0 name other0",
        "ip link set vethpn1 down",
        "ip link set vethpn1 name other1",
    ):
        host.run(shlex.split(command))
    assert words(node.plan())[:2] == ["Remove link other1", "Remove link other0"]
    with pytest.raises(PodNetError, match="eth0 exists already"):  # until the old pair is swept
        node.reconcile()
    node.call("apply", ())
    node.reconcile()
    assert node.plan() == Plan(())
    assert not {"other0", "other1"} & set(host.links())
    reach(Place(host, WEB), icmp("172.17.0.3"))
