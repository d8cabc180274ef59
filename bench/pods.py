"""Fifty Pods at once on one node of a cluster: how long each waits for its network.

Both sides are the node's only plugin for the length of a round, by a configuration that sorts
before all others; containerd calls them through timed.c.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.kube import Kube
from bench.row import Row
from bench.startup import CROWD, PODS
from podnet_agent.install import CONFLIST
from support.cluster import Cluster
from support.host import until

SOURCE = Path(__file__).with_name("timed.c")
ROUNDS = 3
PROGRAMS, CONFIGURATION, TIMES = (
    "/opt/cni/bin",
    "/etc/cni/net.d/00-bench.conflist",
    "/run/cni-times",
)
KINDS_WAY: dict[str, Any] = {
    # As kind's own CNI writes it (kindnetd, cni.go); the range is the node's alone.
    "cniVersion": "0.3.1",
    "name": "bench",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-bench",
                "routes": [{"dst": "0.0.0.0/0"}],
                "ranges": [[{"subnet": "10.250.0.0/24"}]],
            },
            "mtu": 1500,
        },
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


def measure(cluster: Cluster, kube: Kube, node: str, rounds: int | None) -> Iterator[Row]:
    """One row: the 99th percentile of a round's Pods, first plugin's start to last one's end."""
    ours: list[float] = []
    peer: list[float] = []
    with _timed_plugins(cluster, node):
        for turn in range(rounds or ROUNDS):
            for config, samples in ((CONFLIST, ours), (KINDS_WAY, peer)):
                with _only(cluster, kube, node, config):
                    PODS.seconds(kube, node, CROWD, turn)
                    until(lambda: len(_times(cluster, node, "DEL")) >= CROWD, "their end", 120)
                    samples.append(_percentile(_times(cluster, node, "ADD")))
    yield Row(
        name=f"pods-{CROWD}",
        what=f"network of {CROWD} Pods made at once on one node: p99 of one's ADD",
        against="kind's own way: ptp, host-local and portmap",
        ours=ours,
        peer=peer,
        goal=0.25,
        worst=0.5,
    )


def _percentile(samples: list[float]) -> float:
    if len(samples) != CROWD:
        raise AssertionError(f"{len(samples)} of {CROWD} Pods were attached by the bench's plugin")
    return sorted(samples)[int(0.99 * (CROWD - 1) + 0.5)]


def _times(cluster: Cluster, node: str, command: str) -> list[float]:
    """Seconds of each container's call, all plugins of its chain together."""
    spans: dict[str, tuple[int, int]] = {}
    for line in cluster.node(node, "cat", TIMES, check=False).splitlines():
        called, container, began, ended = line.split()
        if called == command:
            first, last = spans.get(container, (int(began), int(ended)))
            spans[container] = min(first, int(began)), max(last, int(ended))
    return [(last - first) / 1e9 for first, last in spans.values()]


@contextmanager
def _timed_plugins(cluster: Cluster, node: str) -> Iterator[None]:
    """The programs that write down the time are in containerd's folder."""
    types = {plugin["type"] for each in (CONFLIST, KINDS_WAY) for plugin in each["plugins"]}
    names = [f"{PROGRAMS}/timed-{name}" for name in sorted(types)]
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "timed")
        command = ["musl-gcc", "-O2", "-static", "-s", "-o", program, SOURCE]
        subprocess.run(command, check=True)
        for name in names:
            cluster.in_cluster("docker", "cp", program, f"{node}:{name}")
    try:
        yield
    finally:
        cluster.node(node, "rm", "-rf", *names, "/run/cni-bench", TIMES)


@contextmanager
def _only(cluster: Cluster, kube: Kube, node: str, config: dict[str, Any]) -> Iterator[None]:
    """containerd calls these plugins, timed, and no others."""
    plugins = [each | {"type": f"timed-{each['type']}"} for each in config["plugins"]]
    text = json.dumps(config | {"plugins": plugins})
    write = f"cat > {CONFIGURATION}.new && mv {CONFIGURATION}.new {CONFIGURATION}"
    cluster.node(node, "sh", "-c", write, stdin=text)

    def used() -> bool:
        PODS.seconds(kube, node, 1, 0)
        return bool(_times(cluster, node, "ADD"))

    try:
        cluster.node(node, "rm", "-f", TIMES)
        until(used, "containerd to use it", 60)
        until(lambda: _times(cluster, node, "DEL"), "the end of the Pod that tried it", 60)
        cluster.node(node, "rm", "-f", TIMES)
        yield
    finally:
        cluster.node(node, "rm", "-f", CONFIGURATION)
