"""The cluster itself is what the other tests take it for."""

from typing import Any

from support.cluster import BUSYBOX, ROOT, Cluster
from support.host import until


def pod(name: str, namespace: str, node: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": BUSYBOX, "command": ["sleep", "1d"]}],
        },
    }


def test_three_nodes_are_ready(cluster: Cluster) -> None:
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in cluster.nodes()
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert len(ready) == 3
    assert set(ready.values()) == {"True"}
    assert len(cluster.workers()) == 2


def test_pods_of_two_nodes_reach_each_other_by_the_stand_in(
    cluster: Cluster, namespace: str
) -> None:
    workers = cluster.workers()
    cluster.apply(*(pod(node, namespace, node) for node in workers))
    inside = ("--namespace", namespace)
    cluster.kubectl("wait", *inside, "--for=condition=Ready", "pods", "--all", "--timeout=60s")
    address = {
        item["spec"]["nodeName"]: item["status"]["podIP"]
        for item in cluster.get("pods", *inside)["items"]
    }
    for here, there in (workers, reversed(workers)):
        command = ("exec", here, "--", "ping", "-c", "1", "-W", "2", address[there])
        assert "1 packets received" in cluster.kubectl(*inside, *command)


def test_services_have_names(cluster: Cluster, namespace: str) -> None:
    (node, *_) = cluster.workers()
    cluster.apply(pod("client", namespace, node))
    inside = ("--namespace", namespace)
    cluster.kubectl("wait", *inside, "--for=condition=Ready", "pod/client", "--timeout=60s")
    command = ("exec", "client", "--", "nslookup", "kubernetes.default.svc.cluster.local")

    def found() -> bool:  # CoreDNS needs seconds where the cluster is new
        return "10.96.0.1" in cluster.kubectl(*inside, *command, check=False)

    until(found, "the API server's Service by its name", 60)


def test_the_kinds_are_established(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--kustomize", str(ROOT / "crds"))
    kinds = ("podnetworks", "nodesubnets", "podsandboxes")
    names = [f"crd/{kind}.podnet.dev" for kind in kinds]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", *names)
    for kind in kinds:
        assert "podnet.dev" in cluster.kubectl("explain", kind)
