"""Waiting for objects: `podnet wait`, and `up` until all is ready."""

import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from podnet.kinds import Kind
from podnet_cli.client import Failure, Refused
from podnet_cli.commands import namespace_option
from podnet_cli.resources import kind_of, resource_name, targets
from podnet_cli.tables import condition
from podnet_cli.watching import events, states

Body = dict[str, Any]
Name = tuple[Kind, str, str]
"""Kind, namespace (whatever it is where the kind has none), name."""
Test = Callable[[Body | None], bool]
"""Of an object as it is, or None where it is not there."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Seconds(click.ParamType[float]):
    """A duration as kubectl takes it: 30s, 1m30s, 500ms; a bare number is seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """In seconds."""
        if isinstance(value, float):
            return value
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", value):
            self.fail(f"{value!r} is no duration: write 30s or 1m30s", param, ctx)
        pieces = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value)
        return sum(float(number) * _UNITS[unit] for number, unit in pieces)


@click.command()
@click.argument("words", metavar="KIND/NAME...", nargs=-1)
@click.option("--for", "what", required=True, metavar="CONDITION", help="See above.")
@click.option("--timeout", type=Seconds(), default=30.0, help="How long; 30s when left out.")
@namespace_option
def wait(words: tuple[str, ...], what: str, timeout: float, namespace: str) -> None:
    """Wait until objects are as they should be.

    CONDITION is condition=Ready, condition=Ready=False, delete, create, or
    jsonpath='{.status.phase}'=Running.
    """
    deadline = time.monotonic() + timeout
    is_so = _test(what)
    for kind, name in targets(words):
        if name is None:
            raise Failure(f"name the {kind.plural} to wait for: KIND/NAME or KIND NAME...")
        try:
            _wait((kind, namespace, name), is_so, deadline, absent=what in ("delete", "create"))
        except TimeoutError:
            raise Failure(f"timed out waiting for the condition on {kind.plural}/{name}") from None
        print(f"{kind.resource}/{name} condition met", flush=True)


def _test(what: str) -> Test:
    sort, _, rest = what.partition("=")
    if what == "delete":
        return lambda body: body is None
    if what == "create":
        return lambda body: body is not None
    if sort == "condition" and rest:
        name, _, value = rest.partition("=")
        wanted = (value or "True").lower()
        return lambda body: (
            body is not None
            and _is_current(body, condition(body, name))
            and condition(body, name).get("status", "").lower() == wanted
        )
    path = re.fullmatch(r"jsonpath=(\{[^{}]*\})(?:=(.*))?", what)
    if path is None:
        raise Failure(
            f"--for={what} is not known: it is condition=TYPE, delete, create or"
            f" jsonpath='{{.status.phase}}'=VALUE"
        )
    return lambda body: _path_holds(path[1], path[2], body)


def _path_holds(template: str, wanted: str | None, body: Body | None) -> bool:
    from podnet_cli.jsonpath import render

    found = render(template, body or {})
    return found == wanted if wanted is not None else found != ""


def _is_current(body: Body, found: Body) -> bool:
    """Whether the condition speaks of the object's latest spec."""
    generation = body["metadata"].get("generation", 0)
    return bool(found.get("observedGeneration", generation) >= generation)


def _wait(name: Name, is_so: Test, deadline: float, *, absent: bool) -> None:
    """Until it is so, or TimeoutError. `absent`: the object may be missing meanwhile."""
    for body in states(name, deadline):
        if is_so(body):
            return
        if body is None and not absent:
            kind, _, missing = name
            message = f'{kind.plural}.podnet.dev "{missing}" not found'
            raise Refused({"reason": "NotFound", "message": message})


def until_ready(names: Sequence[Name], seconds: float) -> bool:
    """Tell of each object that it is ready, or why it is not by then; whether all are."""
    deadline = time.monotonic() + seconds
    waiting = _Waiting(names)
    for kind in dict.fromkeys(kind for kind, _, _ in names):
        try:
            for event, body in events(kind, None, deadline):
                waiting.see(kind, event, body)
                if not waiting.left(kind):
                    break
        except TimeoutError:
            continue
    waiting.end(seconds)
    return not waiting.failed


class _Waiting:
    """Who is still waited for; progress on a terminal, a line for each that is there."""

    def __init__(self, names: Sequence[Name]) -> None:
        self._why = dict.fromkeys(names, "it has reported nothing yet")
        self._all = len(names)
        self._shows = sys.stderr.isatty()
        self.failed: list[str] = []

    def left(self, kind: Kind) -> bool:
        """Whether one of that kind is still waited for."""
        return any(each is kind for each, _, _ in self._why)

    def see(self, kind: Kind, event: str, body: Body) -> None:
        """Take notice of one event."""
        if event == "BOOKMARK":
            return self._progress()
        meta = body["metadata"]
        name = (kind, meta.get("namespace", "default"), meta["name"])
        if name in self._why:
            state, why = ("failed", "it was deleted") if event == "DELETED" else outlook(body)
            if state == "waiting":
                self._why[name] = why
            else:
                del self._why[name]
                self._clear()
                if state == "failed":
                    self.failed.append(f"{resource_name(body)} is not ready: {why}")
                else:
                    print(f"{resource_name(body)} {why}", flush=True)
            self._progress()
        return None

    def end(self, seconds: float) -> None:
        """Say what is not ready, and why."""
        self._clear()
        for (kind, _, name), why in self._why.items():
            sentence = f"{kind.resource}/{name} is not ready after {seconds:g} s: {why}"
            self.failed.append(sentence)
        sys.stdout.flush()
        for sentence in self.failed:
            print(sentence, file=sys.stderr)

    def _progress(self) -> None:
        if self._shows and self._why:
            done = self._all - len(self._why)
            names = ", ".join(name for _, _, name in self._why)
            sys.stderr.write(f"\r\x1b[K{done}/{self._all} ready, waiting for {names}"[:120])
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._shows:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def outlook(body: Body) -> tuple[str, str]:
    """`ready`, `failed` (for good) or `waiting`, and why."""
    status = body.get("status", {})
    ready = condition(body, "Ready")
    if not ready or not _is_current(body, ready):
        return "waiting", "it has reported nothing yet"
    phase = status.get("phase", "")
    if ready["status"] == "True":
        return "ready", "ready"
    if phase == "Succeeded":
        return "ready", "completed"
    why = _ended(body) or ready.get("message") or f"it is {phase or ready.get('reason')}"
    return ("failed" if phase == "Failed" else "waiting"), why


def _ended(body: Body) -> str:
    """Which container has ended, how, and where it may say why; not one of which that is known."""
    name = body["metadata"]["name"]
    for each in body.get("status", {}).get("containers", ()):
        if each.get("message"):
            continue
        if each.get("exitCode") is not None and each.get("state") != "running":
            return (
                f"container {each['name']} ended with exit code {each['exitCode']}:"
                f" `podnet logs {name} -c {each['name']}` may say why"
            )
    return ""


def names_of(results: Sequence[Body]) -> list[Name]:
    """The objects that an answer to /apply tells of."""
    return [
        (kind_of(each["kind"]), each["namespace"] or "default", each["name"]) for each in results
    ]
