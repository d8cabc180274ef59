"""podnet as the cluster's CNI: nodes are Ready by it alone, and Pods have what Kubernetes promises.

S18 and S19 with kube-proxy are in test_proxies.py.
"""

import json
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
import yaml

from support.cluster import Cluster
from support.crowd import Crowd, get_into
from support.host import until
from support.installing import OVERLAY, reinstalled, uninstall, without_operator
from support.plane import Body, address, condition, pod, ready, sandbox, says, shares
from support.upgrading import agents

SYSTEM = "--namespace=podnet-system"
OPERATOR = "deployment/podnet-operator"
CONFIGURATION = "/etc/cni/net.d/10-podnet.conflist"


# --- what Kubernetes promises a Pod ---


def test_each_nodes_network_is_said_to_be_available(deployed: Cluster) -> None:
    for node in deployed.nodes():
        said = condition(node, "NetworkUnavailable")
        assert (said["status"], said["reason"]) == ("False", "PodnetIsUp")
        assert condition(node)["status"] == "True"
        assert not [t for t in node["spec"].get("taints", ()) if "not-ready" in t["key"]]


def test_pods_have_addresses_of_their_nodes_own_range(deployed: Cluster, crowd: Crowd) -> None:
    ranges = {each["metadata"]["name"]: each["spec"]["podCIDRs"] for each in deployed.nodes()}
    for item in deployed.get("pods", "--namespace", crowd.namespace)["items"]:
        (cidr,) = ranges[item["spec"]["nodeName"]]
        assert ip_address(item["status"]["podIP"]) in ip_network(cidr)


def test_kubectl_gets_into_a_pod(crowd: Crowd) -> None:
    get_into(crowd, "far")


def test_a_name_is_resolved_by_the_clusters_dns(crowd: Crowd) -> None:
    name = f"many.{crowd.namespace}.svc.cluster.local"
    assert crowd.services["many"] in crowd.run("far", "nslookup", "-type=a", name)


# --- when a node is Ready ---


def has_configuration(cluster: Cluster, node: str) -> bool:
    """Whether containerd calls podnet there."""
    return bool(cluster.node(node, "ls", CONFIGURATION, check=False))


def test_containerd_is_told_to_call_podnet_while_an_add_can_be_served(
    deployed: Cluster, namespace: str
) -> None:
    """S31: who takes the configuration away gets it back, but not where it would be a lie."""
    node, _ = deployed.workers()
    deployed.apply(pod("there", namespace, node))
    here = ("--namespace", namespace)
    deployed.kubectl("wait", *here, "--for=condition=Ready", "pod/there", "--timeout=120s")
    deployed.node(node, "rm", CONFIGURATION)
    until(lambda: has_configuration(deployed, node), "the configuration to be back", 40)
    share = f"nodesubnet/default.{node}"
    with without_operator(deployed):
        deployed.kubectl("delete", share)
        until(lambda: status(deployed, node), "STATUS to say why", 40)
        until(lambda: node not in agents(deployed), "its agent's Pod not to be ready", 40)
        deployed.node(node, "rm", CONFIGURATION)
        deployed.apply(pod("late", namespace, node))
        not_ready = ("--for=condition=Ready=false", f"node/{node}", "--timeout=120s")
        deployed.kubectl("wait", *not_ready, timeout=130)
        said = condition(deployed.get(f"node/{node}"))["message"]
        assert "cni plugin not initialized" in said
        assert not has_configuration(deployed, node)
    deployed.kubectl("wait", *here, "--for=condition=Ready", "pods", "--all", "--timeout=120s")
    deployed.kubectl("wait", "--for=condition=Ready", f"node/{node}", "--timeout=120s")
    until(lambda: node in agents(deployed), "its agent's Pod to be ready", 40)


def status(cluster: Cluster, node: str) -> str:
    """What the plugin answers to STATUS where it is not ready, as containerd 2 asks."""
    config = json.dumps({"cniVersion": "1.1.0", "name": "podnet", "type": "podnet-cni"})
    command = "CNI_COMMAND=STATUS CNI_PATH=/opt/cni/bin /opt/cni/bin/podnet-cni"
    return cluster.node(node, "sh", "-c", command, stdin=config, check=False)


OTHER = "/etc/cni/net.d/05-other.conflist"
OTHER_RANGE = "10.99.0.0/24"


def test_pods_of_another_cni_keep_their_network_until_they_go(
    deployed: Cluster, namespace: str
) -> None:
    """S32: which one is used is said, and that it is podnet's turn."""
    node, _ = deployed.workers()
    here, share = ("--namespace", namespace), ("nsub", f"default.{node}")
    ipam = {"type": "host-local", "subnet": OTHER_RANGE, "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [{"type": "ptp", "ipam": ipam}]
    config = json.dumps({"cniVersion": "0.4.0", "name": "other", "plugins": plugins})
    put = f"cat > {OTHER}.part && mv {OTHER}.part {OTHER}"
    try:
        deployed.node(node, "sh", "-c", put, stdin=config)
        said = says(deployed, "ForeignConfiguration", *share, word="CNIConfigured")
        assert f"{OTHER} comes before" in said
        deployed.apply(pod("old", namespace, node))
        deployed.kubectl("wait", *here, "--for=condition=Ready", "pod/old", "--timeout=120s")
    finally:
        deployed.node(node, "rm", OTHER)
    says(deployed, "Installed", *share, word="CNIConfigured")
    deployed.apply(pod("new", namespace, node), sandbox("box", namespace, node))
    deployed.kubectl("wait", *here, "--for=condition=Ready", "pod/new", "--timeout=120s")
    (box,) = ready(deployed, namespace)
    found = pod_addresses(deployed, namespace)
    assert ip_address(found["old"]) in ip_network(OTHER_RANGE)
    assert ip_address(found["new"]) not in ip_network(OTHER_RANGE)
    for asks, there in (("old", found["new"]), ("new", found["old"]), ("old", address(box))):
        assert pings(deployed, namespace, asks, there)
    assert found["old"] in deployed.node(node, "ip", "route")
    deployed.kubectl("delete", *here, "pod/old", "--timeout=120s")
    until(lambda: found["old"] not in deployed.node(node, "ip", "route"), "its pair to go", 40)
    assert pings(deployed, namespace, "new", address(box))
    deployed.node(node, "rm", "-r", "/var/lib/cni/networks/other")


def without_an_operator(cluster: Cluster) -> list[Body]:
    """The objects of the installation, but that no operator runs."""
    texts = cluster.kubectl("kustomize", OVERLAY[1])
    objects: list[Any] = list(yaml.safe_load_all(texts))
    for each in objects:
        if each["kind"] == "Deployment":
            each["spec"]["replicas"] = 0
    return objects


@pytest.mark.timeout(400)
def test_nodes_get_ready_before_any_operator_runs(deployed: Cluster, namespace: str) -> None:
    """node.spec.podCIDRs is all that ADD needs; with the operator come the ways between nodes."""
    workers, here = deployed.workers(), ("--namespace", namespace)
    with reinstalled(deployed):
        uninstall(deployed)
        not_ready = ("wait", "--for=condition=Ready=false", "nodes", "--all", "--timeout=120s")
        deployed.kubectl(*not_ready, timeout=130)
        deployed.kubectl("apply", "--filename", "-", stdin=json_list(without_an_operator(deployed)))
        is_ready = ("wait", "--for=condition=Ready", "--all", "--timeout=120s")
        deployed.kubectl(*is_ready, "nodes", timeout=130)
        for node in workers:
            deployed.apply(*(pod(f"{name}-{node}", namespace, node) for name in "ab"))
        deployed.kubectl(*is_ready, "pods", *here, timeout=130)
        before = pod_addresses(deployed, namespace)
        for node in workers:
            assert pings(deployed, namespace, f"a-{node}", before[f"b-{node}"])
        assert shares(deployed, "default") == {}
        assert not deployed.get("podnetworks")["items"]
        deployed.deploy()
        a, b = (f"a-{node}" for node in workers)
        until(lambda: pings(deployed, namespace, a, before[b]), "ways between nodes", 60)
        assert pod_addresses(deployed, namespace) == before


def json_list(objects: list[Body]) -> str:
    """One document of many."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def pod_addresses(cluster: Cluster, namespace: str) -> dict[str, str]:
    """By Pod."""
    items = cluster.get("pods", "--namespace", namespace)["items"]
    return {each["metadata"]["name"]: each["status"]["podIP"] for each in items}


def pings(cluster: Cluster, namespace: str, name: str, address: str) -> bool:
    """Whether an echo request of the Pod is answered."""
    command = ("exec", name, "--namespace", namespace, "--", "ping", "-c", "1", "-W", "2", address)
    return "1 packets received" in cluster.kubectl(*command, check=False)
