"""Objects of a cluster as kubectl tells of them: nodes, Pods, networks, shares, sandboxes."""

from typing import Any


def ready(holds: str = "True", reason: str = "R", message: str = "") -> dict[str, Any]:
    """Condition Ready; `holds`: its status."""
    return {"type": "Ready", "status": holds, "reason": reason, "message": message}


def node(name: str, **claim: str) -> dict[str, Any]:
    """A Node; `claim` as in `ready`."""
    return {"metadata": {"name": name}, "status": {"conditions": [ready(**claim)]}}


def pod(name: str, program: str, where: str, waiting: str = "") -> dict[str, Any]:
    """A Pod of one of podnet's programs, which runs unless its container waits."""
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": program}},
        "spec": {"nodeName": where, "containers": [{"image": f"podnet/{program}:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [ready("False" if waiting else "True")],
            "containerStatuses": [{"state": state}],
        },
    }


def sandbox(name: str, where: str | None, **claim: str) -> dict[str, Any]:
    """A PodSandbox on that node; with a claim, one that is not there yet."""
    spec = {"nodeName": where} if where else {}
    phase = "Pending" if claim else "Running"
    return {
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": "apps", "generation": 1},
        "spec": spec | {"network": {"mode": "Bridge"}, "containers": []},
        "status": {"phase": phase, "conditions": [ready(**claim)]},
    }


def network(**claim: str) -> dict[str, Any]:
    """The PodNetwork `lan`."""
    spec = {"backend": {"type": "HostGateway"}, "subnets": ["10.9.0.0/16"]}
    status = {"conditions": [ready(**claim)], "addressesUsed": 2, "addressesTotal": 506}
    return {"kind": "PodNetwork", "metadata": {"name": "lan"}, "spec": spec, "status": status}


def share(where: str, cidr: str, **claim: str) -> dict[str, Any]:
    """The share that a node has of it."""
    spec = {"podNetwork": "lan", "nodeName": where, "podCIDRs": [cidr]}
    status = {"conditions": [ready(**claim)]}
    return {
        "kind": "NodeSubnet",
        "metadata": {"name": f"lan.{where}"},
        "spec": spec,
        "status": status,
    }


HEALTHY = (
    [node("n1"), node("n2")],
    [
        pod("op-1", "podnet-operator", "n1"),
        pod("a-1", "podnet-agent", "n1"),
        pod("a-2", "podnet-agent", "n2"),
    ],
    [network(), share("n1", "10.9.0.0/24"), share("n2", "10.9.1.0/24"), sandbox("web", "n2")],
)
