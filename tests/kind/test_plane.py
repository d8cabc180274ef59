"""The flat plane: PodSandboxes of all nodes reach each other, and all else, as they should."""

from typing import Any

import pytest

from support.cluster import BUSYBOX, Cluster

WHO_ASKS = """mkdir -p /tmp/cgi-bin
printf '#!/bin/sh\\necho; echo "$REMOTE_ADDR"\\n' > /tmp/cgi-bin/who
chmod +x /tmp/cgi-bin/who
exec httpd -f -p 8080 -h /tmp"""
"""A server that says whom it sees."""
Sandbox = dict[str, Any]


@pytest.fixture
def pair(deployed: Cluster, namespace: str) -> tuple[Sandbox, Sandbox]:
    """A sandbox on each worker, which say at port 8080 whom they see."""
    container = {
        "name": "web",
        "image": f"docker.io/{BUSYBOX}",
        "command": ["sh", "-ec", WHO_ASKS],
    }
    for node in deployed.workers():
        deployed.apply(
            {
                "apiVersion": "podnet.dev/v1alpha1",
                "kind": "PodSandbox",
                "metadata": {"name": node, "namespace": namespace},
                "spec": {"nodeName": node, "containers": [container]},
            }
        )
    here = ("--namespace", namespace)
    deployed.kubectl("wait", *here, "--for=condition=Ready", "psb", "--all", "--timeout=60s")
    first, second = deployed.get("psb", *here)["items"]
    return first, second


def address(sandbox: Sandbox) -> str:
    return str(sandbox["status"]["podIPs"][0]["ip"])


def seen_in(answer: str) -> str:
    """The IPv4 address that the server saw; it listens for both families."""
    return answer.split()[-1].strip("[]").removeprefix("::ffff:")


def test_sandboxes_of_two_nodes_see_each_others_addresses(
    deployed: Cluster, pair: tuple[Sandbox, Sandbox]
) -> None:
    for here, there in (pair, reversed(pair)):
        ping = deployed.inside(here, "ping", "-c", "1", "-W", "2", address(there))
        assert "1 packets received" in ping
        ask = ("nc", "-w", "5", address(there), "8080")
        answer = deployed.inside(here, *ask, stdin="GET /cgi-bin/who HTTP/1.0\r\n\r\n")
        assert seen_in(answer) == address(here)


def test_a_sandbox_reaches_services_and_their_names(
    deployed: Cluster, pair: tuple[Sandbox, Sandbox]
) -> None:
    here, _ = pair
    service = deployed.get("service", "kubernetes")["spec"]["clusterIP"]
    deployed.inside(here, "nc", "-w", "5", service, "443")  # fails if nobody answers
    resolver = deployed.get("service", "kube-dns", "--namespace=kube-system")["spec"]["clusterIP"]
    name = "kubernetes.default.svc.cluster.local"
    assert service in deployed.inside(here, "nslookup", "-type=a", name, resolver)


def test_a_sandbox_reaches_every_node(deployed: Cluster, pair: tuple[Sandbox, Sandbox]) -> None:
    here, _ = pair
    for node in deployed.nodes():
        (internal,) = (
            each["address"]
            for each in node["status"]["addresses"]
            if each["type"] == "InternalIP" and ":" not in each["address"]
        )
        deployed.inside(here, "nc", "-w", "5", internal, "10250")  # its kubelet


def test_pods_of_the_stand_in_and_sandboxes_reach_each_other(
    deployed: Cluster, namespace: str, pair: tuple[Sandbox, Sandbox]
) -> None:
    here, _ = pair
    inside = ("--namespace", namespace)
    deployed.kubectl(
        "run", "client", *inside, f"--image={BUSYBOX}", "--command", "--", "sleep", "1d"
    )
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pod/client", "--timeout=60s")
    url = f"http://{address(here)}:8080/cgi-bin/who"
    seen = deployed.kubectl("exec", *inside, "client", "--", "wget", "-q", "-O", "-", url)
    assert seen_in(seen) == deployed.get("pod", "client", *inside)["status"]["podIP"]


def test_all_that_was_made_for_a_sandbox_goes_with_it(
    deployed: Cluster, namespace: str, pair: tuple[Sandbox, Sandbox]
) -> None:
    deployed.kubectl("delete", "psb", "--all", "--namespace", namespace, "--timeout=60s")
    for sandbox in pair:
        node, identity = sandbox["spec"]["nodeName"], sandbox["status"]["sandboxID"]
        peer = sandbox["status"]["interfaces"][0]["peer"]["name"]
        left = "ls /run/netns; ip -br link; ctr -n k8s.io containers ls -q"
        seen = deployed.node(node, "bash", "-c", left)
        assert identity not in seen
        assert peer not in seen.split()
