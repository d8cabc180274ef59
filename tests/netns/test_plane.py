"""The flat plane: who reaches whom between sandboxes of two nodes, as whom; with /32 and /128."""

from collections.abc import Iterator

import pytest

from support.nodes import Nodes
from support.traffic import Outcome, Place, ask, blocked, icmp, reach, serve, tcp, udp


@pytest.fixture(scope="module", params=[False, True], ids=["bridged past nft", "through nft"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """Two nodes; sandboxes web, near and blue on the first, far and azure on the second.

    S18: once with br_netfilter, and once without.
    """
    with Nodes() as cluster:
        api = cluster.api
        api.network("default", "10.1.0.0/16", "fd01::/48")
        api.network("other", "10.2.0.0/16")
        for number, node in enumerate("ab", start=1):
            api.share("default", node, f"10.1.{number}.0/24", f"fd01:0:0:{number}::/64")
            api.share("other", node, f"10.2.{number}.0/24")
            cluster.node(node, number, bridge_nf=request.param)
        ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}]
        cluster.sandbox("web", "a", {"ports": ports})
        for name, node, network in (
            ("near", "a", "default"),
            ("far", "b", "default"),
            ("blue", "a", "other"),
            ("azure", "b", "other"),
        ):
            cluster.sandbox(name, node, network)
        with serve(cluster.place("web"), 80, name="web"), serve(cluster.place("blue"), 80):
            yield cluster


@pytest.mark.parametrize("family", [0, 1], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("name", ["near", "far"])
def test_a_sandbox_is_seen_by_its_own_address(cluster: Nodes, name: str, family: int) -> None:
    for target in tcp, udp:
        answer = reach(cluster.place(name), target(cluster.ip("web", family), 80))
        assert answer.peer == cluster.ip(name, family)


def test_a_node_and_its_sandboxes_reach_each_other(cluster: Nodes) -> None:
    a, b = cluster.nodes["a"], cluster.nodes["b"]
    assert reach(Place(a.host), tcp(cluster.ip("web"), 80)).peer == "10.1.1.1"
    assert reach(Place(b.host), tcp(cluster.ip("web"), 80)).peer == b.address
    with serve(Place(a.host), 90):
        assert reach(cluster.place("near"), tcp(a.address, 90)).peer == cluster.ip("near")
        assert reach(cluster.place("far"), tcp(a.address, 90)).peer == b.address  # masqueraded


def test_outside_a_sandbox_is_seen_as_its_node(cluster: Nodes) -> None:
    with serve(Place(cluster.outside), 80):
        answer = reach(cluster.place("far"), tcp(cluster.switch.OUTSIDE, 80))
    assert answer.peer == cluster.nodes["b"].address


def test_a_published_port_is_reached_from_everywhere_and_hides_nobody(cluster: Nodes) -> None:
    """S16, S18: from outside, the own node, a neighbour, another node, another network, itself."""
    a = cluster.nodes["a"]
    port = tcp(a.address, 8080)
    assert reach(Place(cluster.outside), port).peer == str(cluster.switch.gateways[0])
    assert reach(Place(a.host), port)
    assert reach(Place(a.host), tcp("127.0.0.1", 8080))
    assert reach(cluster.place("near"), port).peer == cluster.ip("near")
    assert reach(cluster.place("far"), port).peer == cluster.nodes["b"].address
    assert reach(cluster.place("blue"), port)
    assert reach(cluster.place("azure"), port)
    assert reach(cluster.place("web"), port)


def test_networks_are_kept_apart_on_one_node_and_between_two(cluster: Nodes) -> None:
    blue = tcp(cluster.ip("blue"), 80)
    reach(cluster.place("azure"), blue)
    for name in ("near", "far"):
        answer = blocked(cluster.place(name), blue, beside=tcp(cluster.ip("web"), 80))
        assert answer.outcome is Outcome.SILENT
    blocked(cluster.place("azure"), tcp(cluster.ip("web"), 80), beside=blue)


def test_a_share_that_nobody_has_is_unreachable(cluster: Nodes) -> None:
    """Nothing leaves by the default route because a node is not known (yet)."""
    for place in cluster.place("azure"), Place(cluster.nodes["b"].host):
        # Of a sandbox that has asked much the kernel may be tired: some ICMP messages a second.
        (answer,) = ask(place, tcp("10.2.77.2", 80), seconds=3)
        assert answer.outcome is Outcome.UNREACHABLE


def test_neighbours_meet_through_their_node_alone(cluster: Nodes) -> None:
    """Ports are isolated, but where frames pass nft: there DNAT bridges what it translates."""
    near, web = cluster.place("near"), cluster.ip("web")
    assert near.netns is not None
    reach(near, icmp(web))
    (eth0,) = near.host.ip_json("address", "show", "eth0", netns=near.netns)
    assert {one["prefixlen"] for one in eth0["addr_info"] if one["scope"] == "global"} == {32, 128}
    route = ["ip", "route", "replace", web, "dev", "eth0"]
    near.host.run(route, netns=near.netns)
    if cluster.nodes["a"].host.sysctl("net.bridge.bridge-nf-call-iptables") == "0":
        blocked(near, icmp(web), beside=icmp("10.1.1.1"))
    near.host.run(["ip", "route", "delete", web, "dev", "eth0"], netns=near.netns)
    reach(near, icmp(web))
