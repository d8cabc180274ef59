"""The operator in a real cluster: every node gets its share, every sandbox its place."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster import ROOT, Cluster
from support.host import until
from support.plane import condition, internal, podnetwork, sandbox, says, shares
from support.plane import ready as ready_sandboxes

PAGE = ROOT / "docs/operator.md"


@pytest.fixture
def network(deployed: Cluster) -> Iterator[str]:
    """The name of a network that this test alone has."""
    name = f"test-{secrets.token_hex(3)}"
    yield name
    deployed.kubectl("delete", "podnetwork", name, "--ignore-not-found", "--wait=false")


def ready(cluster: Cluster, network: str) -> dict[str, Any]:
    """The network's condition Ready."""
    return condition(cluster.get("podnetwork", network))


def test_every_node_gets_a_share(deployed: Cluster, network: str) -> None:
    deployed.apply(podnetwork(network, "10.77.0.0/16", "fd00:77::/48"))
    found = until(
        lambda: len(s := shares(deployed, network)) == 3 and s, "three shares", seconds=40
    )
    cidrs = [cidr for each in found.values() for cidr in each]
    assert len(set(cidrs)) == 6
    assert {cidr.rpartition("/")[2] for cidr in cidrs} == {"24", "64"}


def test_the_network_default_follows_the_nodes(deployed: Cluster) -> None:
    deployed.apply(podnetwork("default"))
    found = until(lambda: len(s := shares(deployed, "default")) == 3 and s, "shares", seconds=40)
    assert found == {
        each["metadata"]["name"]: each["spec"]["podCIDRs"] for each in deployed.nodes()
    }


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        pytest.param("10.96.128.0/20", "of ServiceCIDR/kubernetes", id="Services"),
        pytest.param("10.244.0.0/16", "which PodNetwork/default follows", id="another network"),
    ],
)
def test_a_range_that_is_taken_is_refused_by_name(
    deployed: Cluster, network: str, subnet: str, words: str
) -> None:
    """S11."""
    deployed.apply(podnetwork(network, subnet))
    said = until(lambda: ready(deployed, network), "a word on it", seconds=40)
    assert (said["status"], said["reason"]) == ("False", "CIDROverlap")
    assert words in said["message"]
    until(
        lambda: (
            "CIDROverlap" in deployed.kubectl("describe", "podnetwork", network).split("Events")[1]
        ),
        "an Event",
        seconds=10,
    )
    assert shares(deployed, network) == {}


def test_a_sandbox_gets_a_node_and_one_that_joins_it_the_same(
    deployed: Cluster, namespace: str
) -> None:
    def sandbox(name: str, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "podnet.dev/v1alpha1",
            "kind": "PodSandbox",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"network": spec},
        }

    deployed.apply(
        sandbox("side", mode="Container", sandbox="web"), sandbox("web"), sandbox("other")
    )

    def nodes() -> dict[str, str]:
        items = deployed.get("podsandboxes", "--namespace", namespace)["items"]
        return {e["metadata"]["name"]: e["spec"].get("nodeName", "") for e in items}

    found = until(lambda: all((n := nodes()).values()) and n, "three places", seconds=40)
    assert found["side"] == found["web"]
    assert set(found.values()) <= set(deployed.workers())
    selected = deployed.get("podsandboxes", "-A", f"--field-selector=spec.nodeName={found['web']}")
    assert "web" in {each["metadata"]["name"] for each in selected["items"]}


def test_the_probe_and_the_metrics_are_there_for_the_node_alone(deployed: Cluster) -> None:
    where = ("--namespace=podnet-system", "--selector=app.kubernetes.io/name=podnet-operator")
    (pod,) = deployed.get("pods", *where)["items"]
    node = pod["spec"]["nodeName"]

    def asked(host: str, path: str) -> str:
        script = (
            f"exec 3<>/dev/tcp/{host}/9642 && printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3"
            " && cat <&3"
        )
        done = deployed.in_cluster("docker", "exec", node, "bash", "-c", script, check=False)
        return done.stdout or done.stderr

    assert asked("127.0.0.1", "/healthz").endswith("ok")
    assert 'podnet_operator_passes_total{result="done"}' in asked("127.0.0.1", "/metrics")
    assert "Connection refused" in asked(pod["status"]["hostIP"], "/metrics")


def test_the_operator_is_nobody_and_may_write_nothing(deployed: Cluster) -> None:
    operator = ("exec", "deployment/podnet-operator", "--namespace=podnet-system", "--")
    program = "import os; print(os.getuid()); os.mkdir('/here')"
    done = deployed.in_cluster(
        "kubectl", *operator, "/opt/podnet/bin/python3", "-c", program, check=False
    )
    assert done.stdout.strip() == "65534"
    assert "Read-only file system: '/here'" in done.stderr


def test_a_network_in_use_goes_all_the_same_as_the_page_says(
    deployed: Cluster, network: str, namespace: str
) -> None:
    """docs/operator.md, "A network that does not go"."""
    deployed.apply(podnetwork(network, "10.78.0.0/16"))
    node = deployed.workers()[0]
    deployed.apply(sandbox("user", namespace, node, podNetwork=network))
    (user,) = ready_sandboxes(deployed, namespace, "user")
    it = ("podnetwork", network)
    until(lambda: deployed.get(*it)["metadata"].get("finalizers"), "the network to be held", 40)
    deployed.kubectl("delete", *it, "--wait=false")
    assert f"{namespace}/user" in says(deployed, "InUse", *it, word="Removable")
    (patch,) = [
        line.split("-p ")[1].strip("'")
        for line in PAGE.read_text().splitlines()
        if " NAME " in line
    ]
    deployed.kubectl("patch", *it, "--type=merge", "-p", patch)
    deployed.kubectl("wait", *it, "--for=delete", "--timeout=40s")
    until(lambda: shares(deployed, network) == {}, "no share to be left", 40)
    ping = ("ping", "-c", "1", "-W", "5", internal(deployed.get(f"node/{node}")))
    assert "1 packets received" in deployed.inside(user, *ping)  # until its last sandbox goes
    deployed.kubectl("delete", "psb", "--all", "--namespace", namespace, "--timeout=60s")
    bridge = user["status"]["interfaces"][0]["bridge"]
    links = ("ip", "-brief", "link")
    until(lambda: bridge not in deployed.node(node, *links), "its bridge to be gone", 40)
