"""What the status of an object says, from what was decided and what was found. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podnet.addresses import IPInterface

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Claim:
    """One condition: whether something holds, why, and a sentence for a person."""

    type: str
    holds: bool
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class InterfaceFacts:
    """One interface of a sandbox as the kernel has it, and the other end of its veth pair."""

    name: str
    ifindex: int
    mac: str
    mtu: int
    addresses: tuple[IPInterface, ...]
    peer_name: str
    peer_ifindex: int
    bridge: str
    network: str


def conditions(
    claims: Iterable[Claim], before: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[Body]:
    """The claims as Kubernetes' conditions; a time moves only when its condition's status does."""
    known = {condition["type"]: condition for condition in before}
    found = []
    for claim in claims:
        status = "True" if claim.holds else "False"
        old = known.get(claim.type, {})
        since = old["lastTransitionTime"] if old.get("status") == status else now
        found.append(
            {
                "type": claim.type,
                "status": status,
                "reason": claim.reason,
                "message": claim.message,
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    return found


def phase(states: Sequence[Mapping[str, Any]], policy: str, *, networked: bool) -> str:
    """Kubernetes' pod phase from containers' `state` ("running", "exited", ...).

    A sandbox without containers runs as soon as its network does.
    """
    if not networked:
        return "Pending"
    if not states:
        return "Running"
    if all(each["state"] == "exited" for each in states) and policy != "Always":
        failed = any(each.get("exitCode") for each in states)
        if not failed:
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    started = any(each["state"] in ("running", "exited") or each["restarts"] for each in states)
    return "Running" if started else "Pending"


def interface_body(facts: InterfaceFacts) -> Body:
    """An entry of `status.interfaces`."""
    return {
        "name": facts.name,
        "ifindex": facts.ifindex,
        "mac": facts.mac,
        "mtu": facts.mtu,
        "addresses": [str(interface) for interface in facts.addresses],
        "peer": {"name": facts.peer_name, "ifindex": facts.peer_ifindex},
        "bridge": facts.bridge,
        "podNetwork": facts.network,
    }
