"""podnet taken out of a cluster and put in again, and who has to be out of the way meanwhile."""

import contextlib
import time
from collections.abc import Iterator

from support.cluster import ROOT, Cluster
from support.host import until

SYSTEM = "--namespace=podnet-system"
OPERATOR = "deployment/podnet-operator"
OVERLAY = ("--kustomize", str(ROOT / "deploy/overlays/kind"))
UNINSTALL_SECONDS = 180.0
"""For the whole command; containers have 10 s of it, and kubectl waits for all Pods."""


def uninstall(cluster: Cluster) -> float:
    """How many seconds the one command takes."""
    begun = time.monotonic()
    cluster.kubectl("delete", "--ignore-not-found", *OVERLAY, timeout=UNINSTALL_SECONDS)
    return time.monotonic() - begun


@contextlib.contextmanager
def reinstalled(cluster: Cluster) -> Iterator[None]:
    """For the tests that come after. CoreDNS is away in the block: it is made anew on podnet."""
    with _without_coredns(cluster):
        try:
            yield
        finally:
            cluster.deploy()


@contextlib.contextmanager
def _without_coredns(cluster: Cluster) -> Iterator[None]:
    """kube-proxy's rules tell whether it is ready, and it is not where nobody is its CNI."""
    here = ("--namespace=kube-system",)
    scale = ("scale", "deployment/coredns", *here)
    cluster.kubectl(*scale, "--replicas=0")
    try:
        label = "--selector=k8s-app=kube-dns"
        until(lambda: not cluster.get("pods", *here, label)["items"], "CoreDNS to be gone", 120)
        yield
    finally:
        cluster.kubectl(*scale, "--replicas=2")
        wait = ("rollout", "status", "deployment/coredns", *here, "--timeout=180s")
        cluster.kubectl(*wait, timeout=200)


@contextlib.contextmanager
def without_operator(cluster: Cluster, *, back: bool = True) -> Iterator[None]:
    """None runs in the block, one does behind it; `back`: else podnet is gone by then."""
    cluster.kubectl("scale", OPERATOR, SYSTEM, "--replicas=0")
    label = "--selector=app.kubernetes.io/name=podnet-operator"
    try:
        until(lambda: not cluster.get("pods", SYSTEM, label)["items"], "no operator", 120)
        yield
    finally:
        if back:
            cluster.kubectl("scale", OPERATOR, SYSTEM, "--replicas=1")
            wait = ("rollout", "status", OPERATOR, SYSTEM, "--timeout=120s")
            cluster.kubectl(*wait, timeout=130)
