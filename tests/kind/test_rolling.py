"""S30: agents and CNI programs of two versions take turns while Pods come and go and talk."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.cluster import AGENT_IMAGE, Cluster
from support.cluster_traffic import PodPlace, speaker
from support.host import until
from support.plane import condition, in_agent, pod
from support.traffic import Stream, serve

SYSTEM, AGENTS = "--namespace=podnet-system", "daemonset/podnet-agent"
OTHER_IMAGE = "podnet/agent:other"
OTHER = f"FROM {AGENT_IMAGE}\nRUN printf other >> /opt/podnet/bin/podnet-cni\n"
"""Of the same code but for its CNI program: that one's bytes differ, so it is put in place anew."""
PROGRAM = "/opt/cni/bin/podnet-cni"
FOREIGN = "/etc/cni/net.d/05-kept.conflist"
ROLLOUT_SECONDS = 240
PAUSE = 5000.0
"""Milliseconds that a busy machine may stand still: what is lost counts."""
BATCHES = 2
"""Of Pods that came and went after each turn, at least."""


class Maker:
    """Makes Pods on every worker and deletes them, again and again, for the length of a block."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.made = 0  # batches that all were Ready, and are gone

    def __enter__(self) -> "Maker":
        self._work = self._thread.submit(self._run)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.shutdown()

    def stop(self) -> None:
        """End with the batch that is under way; fail where a Pod did not come or go."""
        self._stopped.set()
        self._work.result(ROLLOUT_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._batch()
            self.made += 1

    def more(self, count: int) -> None:
        """Wait until so many more batches came and went."""
        wanted = self.made + 1 + count  # the one under way began before

        def is_done() -> bool:
            if self._work.done():
                self._work.result()
            return self.made >= wanted

        until(is_done, f"{count} batches of Pods", ROLLOUT_SECONDS)

    def _batch(self) -> None:
        here = ("--namespace", self._namespace, "--selector=batch=yes")
        pods = []
        for node in self._cluster.workers():
            for number in range(2):
                body = pod(f"batch-{self.made}-{number}-{node}", self._namespace, node)
                body["metadata"]["labels"] = {"batch": "yes"}
                pods.append(body)
        self._cluster.apply(*pods)
        ready = ("wait", *here, "--for=condition=Ready", "pods", "--timeout=180s")
        self._cluster.kubectl(*ready, timeout=200)
        self._cluster.kubectl("delete", *here, "pods", "--timeout=120s", timeout=130)


@pytest.fixture(scope="module")
def other(deployed: Cluster) -> Iterator[None]:
    """The nodes have the other image; behind the tests the usual one runs."""
    build = ("docker", "build", "--quiet", "--network=none", "--tag", OTHER_IMAGE, "-")
    deployed.in_cluster(*build, stdin=OTHER)
    deployed.load(OTHER_IMAGE)
    yield
    deployed.deploy()
    wait_for_program(deployed, AGENT_IMAGE)


def wait_for_program(cluster: Cluster, image: str) -> None:
    """Every node has the CNI program of that image."""
    command = ("docker", "run", "--rm", "--entrypoint=sha256sum", image)
    wanted = cluster.in_cluster(*command, "/opt/podnet/bin/podnet-cni").stdout.split()[0]
    for node in cluster.nodes():
        name = node["metadata"]["name"]
        until(
            lambda name=name: wanted in cluster.node(name, "sha256sum", PROGRAM, check=False),
            f"{name} to have the program of {image}",
            30,
        )


def turn_to(cluster: Cluster, image: str) -> None:
    """Agents of that image, one node after the other, and their programs."""
    cluster.kubectl("set", "image", SYSTEM, AGENTS, f"agent={image}")
    wait = ("rollout", "status", SYSTEM, AGENTS, f"--timeout={ROLLOUT_SECONDS}s")
    cluster.kubectl(*wait, timeout=ROLLOUT_SECONDS + 10)
    wait_for_program(cluster, image)


def ready_since(cluster: Cluster) -> dict[str, tuple[str, str]]:
    """Whether each node is Ready, and since when."""
    found = {each["metadata"]["name"]: condition(each) for each in cluster.nodes()}
    return {name: (said["status"], said["lastTransitionTime"]) for name, said in found.items()}


@pytest.mark.timeout(900)
def test_pods_come_and_go_and_talk_while_versions_change(
    deployed: Cluster, namespace: str, other: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """No Pod fails for good, no packet is lost, and no node stops being Ready."""
    first, second = deployed.workers()
    deployed.apply(speaker("here", namespace, first), speaker("there", namespace, second))
    inside = ("--namespace", namespace)
    deployed.kubectl("wait", *inside, "--for=condition=Ready", "pods", "--all", "--timeout=120s")
    address = deployed.get("pod", "there", *inside)["status"]["podIP"]
    since = ready_since(deployed)
    here, there = PodPlace(namespace, "here"), PodPlace(namespace, "there")
    with (
        serve(there, 8080),
        Stream(here, address, 8080) as stream,
        Maker(deployed, namespace) as maker,
    ):
        for image in (OTHER_IMAGE, AGENT_IMAGE, OTHER_IMAGE):
            turn_to(deployed, image)
            maker.more(BATCHES)
        maker.stop()
        flows = stream.stop()
    with capsys.disabled():
        words = [
            f"{name}: {flow.sent} sent, {flow.lost} lost, longest gap {flow.longest_gap:.0f} ms"
            f" (sender's own {flow.longest_pause:.0f} ms)"
            for name, flow in flows.items()
        ]
        print(f"\n{maker.made} batches of 4 Pods in 3 turns; {'; '.join(words)}")
    for flow in flows.values():
        flow.check(PAUSE)
    assert ready_since(deployed) == since


@pytest.mark.parametrize("agents", [OTHER_IMAGE, AGENT_IMAGE], ids=["newer", "older"])
def test_a_program_of_another_version_serves(
    deployed: Cluster, namespace: str, other: None, agents: str
) -> None:
    """It is kept, and containerd told to call it, as long as the test runs."""
    node, _ = deployed.workers()
    programs = {AGENT_IMAGE: OTHER_IMAGE, OTHER_IMAGE: AGENT_IMAGE}
    turn_to(deployed, programs[agents])
    deployed.node(node, "cp", PROGRAM, f"{PROGRAM}-kept")
    turn_to(deployed, agents)
    config = json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "kept",
            "plugins": [{"type": "podnet-cni-kept", "capabilities": {"portMappings": True}}],
        }
    )
    put = f"cat > {FOREIGN}.part && mv {FOREIGN}.part {FOREIGN}"
    here = ("--namespace", namespace)
    try:
        deployed.node(node, "sh", "-c", put, stdin=config)
        deployed.apply(pod("web", namespace, node))
        deployed.kubectl("wait", *here, "--for=condition=Ready", "pod/web", "--timeout=120s")
        listed = in_agent(deployed, node, "podnet", "get", "attachments", "--output=json")
        (served,) = (
            each for each in json.loads(listed)["items"] if each["owner"] == f"Pod/{namespace}/web"
        )
        assert served["cniNetwork"] == "kept"
        deployed.kubectl("delete", *here, "pod/web", "--timeout=120s")
    finally:
        deployed.node(node, "rm", "-f", FOREIGN, f"{PROGRAM}-kept")
