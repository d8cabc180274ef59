"""While a part of the cluster is away, what runs goes on; when it is back, all catches up."""

import copy
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from support.cluster import BUSYBOX, ROOT, Cluster
from support.host import until
from support.plane import (
    Body,
    address,
    follows,
    gone,
    left_of,
    pinging,
    podnetwork,
    ready,
    routes,
    sandbox,
    says,
    shares,
)

SYSTEM = "--namespace=podnet-system"
AGENTS, OPERATOR = "daemonset/podnet-agent", "deployment/podnet-operator"
AWAY_SECONDS = 120
"""How long the API server is away: eight times the lease, more than any pause between two tries."""
CONTROL_PLANE = "podnet-control-plane"
MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"


def share(body: Body) -> str:
    """The IPv4 share that a sandbox's address is of."""
    return f"{address(body).rpartition('.')[0]}.0/24"


# --- the API server ---


@contextmanager
def without_api_server(cluster: Cluster) -> Iterator[None]:
    """The API server is away in the block, and behind it takes what is written.

    One that says it is ready may still refuse that: the policies of admission have watches of
    their own.
    """
    written = {"apiVersion": "v1", "kind": "List", "items": [sandbox("any", "default")]}

    def answers() -> bool:
        done = cluster.in_cluster("kubectl", "get", "--raw=/readyz", check=False)
        return not done.returncode

    def takes() -> bool:
        words = ("apply", "--dry-run=server", "--filename", "-")
        done = cluster.in_cluster("kubectl", *words, stdin=json.dumps(written), check=False)
        return not done.returncode

    hidden = "/etc/kubernetes/kube-apiserver.hidden"
    cluster.node(CONTROL_PLANE, "mv", MANIFEST, hidden)
    try:
        until(lambda: not answers(), "the API server to be away", 120)
        yield
    finally:
        cluster.node(CONTROL_PLANE, "mv", hidden, MANIFEST)
        until(takes, "the API server to be back", 180)


def kill_agent(cluster: Cluster, node: str) -> str:
    """SIGKILL the node's agent; its process id until then."""
    pid = agent(cluster, node)
    cluster.node(node, "kill", "-KILL", pid)
    return pid


def agent(cluster: Cluster, node: str) -> str:
    """The process id of the node's agent; empty while it has none."""
    found = cluster.node(node, "pgrep", "--oldest", "--full", "podnet-agent serve", check=False)
    return found.strip()


def restarts(cluster: Cluster) -> dict[str, int]:
    """How often each of podnet's containers was started anew, by Pod."""
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in cluster.get("pods", SYSTEM)["items"]
    }


@pytest.mark.timeout(400)
def test_an_api_server_that_is_away_for_minutes_is_done_without(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S37, S13: traffic goes on, repair goes on, an agent starts anew; then all catches up."""
    here, there = pair
    node, _ = deployed.workers()
    way = routes(deployed, node)[share(there)]
    before = restarts(deployed)
    with pinging(deployed, here, there) as pings, without_api_server(deployed):
        began = time.monotonic()
        old = kill_agent(deployed, node)
        until(lambda: agent(deployed, node) not in ("", old), "another agent", 120)
        deployed.node(node, "nft", "delete", "table", "inet", "podnet")
        until(lambda: table_is_there(deployed, node), "the rules to be back", 40)
        time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
    assert pings.sent > AWAY_SECONDS
    assert pings.lost == 0
    assert routes(deployed, node)[share(there)] == way
    late = f"{namespace}-late"
    deployed.apply(sandbox("late", namespace), podnetwork(late, "10.79.0.0/16"))
    try:
        ready(deployed, namespace, "late")
        until(lambda: len(shares(deployed, late)) == 3, "shares of a new network", 80)
    finally:
        deployed.kubectl("delete", "podnetwork", late)
    deployed.kubectl("delete", "psb", "--all", "--namespace", namespace, "--timeout=120s")
    gone(deployed, *pair)
    after = restarts(deployed)
    changed = {name for name, times in after.items() if before.get(name) != times}
    assert len(changed) == 1  # the agent that was killed


def table_is_there(cluster: Cluster, node: str) -> bool:
    """Whether podnet's rules are."""
    table = ("nft", "list", "table", "inet", "podnet")
    return "type filter hook" in cluster.node(node, *table, check=False)


# --- a node's containerd ---


def test_a_containerd_that_is_away_is_named_and_waited_for(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S36: what runs goes on; what is wanted says why it does not come, and comes with it."""
    here, there = pair
    node, _ = deployed.workers()
    inside = ("--namespace", namespace)
    with pinging(deployed, here, there) as pings:
        deployed.node(node, "systemctl", "stop", "containerd")
        try:
            deployed.apply(sandbox("new", namespace, node))
            message = says(deployed, "CreateContainerError", "psb/new", *inside)
            assert "containerd does not answer on /run/containerd/containerd.sock" in message
            assert "`systemctl status containerd` on the node says why" in message
            assert deployed.get("psb/new", *inside)["status"]["podIPs"]  # its network is there
        finally:
            deployed.node(node, "systemctl", "start", "containerd")
        ready(deployed, namespace, "new")
    assert pings.lost == 0
    ready_node = ("wait", f"node/{node}", "--for=condition=Ready", "--timeout=120s")
    deployed.kubectl(*ready_node, timeout=130)


def test_a_kubelet_that_starts_anew_leaves_pods_and_sandboxes_alone(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S36."""
    here, there = pair
    node, inside = here["spec"]["nodeName"], ("--namespace", namespace)
    container = {"name": "main", "image": BUSYBOX, "command": ["sleep", "1d"]}
    meta = {"name": "pod", "namespace": namespace}
    spec = {"nodeName": node, "containers": [container]}
    deployed.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pod/pod", "--timeout=120s")

    def found() -> tuple[object, ...]:
        pod = deployed.get("pod/pod", *inside)["status"]
        ours = deployed.get(f"psb/{here['metadata']['name']}", *inside)["status"]
        counts = [each["restartCount"] for each in pod["containerStatuses"]]
        return pod["podIP"], counts, ours["podIPs"], [each["pid"] for each in ours["containers"]]

    def renewed() -> str:
        lease = deployed.get(f"lease/{node}", "--namespace=kube-node-lease")
        return str(lease["spec"]["renewTime"])

    before, lease = found(), renewed()
    with pinging(deployed, here, there) as pings:
        deployed.node(node, "systemctl", "restart", "kubelet")
        until(lambda: renewed() != lease, "the kubelet to have begun", 60)
        time.sleep(2)  # by then it has gone through all that it finds running
    assert found() == before
    assert pings.lost == 0


# --- operator and agents ---


@contextmanager
def without_podnet(cluster: Cluster) -> Iterator[None]:
    """Neither operator nor any agent runs in the block; all do behind it."""

    def select(nodes: dict[str, str | None]) -> None:
        selector = {"spec": {"template": {"spec": {"nodeSelector": nodes}}}}
        cluster.kubectl("patch", AGENTS, SYSTEM, "--patch", json.dumps(selector))

    def pods() -> list[Any]:
        found: list[Any] = cluster.get("pods", SYSTEM)["items"]
        return found

    cluster.kubectl("scale", OPERATOR, SYSTEM, "--replicas=0")
    select({"podnet.dev/test": "nowhere"})
    try:
        until(lambda: not pods(), "all of podnet to have ended", 120)
        yield
    finally:
        select({"podnet.dev/test": None})
        cluster.kubectl("scale", OPERATOR, SYSTEM, "--replicas=1")
        for what in (AGENTS, OPERATOR):
            wait = ("rollout", "status", what, SYSTEM, "--timeout=240s")
            cluster.kubectl(*wait, timeout=250)


def test_what_is_deleted_while_podnet_is_away_is_cleaned_up(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S38: a sandbox, a whole namespace, a network in use; what stays notices nothing."""
    node, _ = deployed.workers()
    doomed = f"{namespace}-doomed"
    deployed.kubectl("create", "namespace", doomed)
    deployed.apply(podnetwork(doomed, "10.79.0.0/16"))
    deployed.apply(
        sandbox("single", namespace, node),
        sandbox("first", doomed, node, podNetwork=doomed),
        sandbox("second", doomed, node),
    )
    (single,) = ready(deployed, namespace, "single")
    others = ready(deployed, doomed)
    held = ("podnetwork", doomed)
    until(lambda: deployed.get(*held)["metadata"].get("finalizers"), "the network to be held", 40)
    bridge = others[0]["status"]["interfaces"][0]["bridge"]
    with pinging(deployed, *pair) as pings:
        with without_podnet(deployed):
            deployed.kubectl("delete", "psb/single", "--namespace", namespace)
            deployed.kubectl("delete", "namespace", doomed, "--timeout=100s")
            deployed.kubectl("delete", *held, "--wait=false")
            deployed.apply(sandbox("new", namespace))
            assert left_of(deployed, single)
        ready(deployed, namespace, "new")
        gone(deployed, single, *others)
        deployed.kubectl("wait", *held, "--for=delete", "--timeout=80s")
        until(lambda: shares(deployed, doomed) == {}, "no share to be left", 40)
        links = ("ip", "-brief", "link")
        until(lambda: bridge not in deployed.node(node, *links), "its bridge to be gone", 60)
    assert pings.lost == 0


# --- the kinds ---


def test_a_kind_with_one_field_more_and_back_changes_nothing_that_runs(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """S38: as an upgrade of podnet, and the way back."""
    node, _ = deployed.workers()
    crd = yaml.safe_load((ROOT / "crds/podsandboxes.yaml").read_text())
    newer = copy.deepcopy(crd)
    schema = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["note"] = {"type": "string"}

    def knows() -> bool:
        explain = ("explain", "podsandbox.spec.note")
        return not deployed.in_cluster("kubectl", *explain, check=False).returncode

    def uids() -> dict[str, str]:
        found = deployed.get("psb", "--namespace", namespace)["items"]
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}

    before = uids()
    with pinging(deployed, *pair) as pings:
        for number, kind in enumerate((newer, crd)):
            deployed.apply(kind)
            until(lambda wanted=kind is newer: knows() == wanted, "the server to take it up", 40)
            deployed.apply(sandbox(f"new{number}", namespace, node))
            ready(deployed, namespace, f"new{number}")
    assert pings.lost == 0
    assert {name: uid for name, uid in uids().items() if name in before} == before


@pytest.fixture
def all_returns(deployed: Cluster) -> Iterator[None]:
    """Behind a test of the kinds: they are there, whatever became of it, and so are shares."""
    yield
    if not kinds_are_there(deployed):
        free = 'kubectl patch --type=merge -p \'{"metadata":{"finalizers":null}}\''
        script = f"kubectl get podnetworks -o name | xargs -n 1 {free}"
        deployed.in_cluster("bash", "-c", script, check=False)
        deployed.deploy()


@pytest.mark.usefixtures("all_returns")
def test_kinds_that_are_deleted_take_nothing_down_and_all_returns_with_them(
    deployed: Cluster, namespace: str, pair: tuple[Body, Body]
) -> None:
    """By accident, as it happens: all objects of podnet's go with their kinds."""
    here, there = pair
    node, _ = deployed.workers()
    before = shares(deployed, "default")
    with pinging(deployed, here, there) as pings:
        deployed.kubectl("delete", "--kustomize", str(ROOT / "crds"), timeout=170)
        old = kill_agent(deployed, node)
        until(lambda: agent(deployed, node) not in ("", old), "another agent", 120)
        way = routes(deployed, node)[share(there)]
        deployed.node(node, "ip", "route", "delete", share(there))
        follows(deployed, node, share(there), way)
    assert pings.lost <= 5  # while there was no route
    deployed.kubectl("apply", "--kustomize", str(ROOT / "crds"))
    until(lambda: kinds_are_there(deployed), "the kinds", 60)
    until(lambda: shares(deployed, "default") == before, "all shares", 120)
    for each in deployed.workers():
        deployed.apply(sandbox(each, namespace, each))
    here, there = ready(deployed, namespace)
    ping = deployed.inside(here, "ping", "-c", "1", "-W", "5", address(there))
    assert "1 packets received" in ping
    gone(deployed, *pair)


def kinds_are_there(cluster: Cluster) -> bool:
    """Whether the server knows them all."""
    done = cluster.in_cluster("kubectl", "get", "pnet,nsub,psb", "--all-namespaces", check=False)
    return not done.returncode
