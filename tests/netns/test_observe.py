"""What was built is seen as built, also while others are busy; what is gone is no obstacle."""

import shlex
import socket
from dataclasses import replace
from typing import Any

import pytest

from podnet.objects import HOST, Netns, Veth
from podnet.plan import Plan, plan
from podnet_agent.links import links
from podnet_agent.namespaces import entered, route_socket
from support.host import Host, until
from support.node import Node
from support.traffic import Place, icmp, reach
from support.values import DUAL, NETWORK, V6, netns

V6_ONLY = replace(NETWORK, subnets=(V6,), pod_cidrs=(V6,))
WEB = netns("web")


# --- what was built ---


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        pytest.param(NETWORK, {}, id="IPv4"),
        pytest.param(DUAL, {}, id="both families"),
        pytest.param(V6_ONLY, {}, id="IPv6"),
        pytest.param(DUAL, {"mac": "0a:00:00:00:00:fe"}, id="a MAC of one's own"),
        pytest.param(DUAL, {"routes": ()}, id="no routes"),
        pytest.param(replace(DUAL, pod_mtu=9000), {}, id="large frames"),
        pytest.param(replace(DUAL, pod_mtu=1280), {}, id="small frames"),
        pytest.param(replace(DUAL, hairpin=True), {}, id="hairpin"),
        pytest.param(replace(DUAL, bridge="a-bridge.of_15b"), {}, id="a bridge's longest name"),
    ],
)
def test_what_was_built_needs_nothing_more(
    host: Host, network: Any, fields: dict[str, Any]
) -> None:
    node = Node(host)
    node.networks(network)
    for name in ("web", "db"):
        node.attach(name, network, **fields if name == "web" else {})
    assert node.plan() == Plan(())
    node.detach("web")
    node.detach("db")
    assert node.plan() == Plan(())


def test_a_machine_whose_new_links_get_no_ipv6_has_it_on_our_bridge(host: Host) -> None:
    """S27: IPv6 is off by default, as many hardened machines have it, and on where it is wanted."""
    host.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    assert node.plan() == Plan(())
    assert host.sysctl("net/ipv6/conf/default/disable_ipv6") == "1"
    reach(Place(host, WEB), icmp("fd00:17::1"))


def test_a_sandbox_without_a_network_needs_nothing_more(host: Host) -> None:
    node = Node(host)
    node.call("make_namespace", "web")
    assert node.plan() == Plan(())
    assert ("interface", WEB, "lo") in node.look().seen


def test_only_links_in_use_are_seen(host: Host) -> None:
    """A link in the trash belongs to nobody, whatever its name says."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    node.call("unwire", "web")
    assert "vethpn1" in host.links()
    assert ("link", HOST, "vethpn1") not in node.look().seen


def test_a_look_says_nothing_of_what_came_after_it_began(host: Host) -> None:
    """S6: a slow look does not take a new sandbox for one that is not wanted."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    early = node.call("podnet_agent.observe:observe", (), 0, {})
    assert not any(key[2] == "vethpn1" for key in early.seen)
    late = node.call("podnet_agent.observe:observe", (), 1, {})
    assert late.seen["link", HOST, "vethpn1"].ours


def test_the_indexes_of_a_pair_are_told(host: Host) -> None:
    node = Node(host)
    node.networks(NETWORK)
    node.attach("web")
    observed = node.look()
    veth = observed.seen["link", HOST, "vethpn1"]
    (inside,) = host.ip_json("link", "show", "eth0", netns=WEB)
    assert isinstance(veth.what, Veth) and veth.what.pod_netns == WEB
    assert (veth.ifindex, veth.peer_ifindex) == (
        host.links()["vethpn1"]["ifindex"],
        inside["ifindex"],
    )
    assert observed.seen["interface", WEB, "eth0"].ifindex == inside["ifindex"]


# --- what is gone already ---


@pytest.mark.parametrize(
    "command",
    [
        "ip link del vethpn1",
        "ip link del podnet0",
        "ip address flush dev podnet0",
        "ip netns del podnet-web",
        "nft flush ruleset",
        "true",
    ],
)
def test_gone_already_is_success(host: Host, command: str) -> None:
    """S2: whatever disappears between the look and the removal, removal goes on to its end."""
    node = Node(host)
    node.networks(DUAL)
    node.attach("web", DUAL)
    removals = plan((), node.look()).operations
    host.run(shlex.split(command))
    node.call("apply", removals)
    assert set(host.links()) == {"lo"}
    assert host.ip_json("netns") == []
    assert host.nft_json() == []


# --- while others are busy ---


class Counted(socket.socket):
    """A socket that counts what is asked through it."""

    sends = 0

    def send(self, *args: Any) -> int:
        """Ask."""
        self.sends += 1
        return super().send(*args)


def test_a_dump_that_was_interrupted_is_asked_for_again(host: Host) -> None:
    """The kernel says so of a dump that may lack what was there all the time."""
    names = [f"va{n}" for n in range(200)]
    lines = "".join(f"link add {name} type veth peer name {name}b\n" for name in names)
    host.run(["ip", "-batch", "-"], input=lines)
    there = {*names, *(f"{name}b" for name in names)}
    churn = "while :; do ip link add vx type veth peer name vy; ip link del vx; done"
    busy = host.popen(["sh", "-c", churn])
    dumped = 0
    with entered(Netns(str(host.netns_path))), Counted(fileno=route_socket().detach()) as route:

        def asked_again() -> bool:
            nonlocal dumped
            dumped += 1
            assert there <= {each.name for each in links(route)}
            return route.sends > dumped

        until(asked_again, "a dump that was interrupted", 10)
    busy.kill()
