"""Objects of a real cluster for tests, what they say by now, and what travels between sandboxes."""

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.cluster import BUSYBOX, Cluster
from support.host import until

Body = dict[str, Any]

FOREVER = ("sleep", "1000000")
PING_SECONDS = 0.2
"""Between two pings of a stream."""


def podnetwork(name: str, *subnets: str, **spec: Any) -> Body:
    """A PodNetwork."""
    api = "podnet.dev/v1alpha1"
    spec |= {"subnets": list(subnets)} if subnets else {}
    return {"apiVersion": api, "kind": "PodNetwork", "metadata": {"name": name}, "spec": spec}


def sandbox(
    name: str, namespace: str, node: str = "", *, image: str = BUSYBOX, **network: Any
) -> Body:
    """A PodSandbox whose only container runs for ever; `network` is its spec.network."""
    container = {"name": "main", "image": f"docker.io/{image}", "command": [*FOREVER]}
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"network": network, "containers": [container]}
        | ({"nodeName": node} if node else {}),
    }


def pod(name: str, namespace: str, node: str, *command: str, **spec: Any) -> Body:
    """A Pod of that node; of its own accord its only container runs for ever."""
    container = {"name": "main", "image": BUSYBOX, "command": [*(command or FOREVER)]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
        | spec,
    }


def condition(body: Body, word: str = "Ready") -> Body:
    """The object's condition of that type; empty while there is none."""
    found = body.get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == word), {})


def says(
    cluster: Cluster, reason: str, *what: str, word: str = "Ready", seconds: float = 30
) -> str:
    """The message of an object's condition, once that has this reason. `what`: as for get."""
    last: Body = {}

    def said() -> bool:
        last.clear()
        last.update(condition(cluster.get(*what), word))
        return last.get("reason") == reason

    try:
        until(said, reason, seconds)
    except AssertionError as error:
        raise AssertionError(f"{' '.join(what)}: {word} says {last}, not {reason}") from error
    return str(last["message"])


def event(cluster: Cluster, reason: str, *what: str, seconds: float = 20) -> str:
    """The lines of an object's Event with that reason, once there is one. `what`: as for get."""

    def told() -> str:
        events = cluster.kubectl("describe", *what).rpartition("Events:")[2]
        return "\n".join(line for line in events.splitlines() if reason in line)

    found: str = until(told, f"an Event {reason} of {' '.join(what)}", seconds)
    return found


def ready(cluster: Cluster, namespace: str, *names: str, seconds: int = 120) -> list[Body]:
    """The sandboxes, once they are Ready; all of the namespace where none is named."""
    inside = ("--namespace", namespace)
    which = [f"psb/{name}" for name in names] or ["psb", "--all"]
    wait = ("wait", *inside, "--for=condition=Ready", f"--timeout={seconds}s")
    cluster.kubectl(*wait, *which, timeout=seconds + 10)
    if names:
        return [cluster.get(f"psb/{name}", *inside) for name in names]
    items: list[Body] = cluster.get("psb", *inside)["items"]
    return items


def pair_of(cluster: Cluster, namespace: str, command: tuple[str, ...] = FOREVER) -> list[Body]:
    """A sandbox on each worker, called as it is, whose container runs that; Ready."""
    for node in cluster.workers():
        body = sandbox(node, namespace, node)
        body["spec"]["containers"][0]["command"] = [*command]
        cluster.apply(body)
    return ready(cluster, namespace)


def address(body: Body) -> str:
    """A sandbox's address."""
    return str(body["status"]["podIPs"][0]["ip"])


def internal(node: Body) -> str:
    """The node's IPv4 address."""
    found: str = next(
        each["address"]
        for each in node["status"]["addresses"]
        if each["type"] == "InternalIP" and ":" not in each["address"]
    )
    return found


def container_address(cluster: Cluster, name: str) -> str:
    """The IPv4 address of one of docker's containers: a node, or somebody outside the cluster."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    return cluster.in_cluster("docker", "inspect", "-f", template, name).stdout.strip()


def in_agent(cluster: Cluster, node: str, *command: str) -> str:
    """What a command prints in the Pod of that node's agent."""
    here = ("--namespace", "podnet-system")
    label = "--selector=app.kubernetes.io/name=podnet-agent"
    (name,) = (
        each["metadata"]["name"]
        for each in cluster.get("pods", *here, label)["items"]
        if each["spec"]["nodeName"] == node and "deletionTimestamp" not in each["metadata"]
    )
    return cluster.kubectl("exec", *here, name, "--", *command)


def shares(cluster: Cluster, network: str) -> dict[str, list[str]]:
    """The CIDRs of every node's share."""
    items = cluster.get("nodesubnets", f"--field-selector=spec.podNetwork={network}")["items"]
    return {each["spec"]["nodeName"]: each["spec"]["podCIDRs"] for each in items}


def routes(cluster: Cluster, node: str) -> dict[str, str]:
    """Where the IPv4 routes of podnet's on a node lead: a gateway, or `unreachable`."""
    text = cluster.node(node, "ip", "-json", "route", "show", "proto", "142")
    return {each["dst"]: each.get("gateway") or each["type"] for each in json.loads(text or "[]")}


def follows(
    cluster: Cluster, node: str, destination: str, way: str | None, seconds: float = 20
) -> None:
    """Wait until the node's route to that share leads there; None: until there is none."""
    until(
        lambda: routes(cluster, node).get(destination) == way,
        f"{node}'s route to {destination} to be {way}",
        seconds,
    )


def left_of(cluster: Cluster, body: Body) -> list[str]:
    """What its node still has of a sandbox: namespace, veth, container, files, processes."""
    identity = body["status"]["sandboxID"]
    script = (
        "ls /run/netns /run/podnet/sandboxes; ip -o link; ctr -n k8s.io containers ls -q;"
        " ps -eo args"
    )
    peers = [each["peer"]["name"] for each in body["status"].get("interfaces", ())]
    seen = cluster.node(body["spec"]["nodeName"], "bash", "-c", script).splitlines()
    return [line for line in seen if identity in line or any(peer in line for peer in peers)]


def gone(cluster: Cluster, *bodies: Body, seconds: float = 40) -> None:
    """Wait until their nodes have nothing of these sandboxes any more."""
    for body in bodies:
        name = body["metadata"]["name"]
        until(lambda body=body: not left_of(cluster, body), f"all of {name} to be gone", seconds)


@dataclass
class Pings:
    """Echo requests that were sent, and answers that came. Final when the block has ended."""

    sent: int = 0
    received: int = 0

    @property
    def lost(self) -> int:
        """The last one may still have been under way."""
        return max(0, self.sent - self.received - 1)


@contextlib.contextmanager
def pinging(cluster: Cluster, here: Body, there: Body) -> Iterator[Pings]:
    """A stream of pings from one sandbox to the other, for the length of the block."""
    found, file = Pings(), f"/tmp/pings-{secrets.token_hex(4)}"
    netns = here["status"]["netns"]["path"].rpartition("/")[2]
    ping = f"busybox ping -i {PING_SECONDS} {address(there)}"
    script = f"ip netns exec {netns} {ping} > {file} 2>&1 & echo $!"
    node = here["spec"]["nodeName"]
    pid = cluster.node(node, "bash", "-c", script).strip()
    yield found
    script = f"kill -INT {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done; cat {file}"
    *_, counts = [
        line for line in cluster.node(node, "bash", "-c", script).splitlines() if "packets" in line
    ]
    numbers = [int(word) for word in counts.split() if word.isdigit()]
    found.sent, found.received = numbers[:2]
