"""Plans and explanations as plain data, for a socket or a screen."""

from dataclasses import fields
from typing import Any

from podnet.commands import commands
from podnet.explain import Line
from podnet.objects import KernelObject
from podnet.plan import Add, Change, Operation, Plan

UNSHOWN = {"cause", "within", "needs", "netns"}
"""Fields that stand beside an object's own, or only order it."""


def operation_body(operation: Operation) -> dict[str, Any]:
    """One operation with the commands that do it."""
    thing = operation.what
    kind, netns, name = thing.key
    verb = {Add: "add", Change: "change"}.get(type(operation), "remove")
    return {
        "verb": verb,
        "kind": kind,
        "netns": netns,
        "name": name,
        "cause": thing.cause,
        "commands": list(commands(operation)),
    }


def plan_body(plan: Plan) -> dict[str, Any]:
    """A plan in its order, and what stands in its way."""
    return {
        "operations": [operation_body(operation) for operation in plan.operations],
        "conflicts": [str(conflict) for conflict in plan.conflicts],
    }


def line_body(line: Line) -> dict[str, Any]:
    """One object of an explanation."""
    kind, netns, name = line.what.key
    found = line.found
    return {
        "kind": kind,
        "netns": netns,
        "name": name,
        "what": object_body(line.what),
        "cause": line.what.cause,
        "commands": list(line.commands),
        "verdict": line.verdict,
        "found": object_body(found.what) if found and line.verdict == "differs" else None,
        "ifindex": found.ifindex if found else None,
        "peerIfindex": found.peer_ifindex if found else None,
    }


def object_body(thing: KernelObject | str) -> dict[str, Any]:
    """A kernel object's own fields, as text where JSON has no better."""
    if isinstance(thing, str):
        return {"foreign": thing}
    return {
        field.name: _plain(getattr(thing, field.name))
        for field in fields(thing)
        if field.name not in UNSHOWN
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int) else str(value)
