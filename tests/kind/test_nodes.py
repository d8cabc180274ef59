"""Nodes come, go, return and are renumbered: every other node follows."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from support.cluster import BUSYBOX, Cluster
from support.host import until
from support.installing import without_operator
from support.plane import (
    Body,
    address,
    condition,
    container_address,
    event,
    follows,
    internal,
    pinging,
    podnetwork,
    ready,
    sandbox,
    says,
    shares,
)

AWAY = "192.0.2.77"
"""No address of the nodes' network (RFC 5737)."""


@pytest.fixture
def network(deployed: Cluster) -> Iterator[str]:
    """A network with a share on every node, which this test alone has."""
    name = f"test-{secrets.token_hex(3)}"
    deployed.apply(podnetwork(name, "10.80.0.0/16"))
    until(lambda: len(shares(deployed, name)) == 3, "three shares", 40)
    yield name
    deployed.kubectl("delete", "podnetwork", name, "--ignore-not-found", "--wait=false")


def free_address(cluster: Cluster) -> str:
    """One of the nodes' network that nobody has."""
    used = internal(cluster.nodes()[0])
    return str(ip_network(f"{used}/16", strict=False).broadcast_address - 77)


# --- a node that is only an object: the others treat it as any ---


@contextmanager
def registered(cluster: Cluster, name: str) -> Iterator[None]:
    """A Node exists for the length of the block; no machine is behind it."""
    taint = {"key": "podnet.dev/test", "effect": "NoSchedule"}
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    cluster.apply(node | {"spec": {"taints": [taint]}})
    try:
        yield
    finally:
        cluster.kubectl("delete", "node", name)


def reports(cluster: Cluster, share: str, *addresses: str) -> None:
    """What the node's agent would say."""
    status = json.dumps({"status": {"nodeAddresses": list(addresses)}})
    patch = ("--subresource=status", "--type=merge", "--patch", status)
    cluster.kubectl("patch", f"nsub/{share}", *patch)


@pytest.fixture
def imagined(deployed: Cluster) -> Iterator[str]:
    """The name of a node to register; afterwards it has no share of any network."""
    name = f"test-{secrets.token_hex(3)}"
    yield name
    for share in deployed.get("nsub", f"--field-selector=spec.nodeName={name}")["items"]:
        which = f"nsub/{share['metadata']['name']}"
        says(deployed, "NodeGone", which, word="NodePresent")
        deployed.kubectl("delete", which)


def test_a_node_that_joins_goes_and_returns_is_followed_everywhere(
    deployed: Cluster, network: str, imagined: str
) -> None:
    """S23: one share, and it is the same again under another uid; routes come and go."""
    there, share = free_address(deployed), f"{network}.{imagined}"
    nodes = [each["metadata"]["name"] for each in deployed.nodes()]
    with registered(deployed, imagined):
        (cidr,) = until(lambda: shares(deployed, network).get(imagined), "its share", 40)
        everywhere(deployed, nodes, cidr, "unreachable")  # while its agent says nothing
        reports(deployed, share, AWAY)
        for node in nodes:
            said = says(deployed, "NotOnLink", f"nsub/{network}.{node}", word="Reachable")
            assert f"node {imagined} ({AWAY}) is not on the same link" in said
            assert "backend HostGateway needs all nodes on one link" in said
            assert condition(deployed.get(f"nsub/{network}.{node}"))["status"] == "True"
        reports(deployed, share, there)
        everywhere(deployed, nodes, cidr, there)
        says(deployed, "AllRouted", f"nsub/{network}.{nodes[0]}", word="Reachable")
    gone = says(deployed, "NodeGone", f"nsub/{share}", word="NodePresent")
    assert "is freed 300 s after it went" in gone
    with registered(deployed, imagined):
        says(deployed, "Back", f"nsub/{share}", word="NodePresent")
        assert shares(deployed, network)[imagined] == [cidr]
        everywhere(deployed, nodes, cidr, there)  # still
    says(deployed, "NodeGone", f"nsub/{share}", word="NodePresent")
    deployed.kubectl("delete", f"nsub/{share}")  # as five minutes do
    everywhere(deployed, nodes, cidr, "")
    assert imagined not in shares(deployed, network)


def test_the_share_of_a_node_that_stays_gone_is_freed(
    deployed: Cluster, network: str, imagined: str
) -> None:
    """Five minutes after it went, as the condition says that the operator made then."""
    share = f"nsub/{network}.{imagined}"
    nodes = [each["metadata"]["name"] for each in deployed.nodes()]
    with registered(deployed, imagined):
        (cidr,) = until(lambda: shares(deployed, network).get(imagined), "its share", 40)
        everywhere(deployed, nodes, cidr, "unreachable")
    says(deployed, "NodeGone", share, word="NodePresent")
    with without_operator(deployed):
        went(deployed, share, seconds_ago=240)
    assert shares(deployed, network)[imagined] == [cidr]  # a minute is left
    until(lambda: imagined not in shares(deployed, network), "the share to be freed", 90)
    everywhere(deployed, nodes, cidr, "")


def went(cluster: Cluster, share: str, seconds_ago: int) -> None:
    """Have its condition say that the node went so long ago."""
    conditions = cluster.get(share)["status"]["conditions"]
    (index,) = [i for i, each in enumerate(conditions) if each["type"] == "NodePresent"]
    when = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    change = {
        "op": "replace",
        "path": f"/status/conditions/{index}/lastTransitionTime",
        "value": when.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    patch = ("--subresource=status", "--type=json", "--patch", json.dumps([change]))
    cluster.kubectl("patch", share, *patch)


def everywhere(cluster: Cluster, nodes: list[str], cidr: str, way: str) -> None:
    """Every node's route to that share leads there, or is gone."""
    for node in nodes:
        follows(cluster, node, cidr, way or None)


# --- nodes with sandboxes ---


def test_a_node_that_is_deleted_while_its_sandboxes_run_takes_nothing_along(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """S23: it may only be unknown to the cluster; registered anew it is what it was."""
    here, there = deployed.workers()
    for node in (here, there):
        deployed.apply(sandbox(node, namespace, node, podNetwork=network))
    pair = ready(deployed, namespace)
    share = deployed.get(f"nsub/{network}.{there}")
    says_used(deployed, f"nsub/{network}.{there}", 1)
    node = deployed.get(f"node/{there}")
    meta = {key: node["metadata"][key] for key in ("name", "labels", "annotations")}
    again = {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": node["spec"]}
    what = (f"psb/{there}", "--namespace", namespace)
    with pinging(deployed, *pair) as pings:
        deployed.kubectl("delete", "node", there)
        try:
            said = says(deployed, "NodeGone", *what, word="Scheduled")
            assert f"node {there} is not there: bring it back, or delete the PodSandbox" in said
            assert "Warning" in event(deployed, "NodeGone", *what)
            held = says(deployed, "HeldForPods", f"nsub/{network}.{there}", word="NodePresent")
            assert f"kubectl delete nodesubnet {network}.{there} frees the share" in held
        finally:
            deployed.kubectl("create", "--filename", "-", stdin=json.dumps(again))
        says(deployed, "Placed", *what, word="Scheduled")
        says(deployed, "Back", f"nsub/{network}.{there}", word="NodePresent")
    assert pings.lost == 0
    same = deployed.get(f"nsub/{network}.{there}")
    assert (same["metadata"]["uid"], same["spec"]) == (share["metadata"]["uid"], share["spec"])
    assert deployed.get(*what)["status"]["sandboxID"] == pair[1]["status"]["sandboxID"]
    deployed.kubectl("wait", f"node/{there}", "--for=condition=Ready", "--timeout=120s")


def says_used(cluster: Cluster, share: str, number: int) -> None:
    """Wait until its agent has said that so many addresses are in use."""
    until(
        lambda: cluster.get(share).get("status", {}).get("addressesUsed") == number,
        f"{share} to have {number} addresses in use",
        30,
    )


@contextmanager
def restarted_with_another_address(cluster: Cluster, node: str) -> Iterator[tuple[str, str]]:
    """As `docker restart` may do it: the old address, and the new one. Behind it all is as it was.

    A machine that is restarted loses all but its disk.
    """
    before = container_address(cluster, node)
    cluster.in_cluster("docker", "stop", "--time=5", node)
    command = ("--rm", "--name=podnet-test-squatter", "--network=kind", BUSYBOX, "sleep", "1000")
    cluster.in_cluster("docker", "run", "--detach", *command)
    cluster.in_cluster("docker", "start", node)
    try:
        yield before, container_address(cluster, node)
    finally:
        cluster.in_cluster("docker", "stop", "--time=5", node)
        cluster.in_cluster("docker", "rm", "--force", "podnet-test-squatter")
        cluster.in_cluster("docker", "start", node)
        assert container_address(cluster, node) == before


def test_a_worker_that_comes_back_with_another_address_is_followed(
    deployed: Cluster, namespace: str
) -> None:
    """S40, S23, S1: its sandboxes are built anew in its share, the other nodes' routes follow."""
    node, other = deployed.workers()
    for each in (node, other):
        deployed.apply(sandbox(each, namespace, each))
    old, far = ready(deployed, namespace)
    (cidr,) = shares(deployed, "default")[node]
    with restarted_with_another_address(deployed, node) as (before, after):
        assert after != before
        back(deployed, namespace, old)
        follows(deployed, other, cidr, after, 60)
        new = deployed.get(f"psb/{node}", "--namespace", namespace)
        assert ip_address(address(new)) in ip_network(cidr)
        assert new["status"]["sandboxID"] == old["status"]["sandboxID"]
        for here, there in ((new, far), (far, new)):
            ping = deployed.inside(here, "ping", "-c", "1", "-W", "5", address(there))
            assert "1 packets received" in ping
        names = deployed.node(node, "ls", "/run/netns").split()
        names = [name for name in names if name.startswith("podnet-")]
        assert names == [f"podnet-{new['status']['sandboxID']}"]  # nothing of before is left
    back(deployed, namespace, new)
    follows(deployed, other, cidr, before, 60)
    deployed.kubectl("wait", f"node/{node}", "--for=condition=Ready", "--timeout=120s")
    wait = ("rollout", "status", "daemonset/podnet-agent", "--namespace=podnet-system")
    deployed.kubectl(*wait, "--timeout=120s")


def back(cluster: Cluster, namespace: str, before: Body) -> None:
    """Wait until the sandbox is in another network namespace, and ready."""
    what = (f"psb/{before['metadata']['name']}", "--namespace", namespace)
    inode = before["status"]["netns"]["inode"]

    def anew() -> bool:
        now = cluster.get(*what)
        return now["status"]["netns"]["inode"] != inode and condition(now)["status"] == "True"

    until(anew, f"{what[0]} to be built anew", 180)
