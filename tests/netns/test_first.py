"""The network `default` of a node that nothing but its own Node is known of yet."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.host import until
from support.nodes import Node, Nodes
from support.traffic import Stream, icmp, reach, serve, uninterrupted

SHIPPED = Path(__file__).parents[2] / "deploy/base/network.yaml"
V4, V6 = "10.1.{}.0/24", "fd01:0:0:{}::/64"
PAUSE = 1000.0
"""Milliseconds that a busy machine may stand still."""


@pytest.fixture
def cluster() -> Iterator[Nodes]:
    """Nodes a and b exist, and neither networks nor shares, nor their kinds."""
    with Nodes() as cluster:
        for plural in ("podnetworks", "nodesubnets"):
            cluster.api.drop_kind(plural)
        for number, name in enumerate("ab", start=1):
            cluster.api.node(name, V4.format(number), V6.format(number))
        yield cluster


def first(cluster: Nodes) -> Node:
    """Node a, whose agent knows what comes with the installation."""
    a = cluster.node("a", 1, start=False)
    folder = a.host.path("/etc/podnet/networks")
    folder.mkdir(parents=True)
    (folder / "network.yaml").write_bytes(SHIPPED.read_bytes())
    a.agent()
    return a


def bridge(node: Node) -> tuple[int, set[str]]:
    """Index and addresses of podnet0."""
    until(lambda: "podnet0" in node.host.links(), f"a bridge on {node.name}")
    (link,) = node.host.ip_json("address", "show", "podnet0")
    found = {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"]}
    return link["ifindex"], {each for each in found if not each.startswith("fe80")}


def kinds_on_disk(node: Node) -> list[str]:
    """Of what the node would boot with, without an API server."""
    file = node.host.path("/var/lib/podnet/cluster.json")
    if not file.exists():
        return []
    return [each["kind"] for each in json.loads(file.read_text())["objects"]]


def operate(cluster: Nodes) -> None:
    """What an operator makes of it."""
    for plural in ("podnetworks", "nodesubnets"):
        cluster.api.restore_kind(plural)
    cluster.api.put("PodNetwork", "default", {"backend": {"type": "HostGateway"}})
    for number, name in enumerate("ab", start=1):
        cluster.api.share("default", name, V4.format(number), V6.format(number))
    addresses = ["192.0.2.2", "2001:db8:0:2::2"]
    cluster.api.set_status("NodeSubnet", "default.b", {"nodeAddresses": addresses})


def test_a_node_needs_nothing_but_its_own_cidrs(cluster: Nodes) -> None:
    """And nothing of it changes when the operator has cut the same share."""
    a = first(cluster)
    before = bridge(a)
    assert before[1] == {"10.1.1.1/24", "fd01:0:0:1::1/64"}
    one, two = cluster.sandbox("one", "a"), cluster.sandbox("two", "a")
    assert one.startswith("10.1.1.") and two.startswith("10.1.1.")
    with serve(cluster.place("one"), 80), Stream(cluster.place("two"), one, 80) as stream:
        operate(cluster)
        a.follows(V4.format(2), "192.0.2.2")
        cluster.api.wait_ready("NodeSubnet", "default.a")
        uninterrupted(stream, PAUSE)
    assert bridge(a) == before
    assert (cluster.ip("one"), cluster.ip("two")) == (one, two)


def test_a_node_that_waits_for_its_cidrs_gets_its_network_with_them(cluster: Nodes) -> None:
    cluster.api.node("a")
    a = first(cluster)
    cluster.api.sandbox("web", "a")
    waits = "no share for node a"
    until(
        lambda: waits in cluster.api.condition("PodSandbox", "web").get("message", ""),
        "it to say what it waits for",
    )
    cluster.api.node("a", V4.format(1))
    cluster.api.wait_ready("PodSandbox", "web")
    assert bridge(a)[1] == {"10.1.1.1/24"}


def test_a_node_boots_without_the_api_server_and_without_an_operator_ever(cluster: Nodes) -> None:
    """S37."""
    a = first(cluster)
    before = bridge(a)[1]
    until(lambda: kinds_on_disk(a) == ["Node"], "the Node to be on disk")
    cluster.api.stop()
    a.wipe()
    a.agent()
    assert bridge(a)[1] == before


def test_a_node_that_is_deleted_under_its_sandboxes_keeps_their_network(cluster: Nodes) -> None:
    a = first(cluster)
    one, _ = cluster.sandbox("one", "a"), cluster.sandbox("two", "a")
    until(lambda: "Node" in kinds_on_disk(a), "the Node to be on disk")
    cluster.api.delete("Node", "a")
    until(lambda: "Node" not in kinds_on_disk(a), "the agent to know")
    a.restart()
    reach(cluster.place("two"), icmp(one))
    for name in ("one", "two"):
        cluster.delete(name)
    until(lambda: "podnet0" not in a.host.links(), "the bridge to be gone")


def test_an_installation_without_the_network_has_none(cluster: Nodes) -> None:
    a = cluster.node("a", 1)
    cluster.api.sandbox("web", "a")
    until(
        lambda: cluster.api.condition("PodSandbox", "web").get("reason") == "PodNetworkMissing",
        "it to say so",
    )
    assert "podnet0" not in a.host.links()
