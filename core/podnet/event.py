"""Events: what people are told of an object, by `kubectl describe` and `kubectl events`. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
Status = Mapping[str, Any]

MESSAGE_BYTES = 1000
"""Of an Event's message; the API server takes 1024 (core/v1, Event)."""
NAME_PREFIX = 200
"""Of the name that the server goes on with, which has 253 in all."""


@dataclass(frozen=True, slots=True)
class Said:
    """What happened: in one word, and in a sentence."""

    reason: str
    message: str
    warning: bool


def event(said: Said, of: Body, now: str, component: str, node: str = "") -> Body:
    """The Event of it. `of` is the object, or only its kind, version, name, namespace and uid."""
    meta = of["metadata"]
    namespace = meta.get("namespace", "")
    source = {"component": component} | ({"host": node} if node else {})
    return {
        "metadata": {
            "generateName": f"{meta['name']}."[:NAME_PREFIX],
            "namespace": namespace or "default",
        },
        "involvedObject": {
            "apiVersion": of["apiVersion"],
            "kind": of["kind"],
            "name": meta["name"],
            "namespace": namespace,
            "uid": meta["uid"],
        },
        "type": "Warning" if said.warning else "Normal",
        "reason": said.reason,
        "message": said.message.encode()[:MESSAGE_BYTES].decode(errors="ignore"),
        "source": source,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }


def course(before: Status, after: Status) -> Iterator[Said]:
    """What happened to a PodSandbox between two of its statuses.

    Nothing is told twice, also by an agent that was started anew: what the API server has of a
    status is what the next one is compared with.
    """
    yield from _interfaces(before, after)
    yield from _trouble(before, after)
    known = {each["name"]: each for each in before.get("containers") or ()}
    for container in after.get("containers") or ():
        yield from _container(known.get(container["name"], {}), container)


def _interfaces(before: Status, after: Status) -> Iterator[Said]:
    old, new = _wired(before), _wired(after)
    for name, sentence in new.items():
        if old.get(name) != sentence:
            yield Said("Attached", sentence, warning=False)
    if "interfaces" in after:
        for name in old.keys() - new.keys():
            yield Said("Detached", f"{name} was taken away", warning=False)


def _wired(status: Status) -> dict[str, str]:
    """What there is to say of each interface that is there, by its name."""
    found = {}
    for each in status.get("interfaces") or ():
        if each.get("addresses"):
            addresses = ", ".join(each["addresses"])
            found[each["name"]] = (
                f"{each['name']} is on PodNetwork {each['podNetwork']}: {addresses}, MAC"
                f" {each['mac']}, by {each['peer']['name']} in {each['bridge']}"
            )
    return found


def _trouble(before: Status, after: Status) -> Iterator[Said]:
    """A condition that does not hold any more, or for another reason; not what containers say."""
    now = _conditions(after)
    name = "NetworkReady" if "NetworkReady" in now else "Ready"
    condition, old = now.get(name, {}), _conditions(before).get(name, {})
    if condition.get("status") == "False" and condition.get("message"):
        same = ("status", "reason", "message")
        if any(condition.get(key) != old.get(key) for key in same):
            yield Said(condition["reason"], condition["message"], warning=True)


def _conditions(status: Status) -> dict[str, Any]:
    return {each["type"]: each for each in status.get("conditions") or ()}


def _container(before: Status, now: Status) -> Iterator[Said]:
    """A start, an end, or why there is none."""
    name, restarts = now["name"], now.get("restarts") or 0
    if now["state"] == "running":
        if (before.get("state"), before.get("restarts")) != ("running", now.get("restarts")):
            again = f", for the {_ordinal(restarts + 1)} time" if restarts else ""
            yield Said("Started", f"container {name} runs{again}", warning=False)
        return
    said = ("state", "reason", "message", "restarts", "finishedAt")
    if not now.get("reason") or all(before.get(key) == now.get(key) for key in said):
        return
    if now["state"] == "waiting" and before.get("message") == now.get("message"):
        return  # tried again, to no other end
    sentence = now.get("message") or f"ended with exit code {now.get('exitCode')}"
    title = f"container {name}: "
    message = title + sentence.removeprefix(title)
    yield Said(now["reason"], message, warning=now["reason"] != "Completed")


def _ordinal(number: int) -> str:
    """2nd, 3rd, 4th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 <= number % 100 <= 20 else ending}"
