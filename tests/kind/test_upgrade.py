"""Upgrading podnet under load: agents and operator come and go, traffic and containers go on."""

from collections.abc import Callable
from functools import partial

import pytest

from support.cluster import AGENT_IMAGE, Cluster
from support.cluster_traffic import place, probes
from support.host import until
from support.plane import Body
from support.traffic import Flow, Stream, serve

NEXT_IMAGE = "podnet/agent:next"
ROLLOUT_SECONDS = 120
PAUSE = 1000.0
"""Milliseconds that a busy machine may stand still: what is lost counts."""
HERE = ("--namespace", "podnet-system")


def agents(cluster: Cluster) -> dict[str, str]:
    """The agents' Pods that are ready and not going, by node: name and restarts."""
    label = "--selector=app.kubernetes.io/name=podnet-agent"
    found = {}
    for pod in cluster.get("pods", *HERE, label)["items"]:
        (status,) = pod["status"].get("containerStatuses") or [{"ready": False}]
        if status["ready"] and "deletionTimestamp" not in pod["metadata"]:
            words = (pod["metadata"]["name"], str(status["restartCount"]))
            found[pod["spec"]["nodeName"]] = " ".join(words)
    return found


def roll_out(cluster: Cluster, what: str) -> None:
    """Wait until it has come through."""
    command = ("rollout", "status", *HERE, what, f"--timeout={ROLLOUT_SECONDS}s")
    cluster.kubectl(*command, timeout=ROLLOUT_SECONDS + 10)


def kill_agents(cluster: Cluster) -> None:
    """SIGKILL on every node; the kubelet starts them anew."""
    before = agents(cluster)
    for node in before:
        cluster.node(node, "pkill", "-KILL", "-f", "podnet-agent serve")

    def are_others() -> bool:
        now = agents(cluster)
        return len(now) == len(before) and not set(now.values()) & set(before.values())

    until(are_others, "every agent to be another one", ROLLOUT_SECONDS)


def restart(cluster: Cluster, what: str) -> None:
    """By the book."""
    cluster.kubectl("rollout", "restart", *HERE, what)
    roll_out(cluster, what)


def upgrade(cluster: Cluster) -> None:
    """Another image, and another environment."""
    cluster.in_cluster("docker", "tag", AGENT_IMAGE, NEXT_IMAGE)
    cluster.load(NEXT_IMAGE)
    cluster.kubectl("set", "env", *HERE, "daemonset/podnet-agent", "GENERATION=next")
    cluster.kubectl("set", "image", *HERE, "daemonset/podnet-agent", f"agent={NEXT_IMAGE}")
    roll_out(cluster, "daemonset/podnet-agent")


def make_anew(cluster: Cluster) -> None:
    """The DaemonSet is deleted, its Pods too, and installed again: the way back as well."""
    cluster.kubectl("delete", *HERE, "daemonset", "podnet-agent", timeout=ROLLOUT_SECONDS)
    until(lambda: not agents(cluster), "no agent", ROLLOUT_SECONDS)
    cluster.deploy()


def shown(name: str, flows: dict[str, Flow]) -> str:
    """A line of what was measured."""
    words = (
        f"{kind}: {flow.sent} sent, {flow.lost} lost, longest gap {flow.longest_gap:.0f} ms"
        f" (sender's own {flow.longest_pause:.0f} ms)"
        for kind, flow in flows.items()
    )
    return f"{name}: {'; '.join(words)}"


def processes(cluster: Cluster, sandbox: Body) -> list[tuple[int, str]]:
    """First processes of its containers: pid as of its status, and when the kernel began it."""
    here = ("--namespace", sandbox["metadata"]["namespace"])
    now = cluster.get("psb", sandbox["metadata"]["name"], *here)
    found = []
    for each in now["status"]["containers"]:
        stat = cluster.node(now["spec"]["nodeName"], "cat", f"/proc/{each['pid']}/stat")
        found.append((each["pid"], stat.rpartition(")")[2].split()[19]))
    return found


EVENTS: dict[str, Callable[[Cluster], None]] = {
    "agents killed": kill_agents,
    "agents restarted": partial(restart, what="daemonset/podnet-agent"),
    "agents upgraded": upgrade,
    "agents deleted and made anew": make_anew,
    "operator restarted": partial(restart, what="deployment/podnet-operator"),
}


@pytest.mark.timeout(900)
def test_no_packet_is_lost_and_no_connection_reset(
    deployed: Cluster,
    namespace: str,
    pair: tuple[Body, Body],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S30. A thousand datagrams a second and a TCP connection, from one node to the other."""
    here, there = pair
    address = there["status"]["podIPs"][0]["ip"]
    before = [processes(deployed, each) for each in pair]
    lines, flows = [], {}
    try:
        with probes(deployed, namespace, *deployed.workers()), serve(place(there), 8080):
            for name, happens in EVENTS.items():
                with Stream(place(here), address, 8080) as stream:
                    happens(deployed)
                    flows[name] = stream.stop()
                lines.append(shown(name, flows[name]))
    finally:
        with capsys.disabled():
            print("", *lines, sep="\n")
        deployed.deploy()
    for each in flows.values():
        for flow in each.values():
            flow.check(PAUSE)
    assert [processes(deployed, each) for each in pair] == before


def test_the_probe_sees_a_loss(deployed: Cluster, namespace: str, pair: tuple[Body, Body]) -> None:
    """What the test above counts would be counted."""
    here, there = pair
    address = there["status"]["podIPs"][0]["ip"]
    peer = there["status"]["interfaces"][0]["peer"]["name"]
    with (
        probes(deployed, namespace, *deployed.workers()),
        serve(place(there), 8080),
        Stream(place(here), address, 8080) as stream,
    ):
        shut = f"ip link set {peer} down; sleep 0.2; ip link set {peer} up"
        deployed.node(there["spec"]["nodeName"], "bash", "-c", shut)
        assert stream.stop()["udp"].lost > 0
