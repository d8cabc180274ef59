"""What is known of a sandbox's containers, and what is to be done next. Pure.

waiting ──start──► running ──end──► exited ──back-off, as the policy says──► running
   └─ could not be made: tried again after the back-off     created: waits for who asked for it
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from podnet.sandbox import RestartPolicy

State = Literal["waiting", "created", "running", "exited"]
Body = dict[str, Any]

FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS = 10.0, 300.0
"""The kubelet's: a container's first end costs no wait, the second 10 s, each further one twice the
last, at most 5 min (kubernetes, pkg/kubelet: backOffPeriod, MaxContainerBackOff)."""
HEALTHY_SECONDS = 600.0
"""Who ran so long begins anew: the kubelet forgets after twice the longest wait."""

LOST_EXIT = 128 + 9
"""What stands for the exit code of a container whose own is not known: killed."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container, in its present or last run. Times are seconds since 1970."""

    name: str
    image: str
    state: State = "waiting"
    id: str = ""
    pid: int = 0
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    restarts: int = 0
    failures: int = 0
    """Ends in a row, each within HEALTHY_SECONDS of its start, and attempts to make it."""
    started: float | None = None
    finished: float | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """Which containers to make and start now; seconds until another one is due, if one will be."""

    start: tuple[str, ...]
    seconds: float | None


def next_steps(
    wanted: Sequence[str], policy: RestartPolicy, known: Mapping[str, Container], now: float
) -> Steps:
    """What brings the containers towards what is wanted, in the order they are wanted."""
    start, waits = [], []
    for name in wanted:
        container = known.get(name)
        if container is None:
            start.append(name)
        elif _is_due(container, policy):
            left = (container.finished or 0.0) + back_off_seconds(container.failures) - now
            if left <= 0:
                start.append(name)
            else:
                waits.append(left)
    return Steps(tuple(start), min(waits, default=None))


def _is_due(container: Container, policy: RestartPolicy) -> bool:
    if container.state == "exited":
        return policy == "Always" or (policy == "OnFailure" and container.exit_code != 0)
    return container.state == "waiting"


def back_off_seconds(failures: int) -> float:
    """How long after its end a container waits, having failed so many times in a row."""
    if failures < 2:
        return 0.0
    # The power is bounded too: a container may fail for years.
    return min(FIRST_BACK_OFF_SECONDS * 2.0 ** min(failures - 2, 10), LONGEST_BACK_OFF_SECONDS)


def running(container: Container, pid: int, now: float) -> Container:
    """The container, started; a start after an end is a restart."""
    return replace(
        container,
        state="running",
        pid=pid,
        exit_code=None,
        reason="",
        message="",
        restarts=container.restarts + (container.state == "exited"),
        started=now,
        finished=None,
    )


def exited(
    container: Container, exit_code: int, now: float, *, reason: str = "", message: str = ""
) -> Container:
    """The container, ended."""
    healthy = container.started is not None and now - container.started >= HEALTHY_SECONDS
    return replace(
        container,
        state="exited",
        pid=0,
        exit_code=exit_code,
        reason=reason or ("Completed" if exit_code == 0 else "Error"),
        message=message,
        failures=1 if healthy else container.failures + 1,
        finished=now,
    )


def not_made(
    container: Container, reason: str, message: str, now: float, *, may_pass: bool = False
) -> Container:
    """The container, that could not be made; it is tried again.

    Where that `may_pass` it is no failure of the container's own, and tried as often as at first.
    """
    return replace(
        container,
        state="waiting",
        pid=0,
        reason=reason,
        message=message,
        failures=max(container.failures, 2) if may_pass else container.failures + 1,
        finished=now,
    )


def adopted(before: Container | None, found: Container | None, now: float) -> Container | None:
    """A container that an earlier agent started, from its status and from what lies there.

    The status may be one run behind: that agent was killed before it had written it.
    """
    if before is None:
        return found
    if found is None:
        if before.state not in ("running", "created"):
            return before
        return exited(before, LOST_EXIT, now, reason="Lost", message="nothing of it was found")
    if before.started is None:
        return found
    if found.state == "running":
        same = before.state == "running"
        return replace(before if same else running(before, found.pid, now), pid=found.pid)
    if found.state != "exited" or found.finished is None or found.exit_code is None:
        return replace(found, restarts=before.restarts, failures=before.failures)
    if before.state == "exited" and before.finished == int(found.finished):
        return before
    ran = before if before.state == "running" else running(before, 0, found.finished)
    message = {"reason": found.reason, "message": found.message}
    return exited(ran, found.exit_code, found.finished, **message)


def body_of(container: Container) -> Body:
    """An entry of `status.containers`."""
    return {
        "name": container.name,
        "id": container.id,
        "image": container.image,
        "pid": container.pid or None,
        "state": container.state,
        "exitCode": container.exit_code,
        "reason": container.reason,
        "message": container.message,
        "restarts": container.restarts,
        "startedAt": _text(container.started),
        "finishedAt": _text(container.finished),
    }


def from_body(body: Mapping[str, Any]) -> Container:
    """What a status says of a container.

    How often it failed in a row does not stand there: taken for all its restarts, so that whoever
    keeps failing waits no less because the agent was started anew.
    """
    finished = _seconds(body.get("finishedAt"))
    restarts = int(body.get("restarts") or 0)
    return Container(
        name=body["name"],
        image=body.get("image", ""),
        state=body["state"],
        id=body.get("id", ""),
        pid=body.get("pid") or 0,
        exit_code=body.get("exitCode"),
        reason=body.get("reason", ""),
        message=body.get("message", ""),
        restarts=restarts,
        failures=restarts + (finished is not None),
        started=_seconds(body.get("startedAt")),
        finished=finished,
    )


def _text(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
