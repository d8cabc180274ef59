"""What can't be had is refused with a sentence that says what to do, and is in nobody's way."""

import secrets
import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from support.cluster import BUSYBOX, Cluster
from support.host import until
from support.plane import condition, event, podnetwork, ready, sandbox, says, shares

LEASE = ("lease", "podnet-operator", "--namespace=podnet-system")


@pytest.fixture
def network(deployed: Cluster) -> Iterator[str]:
    """The name of a network that this test alone has."""
    name = f"test-{secrets.token_hex(3)}"
    yield name
    deployed.kubectl("delete", "podnetwork", name, "--ignore-not-found", "--wait=false")


def test_an_image_that_is_not_there_is_named_with_what_brings_it(
    deployed: Cluster, namespace: str
) -> None:
    node, _ = deployed.workers()
    image = "example.test/absent:1"
    absent = sandbox("absent", namespace, node)
    absent["spec"]["containers"][0]["image"] = image
    deployed.apply(absent, sandbox("beside", namespace, node))
    ready(deployed, namespace, "beside")
    here = ("psb/absent", "--namespace", namespace)
    message = says(deployed, "ImageNotPresent", *here)
    assert f"image {image} is not on this node, and podnet pulls none" in message
    assert "`kind load docker-image`, or a Pod with it on this node, brings it" in message
    (container,) = deployed.get(*here)["status"]["containers"]
    assert (container["state"], container["reason"]) == ("waiting", "ImageNotPresent")
    ctr = ("ctr", "--namespace=k8s.io", "images")
    deployed.node(node, *ctr, "tag", f"docker.io/{BUSYBOX}", image)
    try:
        ready(deployed, namespace, "absent")  # by itself
    finally:
        deployed.node(node, *ctr, "rm", image)


def test_a_sandbox_of_another_node_is_not_joined(deployed: Cluster, namespace: str) -> None:
    here, there = deployed.workers()
    deployed.apply(
        sandbox("web", namespace, here),
        sandbox("side", namespace, there, mode="Container", sandbox="web"),
    )
    ready(deployed, namespace, "web")
    side = ("psb/side", "--namespace", namespace)
    message = says(deployed, "JoinedElsewhere", *side, word="Scheduled")
    assert f"web, which is joined, is on node {here}, not on {there}" in message
    assert "leave spec.nodeName out" in message
    assert "JoinedElsewhere" in event(deployed, "JoinedElsewhere", *side)
    said = condition(deployed.get(*side))
    assert (said["status"], said["reason"]) == ("False", "OwnerGone")
    assert f"web, whose network namespace is joined, is not on node {there}" in said["message"]


def test_of_two_networks_that_overlap_the_younger_is_refused(
    deployed: Cluster, network: str
) -> None:
    """S11: and told so; the older one's shares stay, and pods get addresses of it."""
    deployed.apply(podnetwork(network, "10.78.0.0/16"))
    until(lambda: len(shares(deployed, network)) == 3, "three shares", 40)
    time.sleep(1.1)  # times of creation are whole seconds
    younger = f"{network}-younger"
    try:
        deployed.apply(podnetwork(younger, "10.78.128.0/20"))
        message = says(deployed, "CIDROverlap", "podnetwork", younger)
        assert f"10.78.128.0/20 overlaps 10.78.0.0/16 of PodNetwork/{network}" in message
        assert f"delete PodNetwork/{younger} and make it with another range" in message
        assert "Warning" in event(deployed, "CIDROverlap", "podnetwork", younger)
        assert shares(deployed, younger) == {}
        assert len(shares(deployed, network)) == 3
        deployed.kubectl("delete", "podnetwork", network)
        until(lambda: len(shares(deployed, younger)) == 3, "it to be free for the younger", 40)
    finally:
        deployed.kubectl("delete", "podnetwork", younger)


def test_a_range_that_nodes_are_in_is_refused(deployed: Cluster, network: str) -> None:
    """S11."""
    (internal, *_) = deployed.nodes()[0]["status"]["addresses"]
    node = ip_network(f"{internal['address']}/16", strict=False)
    deployed.apply(podnetwork(network, str(node)))
    message = says(deployed, "CIDROverlap", "podnetwork", network)
    assert f"of node {deployed.nodes()[0]['metadata']['name']}" in message
    assert shares(deployed, network) == {}


def test_of_two_operators_one_writes_and_the_other_takes_over(
    deployed: Cluster, network: str
) -> None:
    """S38: a second one by accident; when the first ends, it goes on."""
    first = holder(deployed)
    place = deployed.get(f"pod/{first}", "--namespace=podnet-system")["spec"]["nodeName"]
    elsewhere = next(node for node in deployed.workers() if node != place)  # ports are the node's
    other = second_operator(deployed, elsewhere)
    name = other["metadata"]["name"]
    here = (f"pod/{name}", "--namespace=podnet-system")
    try:
        deployed.apply(other)
        waits = f"operator {first} holds the lease; this one waits"
        until(lambda: waits in deployed.kubectl("logs", *here, check=False), waits, 60)
        deployed.apply(podnetwork(network, "10.78.0.0/16"))
        found = until(lambda: len(s := shares(deployed, network)) == 3 and s, "shares", 40)
        assert len({cidr for each in found.values() for cidr in each}) == 3
        assert "made NodeSubnet" not in deployed.kubectl("logs", *here)
        scale = ("scale", "deployment/podnet-operator", "--namespace=podnet-system")
        deployed.kubectl(*scale, "--replicas=0")
        until(lambda: holder(deployed) == name, "the second to hold the lease", 80)
        share = f"nodesubnet/{network}.{deployed.workers()[0]}"
        deployed.kubectl("delete", share)
        until(lambda: shares(deployed, network) == found, "the share anew", 40)
        deployed.kubectl(*scale, "--replicas=1")
    finally:
        deployed.kubectl("delete", *here, "--ignore-not-found")
    until(lambda: holder(deployed) not in ("", name), "the Deployment's operator to write", 120)


def holder(cluster: Cluster) -> str:
    """The operator that writes: the name of its Pod."""
    held: str = cluster.get(*LEASE)["spec"]["holderIdentity"]
    return held


def second_operator(cluster: Cluster, node: str) -> dict[str, Any]:
    """A Pod as the Deployment makes it, on that node, which nobody but this test ends."""
    spec = cluster.get("deployment/podnet-operator", "--namespace=podnet-system")["spec"]
    meta = {"name": f"second-{secrets.token_hex(3)}", "namespace": "podnet-system"}
    whole = spec["template"]["spec"] | {"nodeName": node}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": whole}
