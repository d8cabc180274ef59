"""Taking podnet out of a cluster: one command that ends by itself, and nodes as they were."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.cluster import AGENT_IMAGE, BUSYBOX, ROOT, Cluster
from support.host import until
from support.installing import UNINSTALL_SECONDS, reinstalled, uninstall, without_operator
from support.plane import pod, podnetwork

STATE = {
    "links": "ip -br link | awk '{print $1}'",
    "addresses": "ip -br address | grep -v fe80",
    "routes": "ip route show table all; ip -6 route show table all | grep -v fe80",
    "rules": "ip rule; ip -6 rule",
    "ruleset": "nft -s list ruleset 2> /dev/null",
    "iptables, the older interface": "iptables-legacy-save | grep -v '^#'",
    "cni": "find /etc/cni/net.d /opt/cni/bin -iname '*podnet*'",
    "settings": "cd /proc/sys/net && grep -rs . ipv4/ip_forward ipv4/conf/all ipv4/conf/default"
    " ipv6/conf/all ipv6/conf/default | grep -v secret",
    "mounts": "grep -E '/(run|lib)/podnet|/run/netns/podnet' /proc/mounts",
    "files": "find /run/podnet /var/lib/podnet /run/netns/podnet-* 2> /dev/null",
    "groups": "find /sys/fs/cgroup -maxdepth 3 -name podnet",
    "records": """ctr -n k8s.io containers ls -q 'labels."podnet.dev/sandbox"'""",
    "leases": "ctr -n k8s.io leases ls -q | grep podnet",
    "snapshots": "ctr -n k8s.io snapshots ls | awk '{print $1}'"
    " | grep -vE '^(sha256:.*|[0-9a-f]{64})$'",
    "processes": "ps -eo args | grep -E 'podnet-(agent|logger)|sleep 12345' | grep -v grep",
}
"""Whatever podnet may touch on a node, and how it is seen. (-s: without counters.)"""
OURS = ("cni", "programs", "mounts", "files", "groups", "records", "leases", "processes")
PAGE = ROOT / "docs/install.md"
NET = "/sys/class/net"
READY = ("--for=condition=Ready", "--timeout=100s")


def state(cluster: Cluster, node: str) -> dict[str, list[str]]:
    """What is on the node, by what is asked for."""
    script = "; ".join(f"echo '## {name}'; ({how})" for name, how in STATE.items())
    said = cluster.node(node, "bash", "-c", f"{script}; true").split("## ")[1:]
    found = {part.split("\n", 1)[0]: part.split("\n", 1)[1].splitlines() for part in said}
    found["programs"] = programs(cluster, node)
    return {name: sorted(re.sub(" linkdown", "", line) for line in found[name]) for name in found}


def programs(cluster: Cluster, node: str) -> list[str]:
    """podnet's in the kernel, by the node's links and with their pods' ends."""
    look = "from podnet_agent.shortcuts import Shortcuts; print(*Shortcuts().listing(), sep='\\n')"
    here = ("--rm", "--privileged", f"--network=container:{node}", "--entrypoint=python3")
    enter = ("docker", "run", *here, AGENT_IMAGE, "-c", look)
    return [line for line in cluster.in_cluster(*enter).stdout.splitlines() if line]


@contextlib.contextmanager
def routed(cluster: Cluster) -> Iterator[None]:
    """Bridged frames don't pass nft on any node, so that podnet's programs are there as well."""
    nodes = [each["metadata"]["name"] for each in cluster.nodes()]
    switches = [f"net.bridge.bridge-nf-call-{family}" for family in ("iptables", "ip6tables")]
    before = {node: cluster.node(node, "sysctl", "-n", *switches).split() for node in nodes}
    try:
        for node in nodes:
            cluster.node(node, "sysctl", "-qw", *(f"{name}=0" for name in switches))
        yield
    finally:
        for node, values in before.items():
            said = (f"{name}={value}" for name, value in zip(switches, values, strict=True))
            cluster.node(node, "sysctl", "-qw", *said)


def sandbox(name: str, namespace: str, node: str, **network: Any) -> dict[str, Any]:
    image = f"docker.io/{BUSYBOX}"
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "network": network,
            "containers": [{"name": "main", "image": image, "command": ["sleep", "12345"]}],
        },
    }


def is_held(cluster: Cluster, network: str) -> bool:
    """Whether only the operator can let it go."""
    meta = cluster.get("podnetwork", network)["metadata"]
    return "podnet.dev/in-use" in meta.get("finalizers", [])


def is_asked_to_go(cluster: Cluster, network: str) -> bool:
    """Whether somebody has deleted it."""
    return "deletionTimestamp" in cluster.get("podnetwork", network)["metadata"]


@pytest.mark.timeout(400)
def test_deleting_podnet_leaves_nodes_as_they_were(
    deployed: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With sandboxes and Pods at work on two nodes, in networks that are held because of them.

    Pods lose their network, and go once a CNI is there.
    """
    nodes = [each["metadata"]["name"] for each in deployed.nodes()]
    pods = [pod(f"pod-{node}", namespace, node) for node in deployed.workers()]
    here = ("--namespace", namespace)
    with reinstalled(deployed), routed(deployed):
        uninstall(deployed)
        before = {node: state(deployed, node) for node in nodes}
        for node in nodes:
            assert {name: before[node][name] for name in OURS} == {name: [] for name in OURS}
        deployed.deploy()
        deployed.apply(podnetwork("lab", "10.77.0.0/16", backend={"type": "HostGateway"}))
        for number, node in enumerate(deployed.workers()):
            ports = [{"hostPort": 18080, "containerPort": 80}]
            deployed.apply(
                sandbox(f"web-{number}", namespace, node, ports=ports),
                sandbox(f"lab-{number}", namespace, node, podNetwork="lab"),
                sandbox(
                    f"side-{number}", namespace, node, mode="Container", sandbox=f"web-{number}"
                ),
                sandbox(f"alone-{number}", namespace, node, mode="None"),
            )
        deployed.apply(*pods)
        deployed.kubectl("wait", *here, *READY, "psb,pods", "--all")
        until(lambda: is_held(deployed, "lab"), "the network to be held", 40)
        during = state(deployed, deployed.workers()[0])
        assert all(during[name] for name in OURS)

        seconds = uninstall(deployed)

        left = {node: state(deployed, node) for node in nodes}
        assert left == before
        named = ("crd,clusterrole,clusterrolebinding", "--output=name")
        until(lambda: "podnet" not in deployed.kubectl("get", *named), "nothing named podnet", 60)
        links = deployed.kubectl("exec", *here, f"pod-{deployed.workers()[0]}", "--", "ls", NET)
        assert links.split() == ["lo"]

        deployed.deploy()
        deployed.kubectl("delete", *here, "pods", "--all", "--timeout=100s")
        deployed.apply(*pods)
        deployed.kubectl("wait", *here, *READY, "pods", "--all")
    with capsys.disabled():
        print(f"\nkubectl delete -k with 8 sandboxes and 2 Pods on two nodes: {seconds:.0f} s")


@pytest.mark.timeout(400)
def test_where_the_operator_was_dead_the_pages_two_commands_let_all_go(
    deployed: Cluster, namespace: str
) -> None:
    """docs/install.md: a network in use waits for an operator that can't come any more."""
    node, _ = deployed.workers()
    lab = podnetwork("lab", "10.77.0.0/16")
    with reinstalled(deployed):
        deployed.apply(lab, sandbox("lab", namespace, node, podNetwork="lab"))
        deployed.kubectl("wait", "--namespace", namespace, *READY, "psb", "--all")
        until(lambda: is_held(deployed, "lab"), "the network to be held", 40)
        with ThreadPoolExecutor() as pool, without_operator(deployed, back=False):
            removing = pool.submit(uninstall, deployed)
            until(lambda: is_asked_to_go(deployed, "lab"), "the network to be asked to go", 60)
            with pytest.raises(TimeoutError):
                removing.result(timeout=20)
            commands = [
                line.strip()
                for line in PAGE.read_text().splitlines()
                if line.startswith("    kubectl") and "finalizers" in line
            ]
            assert len(commands) == 2
            for command in commands:
                deployed.in_cluster("bash", "-c", command)
            removing.result(timeout=UNINSTALL_SECONDS)
        left = state(deployed, node)
        assert {name: left[name] for name in OURS} == {name: [] for name in OURS}
