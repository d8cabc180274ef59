"""Real traffic between places: servers, questions with four possible ends, streams.

A negative result is only worth something beside a positive one on the same wire, so `blocked`
asks for both and `reachability` gives a table of them. What could not even be tried is an
exception, never a result.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, Protocol

from support.host import Host, HostError

PROBE = Path(__file__).with_name("probe.py")
SHORT, LONG = 0.4, 5.0
"""Seconds: what a silent target costs, and what an answer may take on a busy machine."""
UNINTERRUPTED = 150.0
"""Milliseconds: less than TCP's shortest wait before it sends again, 200."""


@dataclass(frozen=True)
class Place:
    """Where traffic begins or ends: a host, or a network namespace in it (a file of the host)."""

    host: Host
    netns: str | None = None

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start the probe there."""
        argv = [sys.executable, "-IS", str(PROBE), *args]
        pipe = subprocess.PIPE
        return self.host.popen(
            argv, netns=self.netns, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        )


class Beginning(Protocol):
    """Where the probe can be started: Place, or a sandbox of a cluster (cluster_traffic.py)."""

    def start(self, *args: str) -> "subprocess.Popen[str]":
        """Start the probe there."""
        ...


@dataclass(frozen=True)
class Target:
    """What is asked: an address and, but for icmp, a port."""

    protocol: str
    address: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.protocol} {self.address}" + (f" port {self.port}" if self.port else "")


Address = str | IPv4Address | IPv6Address


def tcp(address: Address, port: int) -> Target:
    """A TCP port to connect to."""
    return Target("tcp", str(address), port)


def udp(address: Address, port: int) -> Target:
    """A UDP port to ask."""
    return Target("udp", str(address), port)


def icmp(address: Address) -> Target:
    """An address to send an echo request to."""
    return Target("icmp", str(address))


class Outcome(StrEnum):
    """The ends a question can have."""

    ANSWERED = "answered"
    REFUSED = "refused"
    """The other side said that nobody listens."""
    SILENT = "silent"
    UNREACHABLE = "unreachable"
    """A kernel on the way said so: no route, or one that forbids it."""


@dataclass(frozen=True)
class Answer:
    """How a question ended; the rest is empty unless a server answered."""

    outcome: Outcome
    server: str = ""
    """The name it was started with."""
    peer: str = ""
    """The address from which it saw us."""
    port: int = 0
    """The port from which it saw us."""
    local: str = ""
    """Its own address at which it was asked."""

    def __bool__(self) -> bool:
        return self.outcome is Outcome.ANSWERED


@contextmanager
def serve(place: Beginning, *ports: int, name: str = "server") -> Iterator[None]:
    """Answer on these ports, TCP and UDP, both families, for the length of the block."""
    process = place.start("serve", name, *map(str, ports))
    assert process.stdout is not None and process.stderr is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise HostError(f"no server {name} on {ports}: {process.stderr.read().strip()}")
        yield
    finally:
        _end(process)


def ask(place: Place, *targets: Target, seconds: float = SHORT) -> list[Answer]:
    """What became of each, asked from there at the same time."""
    return _answers(_asking(place, targets, seconds), targets, seconds)


def reach(place: Place, target: Target, seconds: float = LONG) -> Answer:
    """Return the answer; fail when there is none in that time, however often it is asked."""
    end = time.monotonic() + seconds
    while True:
        (answer,) = ask(place, target, seconds=max(0.1, end - time.monotonic()))
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"{target} from {place}: {answer.outcome}, should have answered")
        time.sleep(0.02)


def blocked(place: Place, target: Target, *, beside: Target, seconds: float = LONG) -> Answer:
    """How `target` does not answer, while `beside` does, asked in the same breath.

    `beside` may take up to `seconds`; `target` has its short time after that again.
    """
    answer, twin = ask(place, target, beside)
    if not twin:
        reach(place, beside, seconds)
        answer, twin = ask(place, target, beside)
    assert twin, f"{beside} from {place}: {twin.outcome}, so {target} proves nothing"
    assert not answer, f"{target} from {place} answered as {answer}, should be blocked"
    return answer


def reachability(
    places: Mapping[str, Place], targets: Mapping[str, Target], seconds: float = SHORT
) -> dict[str, dict[str, Answer]]:
    """Every target from every place, all at the same time: result[place][target]."""
    asked = list(targets.values())
    started = {name: _asking(place, asked, seconds) for name, place in places.items()}
    return {
        name: dict(zip(targets, _answers(process, asked, seconds), strict=True))
        for name, process in started.items()
    }


def _asking(place: Place, targets: Any, seconds: float) -> "subprocess.Popen[str]":
    process = place.start("ask", str(seconds))
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has ended, and its standard error says why
        process.stdin.write(json.dumps([asdict(target) for target in targets]))
        process.stdin.close()
    process.stdin = None  # communicate would flush it again
    return process


def _answers(process: "subprocess.Popen[str]", targets: Any, seconds: float) -> list[Answer]:
    out, err = process.communicate(timeout=seconds + 20)
    if process.returncode:
        raise HostError(f"could not ask {', '.join(map(str, targets))}: {err.strip()}")
    answers = []
    for target, found in zip(targets, json.loads(out), strict=True):
        if "outcome" not in found:
            raise HostError(f"could not ask {target}: {found.get('error')}")
        answers.append(Answer(**{**found, "outcome": Outcome(found["outcome"])}))
    return answers


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.communicate()


# --- streams ---


@dataclass(frozen=True)
class Flow:
    """What a stream met; times in milliseconds."""

    sent: int
    received: int
    longest_gap: float
    """The longest time in which nothing came back."""
    longest_pause: float
    """The longest time in which nothing was sent: the machine was busy, not the way cut."""
    error: str
    """Why a connection ended early, else empty."""

    @property
    def lost(self) -> int:
        """Messages that did not come back."""
        return self.sent - self.received

    def check(self, milliseconds: float = UNINTERRUPTED) -> None:
        """Fail unless nothing was lost and nothing stood still, but for the sender itself."""
        assert not self.error and not self.lost, f"interrupted: {self}"
        gap = self.longest_gap - self.longest_pause
        assert gap <= milliseconds, f"a gap of {gap:.0f} ms, at most {milliseconds:g}: {self}"


class Stream:
    """A thousand datagrams and a hundred TCP messages a second, until `stop`."""

    def __init__(self, place: Beginning, address: Address, port: int) -> None:
        self._process = place.start("stream", str(address), str(port))
        assert self._process.stdout is not None and self._process.stderr is not None
        if self._process.stdout.readline() != "ready\n":
            error = self._process.stderr.read().strip()
            _end(self._process)
            raise HostError(f"no stream to {address} port {port}: {error}")

    def stop(self) -> dict[str, Flow]:
        """End it and tell what became of `udp` and `tcp`."""
        out, err = self._process.communicate(timeout=20)
        if self._process.returncode:
            raise HostError(f"the stream failed: {err.strip()}")
        return {name: Flow(**flow) for name, flow in json.loads(out).items()}

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process.poll() is None:
            _end(self._process)


def uninterrupted(stream: Stream, milliseconds: float = UNINTERRUPTED) -> dict[str, Flow]:
    """End the stream; fail if either flow lost something or stood still longer than that."""
    flows = stream.stop()
    for flow in flows.values():
        flow.check(milliseconds)
    return flows
