"""Who reaches whom on one machine: every rule of the table, met by traffic."""

from collections.abc import Iterator

import pytest

from support.traffic import Answer, Outcome, Target, icmp, reach, reachability, tcp, udp
from support.world import (
    ANYWHERE,
    LOOPBACK,
    NODE_PORT,
    NOWHERE,
    OUTSIDE4,
    OUTSIDE6,
    POD_PORT,
    UPLINK,
    UPLINK4,
    UPLINK6,
    World,
    pod4,
    pod6,
    world,
)

WORLDS = {
    "by the agent": {},
    "by the agent, bridged frames pass the firewall": {"bridge_nf": True},
    "by the printed commands": {"by_hand": True},
}
MASQUERADED = "masqueraded"
"""The server sees the gateway where bridged frames do not pass the firewall, else the client."""
PATIENCE = 0.8
"""Seconds: hundreds of questions at once on a small machine."""

Expected = tuple[str, str, Target, str]
"""From where, what is asked (a sentence), the target, and how it ends: the server's view of the
client's address (an echo has none: `answered`), or `refused` or `blocked`."""


def transports(address: str, port: int) -> tuple[Target, Target]:
    return tcp(address, port), udp(address, port)


def expected() -> Iterator[Expected]:
    for version, pod, uplink, outside in (
        (4, pod4, UPLINK4, OUTSIDE4),
        (6, pod6, UPLINK6, OUTSIDE6),
    ):
        gateway = {4: "10.1.0.1", 6: "fd01::1"}[version]
        local = {4: "127.0.0.1", 6: "::1"}[version]
        yield "client", "a neighbour", icmp(pod("web")), "answered"
        yield "node", "a pod", icmp(pod("web")), "answered"
        yield "client", "outside", icmp(outside), "answered"
        yield "stranger", "a pod of another network", icmp(pod("web")), "blocked"
        yield "outside", "a pod", icmp(pod("web")), "blocked"
        for at in range(2):

            def to(address: str, port: int, at: int = at) -> Target:
                return transports(address, port)[at]

            inside, published = to(pod("web"), POD_PORT), to(uplink, ANYWHERE)
            yield "client", "a neighbour", inside, pod("client")
            yield "node", "a pod", inside, gateway
            yield "client", "the node at the gateway", to(gateway, NODE_PORT), pod("client")
            yield "client", "outside, masqueraded", to(outside, POD_PORT), uplink
            yield "stranger", "outside, masqueraded", to(outside, POD_PORT), uplink
            yield "bare", "outside, not masqueraded", to(outside, POD_PORT), pod("bare")
            yield "outside", "a port published on any address", published, outside
            yield "node", "a port published on any address", published, uplink
            yield "client", "a neighbour's published port", published, MASQUERADED
            yield "client", "a neighbour's port at the gateway", to(gateway, ANYWHERE), MASQUERADED
            yield "web", "its own published port", published, gateway
            yield "web", "its own port at the gateway", to(gateway, ANYWHERE), gateway
            yield "stranger", "a port published by another network", published, pod("stranger")
            yield "open", "a port published by another network", published, pod("open")
            if version == 4:
                yield "node", "a published port at 127.0.0.1", to(local, ANYWHERE), gateway
                yield "node", "a port published on 127.0.0.1", to(local, LOOPBACK), gateway
            else:
                yield "node", "a published port at ::1", to(local, ANYWHERE), "refused"
            yield "outside", "a port published on one address", to(uplink, UPLINK), outside
            yield "node", "a port published on another address", to(gateway, UPLINK), "refused"
            yield "outside", "a port published on 127.0.0.1 only", to(uplink, LOOPBACK), "refused"
            yield "client", "a port published on 127.0.0.1", to(gateway, LOOPBACK), "refused"
            yield "outside", "a port not published", to(uplink, NOWHERE), "refused"
            yield "outside", "a pod itself", inside, "blocked"
            yield "outside", "a pod of an open network", to(pod("open"), POD_PORT), "blocked"
            yield "stranger", "a pod of an isolated network", inside, "blocked"
            yield "open", "an isolated network's pod", inside, "blocked"
            yield "stranger", "an open network from isolation", to(pod("open"), POD_PORT), "blocked"
            yield "open", "an open network from another", to(pod("bare"), POD_PORT), pod("open")


EXPECTED = list(expected())


@pytest.fixture(scope="module", params=WORLDS.values(), ids=WORLDS)
def whole(request: pytest.FixtureRequest) -> Iterator[tuple[World, bool]]:
    with world(**request.param) as built:
        yield built, request.param.get("bridge_nf", False)


@pytest.fixture(scope="module")
def answers(whole: tuple[World, bool]) -> dict[str, dict[str, Answer]]:
    """Everything asked from everywhere, at the same time, once the slowest way is open."""
    places = whole[0].places
    for address in (OUTSIDE4, OUTSIDE6):
        reach(places["bare"], tcp(address, POD_PORT))
    targets = {str(target): target for _, _, target, _ in EXPECTED}
    return reachability(places, targets, PATIENCE)


@pytest.mark.parametrize(
    ("source", "what", "target", "end"),
    EXPECTED,
    ids=[f"{source} asks {what}: {target}" for source, what, target, _ in EXPECTED],
)
def test_who_reaches_whom(
    whole: tuple[World, bool],
    answers: dict[str, dict[str, Answer]],
    source: str,
    what: str,
    target: Target,
    end: str,
) -> None:
    """S16, S18: each blocked way stands beside open ones on the same wire."""
    built, bridge_nf = whole
    answer = answers[source][str(target)]
    if end == "refused":
        assert answer.outcome is Outcome.REFUSED
    elif end == "blocked":
        assert answer.outcome is Outcome.SILENT
    else:
        if not answer:  # the machine was busy, or it really is not
            answer = reach(built.places[source], target)
        if end == MASQUERADED:
            v4 = ":" not in target.address
            end = {True: pod4, False: pod6}[v4](source) if bridge_nf else _gateway(v4)
        assert answer.peer == end or end == "answered"


def _gateway(v4: bool) -> str:
    return "10.1.0.1" if v4 else "fd01::1"
