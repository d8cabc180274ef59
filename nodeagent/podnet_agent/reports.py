"""What the status of a PodSandbox says, from one look at it."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from podnet.errors import PodNetError
from podnet.objects import Netns
from podnet.sandbox import Sandbox
from podnet.status import Claim, InterfaceFacts, conditions, interface_body, phase
from podnet_agent.objects import Body, timestamp

OWN_NETNS = Netns("/proc/1/ns/net")
"""The machine's own namespace, as a path."""


@dataclass(frozen=True, slots=True)
class Report:
    """A look that went the whole way. Called with the object, it gives the object's status."""

    sandbox: Sandbox
    netns: Netns
    interfaces: tuple[InterfaceFacts, ...]
    states: tuple[Body, ...]

    def __call__(self, body: Body) -> Body:
        """Every fact, and the conditions that follow from them."""
        now = phase(self.states, self.sandbox.restart_policy, networked=True)
        missing = [facts.name for facts in self.interfaces if not facts.ifindex]
        idle = [state for state in self.states if state["state"] != "running"]
        ready = not idle and not missing and now == "Running"
        network = Claim("NetworkReady", True, "Wired")
        if missing:
            sentence = f"{', '.join(missing)} is gone from the namespace: it is made again"
            network = Claim("NetworkReady", False, "InterfaceMissing", sentence)
        containers = Claim("ContainersReady", not idle, _reason(idle), _why_not(idle))
        lacking = [claim for claim in (network, containers) if not claim.holds]
        unfinished = now in ("Pending", "Running")
        why = lacking[0].reason if lacking and unfinished else now
        sentences = "; ".join(claim.message for claim in lacking if claim.message)
        claims = [network, containers, Claim("Ready", ready, why, sentences)]
        return {
            "phase": now,
            "sandboxID": self.sandbox.id,
            "netns": {"path": self.netns or OWN_NETNS, "inode": inode_of(self.netns)},
            "interfaces": [interface_body(facts) for facts in self.interfaces],
            "podIPs": [
                {"ip": str(interface.ip)}
                for facts in self.interfaces[:1]
                for interface in facts.addresses
            ],
            "containers": list(self.states),
            "conditions": _conditions(body, claims),
        }


def failed(error: PodNetError) -> Callable[[Body], Body]:
    """The status of an object whose look ended with an error: what was known, and the reason."""

    def report(body: Body) -> Body:
        claims = [Claim("Ready", False, error.reason, str(error))]
        return {**body["status"], "phase": "Pending", "conditions": _conditions(body, claims)}

    return report


def homeless(body: Body) -> Body:
    """The status of a sandbox whose containers ended along with the namespace they had joined."""
    gone = ("netns", "containers")
    return {key: value for key, value in body["status"].items() if key not in gone}


def inode_of(netns: Netns) -> int | None:
    """Which namespace a path leads to, None when to none."""
    try:
        return os.stat(netns or OWN_NETNS).st_ino
    except FileNotFoundError:
        return None


def _conditions(body: Body, claims: list[Claim]) -> list[Body]:
    before = body["status"].get("conditions", [])
    return conditions(claims, before, body["metadata"]["generation"], timestamp())


def _reason(idle: list[Body]) -> str:
    """Why they don't run, in one word: the first one's."""
    said = [state["reason"] for state in idle if state.get("reason")]
    return (said or ["NotRunning"])[0] if idle else "Running"


def _why_not(idle: list[Body]) -> str:
    """What containers say of why they don't run, or how they ended."""
    return "; ".join(sentence for sentence in map(_sentence, idle) if sentence)


def _sentence(state: Body) -> str:
    title = f"container {state['name']}: "
    said: str = state.get("message") or ""
    if not said and state.get("exitCode") is not None:
        said = f"ended with exit code {state['exitCode']}"
    return title + said.removeprefix(title) if said else ""
