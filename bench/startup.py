"""From creation to running: PodSandboxes beside Pods of the same image on the same node."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.kube import PODNET, Body, Kube, is_ready
from bench.row import Row
from support.cluster import BUSYBOX, Cluster
from support.host import until

NAMESPACE = "podnet-bench"
ROUNDS, CROWD_ROUNDS, CROWD = 15, 3, 50
POLL_SECONDS, SETTLE_SECONDS = 0.5, 3.0
"""Volumes and control groups of 50 Pods go for two seconds after their namespaces have gone."""
_CONTAINER = {"name": "c", "image": f"docker.io/{BUSYBOX}", "command": ["sleep", "1d"]}


@dataclass(frozen=True)
class Contender:
    """A kind of object that is made, gets there and is taken away."""

    path: str
    body: Callable[[str, str], Body]
    there: Callable[[Body], bool]
    delete_query: str = ""

    def seconds(self, kube: Kube, node: str, count: int, turn: int) -> list[float]:
        """For each of `count` made at once on the node: from its request to its state.

        They are gone from the API when it returns, and perhaps not yet from the node.
        """
        names = [f"turn-{turn}-{number}" for number in range(count)]
        with kube.watching(self.path, self.there) as arrivals:
            asked = kube.create(self.path, [self.body(name, node) for name in names])
            arrivals.wait(names)
            kube.delete(self.path, names, self.delete_query)
            arrivals.wait_gone(names)
        return [arrivals.reached[name] - asked[name] for name in names]


def _pod(name: str, node: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "nodeName": node,  # no scheduler, as the sandboxes have no operator's choice
            "containers": [_CONTAINER | {"imagePullPolicy": "Never"}],
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
        },
    }


def _sandbox(name: str, node: str) -> Body:
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"nodeName": node, "containers": [_CONTAINER]},
    }


PODS = Contender(
    f"/api/v1/namespaces/{NAMESPACE}/pods",
    _pod,
    lambda body: body.get("status", {}).get("phase") == "Running",
    "?gracePeriodSeconds=0",
)
SANDBOXES = Contender(f"{PODNET}/namespaces/{NAMESPACE}/podsandboxes", _sandbox, is_ready)


def measure(cluster: Cluster, kube: Kube, node: str, rounds: int | None) -> Iterator[Row]:
    """One at a time, then CROWD at once; in turns with Pods, each when the node is rid of the last.

    The kubelet takes Pods down for seconds after the API has none of them: who begins by then
    shares the processors with that.
    """
    own = _namespaces(cluster, node)
    for name, count, turns, goal in (
        ("sandbox-one", 1, rounds or ROUNDS, 0.5),
        (f"sandbox-{CROWD}", CROWD, min(rounds or CROWD_ROUNDS, CROWD_ROUNDS), 0.4),
    ):
        ours: list[float] = []
        theirs: list[float] = []
        for turn in range(turns):
            print(f"  {name}: round {turn + 1}", file=sys.stderr)
            for contender, samples in ((PODS, theirs), (SANDBOXES, ours)):
                samples.append(median(contender.seconds(kube, node, count, turn)))
                until(lambda: _is_rid(cluster, node, own), "the node to be rid of them", 120)
                time.sleep(SETTLE_SECONDS)
        yield Row(
            name=name,
            what=f"PodSandbox created -> Ready, {count} at once on one node: p50",
            against="Pod of the same image there, created -> Running",
            ours=ours,
            peer=theirs,
            goal=goal,
        )


def _is_rid(cluster: Cluster, node: str, own: set[str]) -> bool:
    time.sleep(POLL_SECONDS)  # each look starts a process in the node
    return _namespaces(cluster, node) <= own


def _namespaces(cluster: Cluster, node: str) -> set[str]:
    """The network namespaces that the node has pinned: the last thing of a Pod that goes."""
    return set(cluster.node(node, "ls", "/run/netns").split())
