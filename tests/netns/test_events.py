"""The agent looks when something of ours changed, and not when others, or itself, were busy."""

import shlex
import time
from collections.abc import Callable

import pytest

from podnet.attachment import PublishedPort
from podnet.plan import Plan
from support.host import Host, until
from support.node import Node
from support.podnet import Podnet
from support.values import DUAL
from support.wire import connect

WITHIN = 1.0
"""Seconds from the kernel's event to the repair, at most."""


@pytest.fixture
def node(make_host: Callable[..., Host]) -> Node:
    """A node with an uplink and one sandbox, whose news are read so far."""
    host = make_host()
    connect(host, make_host("outside"))
    host.run(["iptables-nft", "-P", "FORWARD", "ACCEPT"])  # so that its tables are there
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    settle(node)
    return node


def settle(node: Node) -> None:
    """Wait until links have their carrier, which the kernel tells a little later."""
    until(
        lambda: all(link["operstate"] in ("UP", "UNKNOWN") for link in node.host.links().values()),
        "carrier",
    )
    node.heard()


def do(node: Node, *commands: str) -> None:
    """Run commands on the node."""
    for command in commands:
        node.host.run(shlex.split(command))


@pytest.mark.parametrize(
    "command",
    [
        "ip link del vethpn1",
        "ip netns exec podnet-web ip link del eth0",
        "ip link set vethpn1 nomaster",
        "ip link set vethpn1 down",
        "ip link set vethpn1 mtu 1400",
        "ip link set vethpn1 alias ''",
        "ip link set vethpn1 type bridge_slave isolated on",
        "bridge link set dev vethpn1 hairpin on",
        "ip link del podnet0",
        "ip link set podnet0 down",
        "ip link set podnet0 mtu 1400",
        "ip link set podnet0 address 02:00:00:00:00:09",
        "ip link set podnet0 type bridge mcast_snooping 1",
        "ip address del 172.17.0.1/16 dev podnet0",
        "ip address del fd00:17::1/64 dev podnet0",
        "ip address add 10.9.9.9/32 dev podnet0",
        "ip route del 172.17.0.0/16 dev podnet0",
        "ip route add 10.9.0.0/16 dev podnet0 proto 142",
        "ip link set eth0 mtu 1400",
        "ip link set eth0 down",
        "ip address add 203.0.113.9/24 dev eth0",
        "ip route del default",
        "ip route add default dev eth0 metric 5",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv6.conf.all.forwarding=0",
        "nft flush ruleset",
        "nft delete element inet podnet pn_bridges '{ podnet0 }'",
        "nft add element inet podnet pn_bridges '{ eth7 }'",
        "nft flush chain inet podnet pn_fwd",
        "iptables-nft -P FORWARD DROP",
        "iptables-nft -A FORWARD -j DROP",
        "iptables-nft -F FORWARD",
    ],
)
def test_what_concerns_us_is_heard_at_once(node: Node, command: str) -> None:
    """S13, S22, S26: no look is needed to find out that one is needed."""
    if "-F FORWARD" in command:
        do(node, "iptables-nft -A FORWARD -j ACCEPT")
    node.heard()
    do(node, command)
    start = time.monotonic()
    until(node.heard, f"news of {command}", WITHIN)
    node.reconcile()
    assert time.monotonic() - start < WITHIN


@pytest.mark.parametrize(
    "commands",
    [
        pytest.param(
            (
                "ip link add va type veth peer name vb",
                "ip link set va up",
                "ip link set vb up",
                "ip link set va mtu 1400",
                "ip address add 10.9.9.9/24 dev va",
                "ip address add 2001:db8:9::9/64 dev va",
                "ip link del va",
            ),
            id="somebody's links come and go",
        ),
        pytest.param(
            (
                "ip address change 192.0.2.1/24 dev eth0 valid_lft 9000 preferred_lft 9000",
                "ip address add 192.0.2.99/24 dev eth0",
                "ip address add 2001:db8:0:2::99/64 dev eth0 nodad preferred_lft 0",
                "ip address del 192.0.2.99/24 dev eth0",
            ),
            id="the uplink's addresses are told again or do not last",
        ),
        pytest.param(
            (
                "ip link add br9 type bridge",
                "ip link set br9 alias 'docker thing'",
                "ip link set br9 up",
                "ip link set br9 down",
                "ip link del br9",
            ),
            id="somebody's bridge",
        ),
        pytest.param(
            (
                "ip address add 192.0.2.99/24 dev eth0",
                "ip route add 10.8.0.0/16 via 192.0.2.2",
                "ip route replace 10.8.0.0/16 via 192.0.2.3",
                "ip route del 10.8.0.0/16",
                "ip route add default via 192.0.2.2 table 100",
                "ip route replace default via 192.0.2.2",
            ),
            id="routes of other programs",
        ),
        pytest.param(
            (
                "nft add table inet other",
                "nft add chain inet other c '{ type filter hook forward priority 0; }'",
                "nft add rule inet other c accept",
                "nft delete table inet other",
            ),
            id="other tables",
        ),
        pytest.param(
            (
                "iptables-nft -t nat -A POSTROUTING -j MASQUERADE",
                "iptables-nft -A INPUT -j ACCEPT",
                "iptables-nft -N DOCKER",
                "iptables-nft -A DOCKER -j ACCEPT",
            ),
            id="chains that nobody forwards by",
        ),
        pytest.param(
            (
                "ip netns exec podnet-web ip address add 10.9.9.9/32 dev eth0",
                "ip netns exec podnet-web ip link set lo down",
                "ip netns exec podnet-web sysctl -qw net.ipv4.ip_forward=0",
            ),
            id="what goes on in a sandbox",
        ),
        pytest.param(
            ("sysctl -qw net.ipv4.conf.eth0.forwarding=0", "sysctl -qw net.ipv4.ip_forward=1"),
            id="settings of other links",
        ),
    ],
)
def test_what_others_do_is_not(node: Node, commands: tuple[str, ...]) -> None:
    for command in commands:
        do(node, command)
        assert not node.heard(), command
    do(node, "ip link del vethpn1")
    assert node.heard()


def test_what_the_agent_does_itself_is_not(node: Node) -> None:
    """Else every attach would be followed by a look, and every repair by another."""
    assert not node.heard()
    ports = (PublishedPort(8080, 80), PublishedPort(8053, 53, "udp"))
    node.attach("db", DUAL, ports=ports)
    assert not node.heard(), "an attach"
    until(lambda: node.host.links()["vethpn2"]["operstate"] == "UP", "carrier")
    assert not node.heard(), "the carrier of a new link"
    node.call("unwire", "db")
    assert not node.heard(), "a detach"
    node.detach("db")
    assert not node.heard(), "the end of a namespace and of its link"
    node.detach("web")
    assert not node.heard(), "the last port of a bridge"
    do(node, "ip link del podnet0")
    assert node.heard()


@pytest.mark.parametrize("command", ["ip link del podnet0", "nft flush ruleset", "true"])
def test_a_repair_brings_one_more_look_at_most(node: Node, command: str) -> None:
    do(node, command)
    node.reconcile()
    node.heard()
    assert node.reconcile() == Plan(())
    until(lambda: node.host.links()["vethpn1"]["operstate"] == "UP", "carrier")
    node.heard()
    assert node.reconcile() == Plan(())
    assert not node.heard()


def test_news_that_were_lost_count_as_news(node: Node) -> None:
    """More than the buffer holds: the kernel drops some and says so."""
    do(node, "ip link add va up type veth peer name vb")
    lines = [f"link set va alias {n}\n" for n in range(9_000)]
    node.host.run(["ip", "-batch", "-"], input="".join(lines))
    assert node.heard()
    assert not node.heard()
    do(node, "ip link set vethpn1 mtu 1400")
    assert node.heard()


def test_an_uplink_that_went_and_came_again_is_one(node: Node) -> None:
    """S25: routes go with a link that goes down, without a word."""
    for command in (
        "ip link set eth0 down",
        "ip link set eth0 up",
        "ip route add default via 192.0.2.2",
        "ip link set eth0 mtu 1400",
        "ip route replace default via 192.0.2.3",
        "ip route replace default via 192.0.2.2",
    ):
        do(node, command)
        heard = node.heard()
        assert heard or command == "ip link set eth0 up", command
    do(node, "ip link set eth0 mtu 1500")
    assert node.heard()


def test_the_agent_repairs_within_a_second_and_rests(host: Host) -> None:
    podnet = Podnet(host)
    podnet.agent()
    until(lambda: "podnet0" in host.links(), "the default network")
    for command, is_right in (
        ("ip link del podnet0", lambda: "podnet0" in host.links()),
        ("nft flush ruleset", host.nft_json),
        ("sysctl -qw net.ipv4.ip_forward=0", lambda: host.sysctl("net/ipv4/ip_forward") == "1"),
    ):
        host.run(shlex.split(command))
        until(is_right, f"repair of {command}", WITHIN)
    until(lambda: "route_localnet" in podnet.log(), "the log")
    assert podnet.log().count("ip link add podnet0") == 2, "at the start, and once more"


def test_a_link_in_the_way_that_goes_is_news(host: Host) -> None:
    """A conflict ends with the link that was in a bridge's place."""
    host.run(["ip", "link", "add", "podnet0", "type", "bridge"])
    node = Node(host)
    assert node.networks(DUAL).conflicts
    node.heard()
    host.run(["ip", "link", "del", "podnet0"])
    assert node.heard()
    assert not node.reconcile().conflicts
