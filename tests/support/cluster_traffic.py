"""Streams between PodSandboxes of a cluster, or Pods, by the probe that the private hosts have.

A node has no Python, but the agent's image has. A Pod of it on each node enters the sandboxes'
networks; it is not the agent's, so it goes on whatever happens to that.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support.cluster import AGENT_IMAGE, FOLDER, Cluster
from support.plane import pod
from support.traffic import PROBE

Body = dict[str, Any]


@dataclass(frozen=True)
class SandboxPlace:
    """Where traffic begins or ends: a PodSandbox's network. Used as traffic.Place is."""

    namespace: str
    pod: str
    netns: str

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start the probe there."""
        enter = ("nsenter", f"--net={self.netns}", "python3", "-IS", "-c", PROBE.read_text())
        return _start(self.namespace, self.pod, *enter, *args)


@dataclass(frozen=True)
class PodPlace:
    """Where traffic begins or ends: a Pod of `speaker`. Used as traffic.Place is."""

    namespace: str
    pod: str

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start the probe there."""
        return _start(self.namespace, self.pod, "python3", "-IS", "-c", PROBE.read_text(), *args)


def speaker(name: str, namespace: str, node: str) -> Body:
    """A Pod of the agent's image, where the probe can be started. Its buffers take privileges."""
    body = pod(name, namespace, node)
    more = {"image": AGENT_IMAGE, "securityContext": {"privileged": True}}
    body["spec"]["containers"][0] |= more
    return body


@contextmanager
def probes(cluster: Cluster, namespace: str, *nodes: str) -> Iterator[None]:
    """Each of the nodes has a Pod from which `place` can begin; ends what they still run."""
    cluster.apply(*(_probe(namespace, node) for node in nodes))
    names = [f"pod/probe-{node}" for node in nodes]
    here = ("--namespace", namespace)
    try:
        cluster.kubectl("wait", *here, "--for=condition=Ready", "--timeout=60s", *names)
        yield
    finally:
        cluster.kubectl("delete", *here, "--now", "--wait=false", *names)


def place(sandbox: Body) -> SandboxPlace:
    """In the network of a sandbox that is ready, on a node that has a probe."""
    node = sandbox["spec"]["nodeName"]
    return SandboxPlace(
        sandbox["metadata"]["namespace"], f"probe-{node}", sandbox["status"]["netns"]["path"]
    )


def _start(namespace: str, name: str, *command: str) -> "subprocess.Popen[str]":
    argv = [FOLDER / "in", "kubectl", "exec", "-i", "-n", namespace, name, "--", *command]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, text=True, stdin=pipe, stdout=pipe, stderr=pipe)


def _probe(namespace: str, node: str) -> Body:
    mount = {"name": "netns", "mountPath": "/run/netns", "mountPropagation": "HostToContainer"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"probe-{node}", "namespace": namespace},
        "spec": {
            "nodeName": node,
            "hostNetwork": True,
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {
                    "name": "main",
                    "image": AGENT_IMAGE,
                    "command": ["sleep", "1d"],
                    "securityContext": {"privileged": True},
                    "volumeMounts": [mount],
                }
            ],
            "volumes": [{"name": "netns", "hostPath": {"path": "/run/netns"}}],
        },
    }
