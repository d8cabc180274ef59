"""What happens to podnet's own Pods while traffic goes on: ended, upgraded, made anew."""

from collections.abc import Callable
from functools import partial

from support.cluster import Cluster
from support.host import until

AGENT, OPERATOR = "daemonset/podnet-agent", "deployment/podnet-operator"
ROLLOUT_SECONDS = 120
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


def upgrade(cluster: Cluster, program: str, what: str) -> None:
    """Another image, and another environment."""
    image = f"podnet/{program}:next"
    cluster.in_cluster("docker", "tag", f"podnet/{program}:dev", image)
    cluster.load(image)
    cluster.kubectl("set", "env", *HERE, what, "GENERATION=next")
    cluster.kubectl("set", "image", *HERE, what, f"{program}={image}")
    roll_out(cluster, what)


def make_anew(cluster: Cluster) -> None:
    """The DaemonSet is deleted, its Pods too, and installed again: the way back as well."""
    cluster.kubectl("delete", *HERE, "daemonset", "podnet-agent", timeout=ROLLOUT_SECONDS)
    until(lambda: not agents(cluster), "no agent", ROLLOUT_SECONDS)
    cluster.deploy()


EVENTS: dict[str, Callable[[Cluster], None]] = {
    "agents killed": kill_agents,
    "agents restarted": partial(restart, what=AGENT),
    "agents upgraded": partial(upgrade, program="agent", what=AGENT),
    "agents deleted and made anew": make_anew,
    "operator restarted": partial(restart, what=OPERATOR),
    "operator upgraded": partial(upgrade, program="operator", what=OPERATOR),
}
