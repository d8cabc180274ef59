"""What is deleted or changed while podnet runs and sandboxes are in use."""

import secrets
import time
from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.host import until
from support.plane import (
    Body,
    address,
    condition,
    follows,
    gone,
    internal,
    pinging,
    podnetwork,
    ready,
    routes,
    sandbox,
    says,
    shares,
)

OLD, NEW = "10.78.0.0/16", "10.80.0.0/16"


@pytest.fixture
def network(deployed: Cluster) -> Iterator[str]:
    """A network that this test alone has; each node has a share of it."""
    name = f"test-{secrets.token_hex(3)}"
    made(deployed, name, OLD)
    yield name  # held until the test's namespace is gone, which comes later
    deployed.kubectl("delete", "podnetwork", name, "--ignore-not-found", "--wait=false")


def made(cluster: Cluster, name: str, subnet: str) -> dict[str, str]:
    """The share of each node, once there are all."""
    cluster.apply(podnetwork(name, subnet))
    nodes = len(cluster.nodes())
    found = until(lambda: len(s := shares(cluster, name)) == nodes and s, f"shares of {name}", 40)
    return {node: cidrs[0] for node, cidrs in found.items()}


def placed(cluster: Cluster, namespace: str, network: str) -> list[Body]:
    """A sandbox of that network on each worker, Ready."""
    for node in cluster.workers():
        cluster.apply(sandbox(f"on-{node}", namespace, node, podNetwork=network))
    return ready(cluster, namespace)


def gateways(cluster: Cluster) -> dict[str, str]:
    return {each["metadata"]["name"]: internal(each) for each in cluster.nodes()}


def test_a_namespace_that_is_deleted_takes_its_sandboxes_along(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S38. Sandboxes of each mode, on both workers; those of another namespace notice nothing."""
    doomed = f"{namespace}-doomed"
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}  # for mode Host
    meta = {"name": doomed, "labels": labels}
    deployed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    for node in deployed.workers():
        web = f"web-{node}"
        deployed.apply(
            sandbox(web, doomed, node, ports=[{"hostPort": 18081, "containerPort": 80}]),
            sandbox(f"side-{node}", doomed, node, mode="Container", sandbox=web),
            sandbox(f"alone-{node}", doomed, node, mode="None"),
            sandbox(f"host-{node}", doomed, node, mode="Host"),
        )
    bodies = ready(deployed, doomed)
    assert len(bodies) == 8
    with pinging(deployed, *pair) as pings:
        deployed.kubectl("delete", "namespace", doomed, "--timeout=100s")
        gone(deployed, *bodies)
    assert pings.lost == 0


def test_a_networks_range_can_not_be_edited_and_its_pods_keep_their_addresses(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """S11."""
    before = placed(deployed, namespace, network)
    with pinging(deployed, *before) as pings:
        for path, value in (("/spec/subnets/0", f'"{NEW}"'), ("/spec/subnets/1", '"fd08::/48"')):
            patch = f'[{{"op": "add", "path": "{path}", "value": {value}}}]'
            where = ("podnetwork", network, "--type=json", f"--patch={patch}")
            said = deployed.refusal("patch", *where)
            assert "spec.subnets" in said and "is immutable" in said
    assert pings.lost == 0
    assert [address(each) for each in ready(deployed, namespace)] == [address(b) for b in before]


def test_a_network_that_services_come_to_overlap_keeps_its_pods(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """S11: it is said, with whom, and nothing that runs is touched; nor is it for ever."""
    before = placed(deployed, namespace, network)
    held = shares(deployed, network)
    services = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": network},
        "spec": {"cidrs": ["10.78.128.0/20"]},
    }
    with pinging(deployed, *before) as pings:
        deployed.apply(services)
        try:
            message = says(deployed, "CIDROverlap", "podnetwork", network)
        finally:
            deployed.kubectl("delete", f"servicecidr/{network}", "--timeout=60s")
        assert f"overlaps 10.78.128.0/20 of ServiceCIDR/{network}" in message
        assert shares(deployed, network) == held
        until(lambda: is_ready(deployed, network), "the network to be well again", 40)
    assert pings.lost == 0
    assert [address(each) for each in ready(deployed, namespace)] == [address(b) for b in before]


def is_ready(cluster: Cluster, network: str) -> bool:
    return bool(condition(cluster.get("podnetwork", network))["status"] == "True")


def test_a_networks_status_counts_nodes_and_addresses(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """Over all shares; an address that went is counted until it has rested."""
    placed(deployed, namespace, network)
    nodes = len(deployed.nodes())
    wanted = {"nodes": nodes, "addressesUsed": 2, "addressesTotal": nodes * 253}

    def counted() -> Body:
        found: Body = deployed.get("podnetwork", network).get("status", {})
        return {name: found.get(name) for name in wanted}

    until(lambda: counted() == wanted, f"{wanted}, not {counted()}", 60)


def test_a_share_that_is_deleted_comes_back_and_traffic_with_it(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """S23. The operator gives the node the same one; its pods stay what they are."""
    here, there = placed(deployed, namespace, network)
    before = shares(deployed, network)
    identity = ("nodesubnet", f"{network}.{there['spec']['nodeName']}")
    uid = deployed.get(*identity)["metadata"]["uid"]
    with pinging(deployed, here, there) as pings:
        deployed.kubectl("delete", *identity)
        until(lambda: shares(deployed, network) == before, "the same shares", 40)
        follows(
            deployed,
            here["spec"]["nodeName"],
            before[there["spec"]["nodeName"]][0],
            gateways(deployed)[there["spec"]["nodeName"]],
        )
    assert deployed.get(*identity)["metadata"]["uid"] != uid
    assert pings.received > 0
    assert [address(each) for each in ready(deployed, namespace)] == [address(here), address(there)]
    with pinging(deployed, here, there) as pings:
        time.sleep(2)
    assert pings.lost == 0


def test_a_network_made_anew_with_another_range_is_followed_on_every_node(
    deployed: Cluster, namespace: str, network: str
) -> None:
    """S23. Routes to the old shares go, those to the new ones come."""
    old = {node: cidrs[0] for node, cidrs in shares(deployed, network).items()}
    bodies = placed(deployed, namespace, network)
    via = gateways(deployed)
    for node in via:
        for other, share in old.items():
            if other != node:
                follows(deployed, node, share, via[other])
    deployed.kubectl("delete", "psb", "--all", "--namespace", namespace, "--timeout=100s")
    deployed.kubectl("delete", "podnetwork", network, "--timeout=100s")
    new = made(deployed, network, NEW)
    assert not set(new.values()) & set(old.values())
    for node in via:
        for other in via:
            follows(deployed, node, old[other], None)
            if other != node:
                follows(deployed, node, new[other], via[other])
        assert OLD not in routes(deployed, node)
        follows(deployed, node, NEW, "unreachable")
    after = placed(deployed, namespace, network)
    assert {address(each) for each in after}.isdisjoint(address(each) for each in bodies)
    with pinging(deployed, *after) as pings:
        time.sleep(2)
    assert pings.lost == 0
