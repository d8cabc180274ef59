"""A running agent repairs what others break, within a second, and touches nothing of theirs."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from support.bodies import network, published, sandbox
from support.host import Host, until
from support.podnet import Podnet
from support.traffic import Place, Stream, Target, ask, icmp, reach, serve, tcp, uninterrupted
from support.wire import connect

SECONDS = 1.0
"""From the kernel's event to the repair."""
ASKING = 1.0
"""What the questions themselves may take beyond that on a busy machine."""


def soon(place: Place, target: Target) -> None:
    """Fail unless it answers within the time. Each try is a new flow: one from before the repair
    may go on to lead astray."""
    until(lambda: ask(place, target, seconds=0.1)[0], f"{target} to answer", SECONDS + ASKING)


FOREIGN = """
ip link add pn-theirs address 02:00:00:00:00:99 type bridge
ip address add 198.51.100.1/24 dev pn-theirs
ip link add vethpnff type veth peer name vethpnfe
ip link set pn-theirs up
ip route add 203.0.113.0/24 dev pn-theirs proto 99
ip rule add from 203.0.113.9 table 142 priority 14200
nft add table inet podnet_of_theirs
nft add chain inet podnet_of_theirs pn_fwd '{ type filter hook forward priority -1; }'
nft add rule inet podnet_of_theirs pn_fwd counter comment '"podnet"'
nft add table ip podnet
"""
"""Links, addresses, routes and rules of somebody else's that look like ours."""


def theirs(host: Host) -> list[str]:
    """What of that stands now; a bridge without ports has carrier until it had one."""
    script = (
        "ip -o address show dev pn-theirs scope global; ip -o link show type bridge;"
        "ip -o link show type veth; ip route show proto 99; ip rule;"
        "nft -s list table inet podnet_of_theirs; nft list table ip podnet"
    )
    lines = host.run(["sh", "-ec", script]).stdout.splitlines()
    return [
        re.sub("<.*?>| qdisc .*| linkdown|master pn-theirs", "", line)
        for line in lines
        if "alias podnet " not in line
    ]


@dataclass
class Node:
    """A node with an agent, two networks, foreign things, and servers in the pods."""

    podnet: Podnet
    other: str  # the second network's bridge

    @property
    def host(self) -> Host:
        return self.podnet.host

    def shell(self, script: str) -> None:
        self.host.run(["sh", "-ec", script])

    def right(self) -> bool:
        """Whether every object of every sandbox is as it should be."""
        names = ("web", "client", "apart", "beside")
        done = [self.podnet.run("explain", name, check=False).returncode for name in names]
        return not any(done)


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Every test damages it, and sees it repaired."""
    with Host("node") as host:
        podnet = Podnet(host)
        host.run(["sh", "-ec", FOREIGN])
        podnet.agent()
        podnet.up(
            network("aside", subnets=["10.44.0.0/24"])
            + sandbox("web", net=published(8080))
            + sandbox("client")
            + sandbox("apart", net={"podNetwork": "aside"})
            + sandbox("beside", net={"podNetwork": "aside"})
        )
        bridge = podnet.json("get", "pnet", "aside")["status"]["bridge"]
        with serve(podnet.place("web"), 80), serve(podnet.place("apart"), 80):
            yield Node(podnet, bridge)


def hand(node: Node, name: str) -> str:
    """A sandbox's host end."""
    end: str = node.podnet.status(name)["interfaces"][0]["peer"]["name"]
    return end


Damage = Callable[[Node], str]
DAMAGE: dict[str, Damage] = {
    "the bridge is deleted": lambda node: "ip link del podnet0",
    "the bridge is set down": lambda node: "ip link set podnet0 down",
    "the bridge gets another MAC and MTU": lambda node: "ip link set podnet0 mtu 1300",
    "a host end is deleted": lambda node: f"ip link del {hand(node, 'web')}",
    "a host end is set down": lambda node: f"ip link set {hand(node, 'web')} down",
    "a host end leaves the bridge": lambda node: f"ip link set {hand(node, 'web')} nomaster",
    "a host end goes to another bridge": lambda node: (
        f"ip link set {hand(node, 'web')} master pn-theirs"
    ),
    "the bridge's address is flushed": lambda node: "ip address flush dev podnet0",
    "the bridge's route is deleted": lambda node: "ip route del 172.17.0.0/16",
    "the published port's element is deleted": lambda node: (
        "nft delete element inet podnet pn_any4 '{ tcp . 8080 }'"
    ),
    "the published port leads elsewhere": lambda node: (
        "nft delete element inet podnet pn_any4 '{ tcp . 8080 }';"
        "nft add element inet podnet pn_any4 '{ tcp . 8080 : 172.17.9.9 . 80 }'"
    ),
    "a rule is deleted": lambda node: "nft flush chain inet podnet pn_pre",
    "the table is deleted": lambda node: "nft delete table inet podnet",
    "every link of ours is deleted": lambda node: (
        f"ip link del {hand(node, 'web')}; ip link del {hand(node, 'client')}; ip link del podnet0"
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_what_is_broken_is_whole_within_a_second(damage: Damage, node: Node) -> None:
    """S13, S22, S26, S28: the other network's traffic goes on, what is foreign stays."""
    podnet = node.podnet
    script, before = damage(node), theirs(node.host)
    other = podnet.place("beside")
    with Stream(other, podnet.ip("apart"), 80) as stream:
        node.shell(script)
        soon(Place(node.host), tcp("127.0.0.1", 8080))
        soon(podnet.place("client"), tcp(podnet.ip("web"), 80))
        uninterrupted(stream)
    until(node.right, f"all to be right; the agent says:\n{podnet.log()[-2000:]}")
    until(lambda: theirs(node.host) == before, f"what is foreign to be as before: {before}")
    podnet.run("wait", "psb/web", "psb/client", "--for=condition=Ready", "--timeout=3s")


def test_a_flushed_ruleset_is_back(node: Node) -> None:
    """S13: with what others had in it gone, ours alone; established flows are not cut."""
    podnet = node.podnet
    with Stream(podnet.place("beside"), podnet.ip("apart"), 80) as stream:
        node.shell("nft flush ruleset")
        soon(Place(node.host), tcp("127.0.0.1", 8080))
        uninterrupted(stream)
    until(node.right, "all to be right")
    node.shell("nft list table inet podnet_of_theirs > /dev/null && exit 1; true")
    node.shell("\n".join(line for line in FOREIGN.splitlines() if line.startswith("nft")))


def test_status_follows_a_pair_that_was_made_anew(node: Node) -> None:
    """S28: the pair has other indexes by now; nothing goes by an old one."""
    (before,) = node.podnet.status("client")["interfaces"]
    node.shell(f"ip link del {before['peer']['name']}")

    def told() -> bool:
        (eth0,) = node.podnet.status("client")["interfaces"]
        netns = node.podnet.status("client")["netns"]["path"]
        there = node.host.ip_json("link", "show", "eth0", netns=netns)
        outside = node.host.links().get(eth0["peer"]["name"])
        return bool(
            outside
            and (outside["ifindex"], outside["link_index"])
            == (eth0["peer"]["ifindex"], eth0["ifindex"])
            and there[0]["ifindex"] == eth0["ifindex"]
        )

    until(told, "status to tell what is there", 3)
    assert node.podnet.status("client")["interfaces"][0]["peer"] != before["peer"]


def test_many_damages_at_once_are_one_repair(node: Node) -> None:
    for _ in range(5):
        node.shell("ip link del podnet0 || true; nft delete table inet podnet || true")
        time.sleep(0.02)
    reach(node.podnet.place("client"), tcp(node.podnet.ip("web"), 80), 3 * SECONDS)
    until(node.right, "all to be right")


def test_an_agent_repairs_what_was_broken_while_none_ran(node: Node) -> None:
    node.podnet.kill()
    node.shell(
        "nft delete table inet podnet; ip link del podnet0; sysctl -qw net.ipv4.ip_forward=0"
    )
    node.podnet.agent()
    reach(Place(node.host), tcp("127.0.0.1", 8080))
    reach(node.podnet.place("client"), tcp(node.podnet.ip("web"), 80))
    assert node.host.sysctl("net/ipv4/ip_forward") == "1"


def test_a_foreign_firewall_that_drops_is_passed_as_long_as_it_stands(
    make_host: Callable[..., Host],
) -> None:
    """S13, S15: FORWARD comes to drop while pods run, is flushed, is dropping no more."""
    host, outside = make_host("node"), make_host("outside")
    connect(host, outside)
    podnet = Podnet(host)
    podnet.up(sandbox("web", net=published(8080)))
    pod = podnet.place("web")
    reach(pod, icmp("192.0.2.2"))
    host.run(["iptables", "-P", "FORWARD", "DROP"])
    soon(pod, icmp("192.0.2.2"))
    with serve(pod, 80):
        reach(Place(outside), tcp("192.0.2.1", 8080))
        host.run(["iptables", "-F"])
        soon(Place(outside), tcp("192.0.2.1", 8080))
    reach(pod, icmp("192.0.2.2"))
    host.run(["iptables", "-P", "FORWARD", "ACCEPT"])
    until(lambda: "podnet" not in host.run(["iptables-save"]).stdout, "no rule that nobody needs")
    podnet.run("down")
    assert "podnet" not in host.run(["iptables-save"]).stdout
