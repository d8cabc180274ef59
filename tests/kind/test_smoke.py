"""The cluster itself is what the other tests take it for."""

from support.cluster import ROOT, Cluster
from support.host import until
from support.plane import pod


def test_three_nodes_are_ready(deployed: Cluster) -> None:
    ready = {
        node["metadata"]["name"]: condition["status"]
        for node in deployed.nodes()
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert len(ready) == 3
    assert set(ready.values()) == {"True"}
    assert len(deployed.workers()) == 2


def test_pods_of_two_nodes_reach_each_other(deployed: Cluster, namespace: str) -> None:
    workers = deployed.workers()
    deployed.apply(*(pod(node, namespace, node) for node in workers))
    inside = ("--namespace", namespace)
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pods", "--all", "--timeout=120s")
    address = {
        item["spec"]["nodeName"]: item["status"]["podIP"]
        for item in deployed.get("pods", *inside)["items"]
    }
    for here, there in (workers, reversed(workers)):
        command = ("exec", here, "--", "ping", "-c", "1", "-W", "2", address[there])
        assert "1 packets received" in deployed.kubectl(*inside, *command)


def test_coredns_runs_and_services_have_names(deployed: Cluster, namespace: str) -> None:
    deployed.kubectl(
        *("rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=180s"),
        timeout=200,
    )
    (node, *_) = deployed.workers()
    deployed.apply(pod("client", namespace, node))
    inside = ("--namespace", namespace)
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pod/client", "--timeout=120s")
    command = ("exec", "client", "--", "nslookup", "kubernetes.default.svc.cluster.local")

    def found() -> bool:  # kube-proxy needs a moment to know that CoreDNS is ready
        return "10.96.0.1" in deployed.kubectl(*inside, *command, check=False)

    until(found, "the API server's Service by its name", 120)


def test_the_kinds_are_established(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--kustomize", str(ROOT / "crds"))
    kinds = ("podnetworks", "nodesubnets", "podsandboxes")
    names = [f"crd/{kind}.podnet.dev" for kind in kinds]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    for kind in kinds:
        assert "podnet.dev" in cluster.kubectl("explain", kind)
