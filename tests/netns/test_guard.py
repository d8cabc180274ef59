"""What only somebody who means it would send: spoofed sources, the node's own loopback.

Each way is blocked beside an open one, and is open without the one rule that blocks it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from support.host import Host
from support.traffic import Place, Target, blocked, reach, tcp, udp
from support.world import (
    ANYWHERE,
    LOOPBACK,
    NODE_PORT,
    OUTSIDE4,
    UPLINK4,
    UPLINK6,
    World,
    pod4,
    world,
)

Ask = Callable[[str, int], Target]


@pytest.fixture(scope="module", params=[False, True], ids=["routed", "bridged frames filtered"])
def built(request: pytest.FixtureRequest) -> Iterator[World]:
    with world(bridge_nf=request.param) as whole:
        yield whole


@pytest.fixture(params=[tcp, udp])
def transport(request: pytest.FixtureRequest) -> Ask:
    asking: Ask = request.param
    return asking


@contextmanager
def without(built: World, chain: str, rule: str) -> Iterator[None]:
    """That one rule is missing, for the length of the block."""
    assert built.agent is not None
    listed = built.node.run(["nft", "-a", "list", "chain", "inet", "podnet", chain]).stdout
    (handle,) = [line.split()[-1] for line in listed.splitlines() if f"\t\t{rule} #" in line]
    built.nft(f"delete rule inet podnet {chain} handle {handle}")
    try:
        yield
    finally:
        assert built.agent.reconcile().operations


def closed_by(
    built: World, where: tuple[str, str], place: Place, target: Target, beside: Target
) -> None:
    """`target` is blocked from there, and by this rule of this chain alone."""
    blocked(place, target, beside=beside)
    with without(built, *where):
        reach(place, target)
    blocked(place, target, beside=beside)


def send_loopback_to(host: Host, gateway: str, source: str, netns: str | None = None) -> None:
    """What the place sends to 127.0.0.1 leaves it, for the gateway."""
    lines = (
        "ip address flush dev lo",
        f"ip route replace 127.0.0.1 via {gateway} src {source}",
        "sysctl -qw net.ipv4.conf.all.route_localnet=1",
    )
    host.run(["sh", "-ec", "; ".join(lines)], netns=netns)


def test_no_pod_reaches_what_listens_on_the_nodes_loopback(built: World, transport: Ask) -> None:
    """S19: route_localnet is set on our bridges."""
    place = built.places["client"]
    send_loopback_to(built.node, "10.1.0.1", pod4("client"), netns=place.netns)
    closed_by(
        built,
        ("pn_guard", "iifname @pn_bridges ip daddr 127.0.0.0/8 drop"),
        place,
        transport("127.0.0.1", NODE_PORT),
        beside=transport("10.1.0.1", NODE_PORT),
    )


def test_no_neighbour_reaches_what_is_published_on_loopback(built: World, transport: Ask) -> None:
    send_loopback_to(built.outside, UPLINK4, OUTSIDE4)
    closed_by(
        built,
        ("pn_pre", "ip daddr 127.0.0.0/8 return"),
        built.places["outside"],
        transport("127.0.0.1", LOOPBACK),
        beside=transport(UPLINK4, ANYWHERE),
    )


@pytest.mark.parametrize(
    ("rule", "gateway", "spoofed", "target"),
    [
        pytest.param(
            "iifname @pn_bridges ip saddr != 0.0.0.0 fib saddr . iif oif missing drop",
            "10.1.0.1",
            "10.2.0.99",
            UPLINK4,
            id="IPv4",
        ),
        pytest.param(
            "iifname @pn_bridges ip6 saddr != { ::, fe80::/10 } fib saddr . iif oif missing drop",
            "fd01::1",
            "fd02::99",
            UPLINK6,
            id="IPv6",
        ),
    ],
)
def test_a_pod_sends_from_no_address_of_another_network(
    built: World, transport: Ask, rule: str, gateway: str, spoofed: str, target: str
) -> None:
    """S41, as far as networks go. Nobody would hear an answer: what arrives at the node counts."""
    place = built.places["client"]
    family, option, flag = ("ip6", "-6", ["nodad"]) if ":" in spoofed else ("ip", "-4", [])
    for words in (
        ["address", "replace", spoofed, "dev", "lo", *flag],
        ["route", "replace", target, "via", gateway, "src", spoofed],
    ):
        built.node.run(["ip", option, *words], netns=place.netns)
    built.nft(
        "table inet watch; delete table inet watch; table inet watch { counter arrived {};"
        f" chain input {{ type filter hook input priority 0; {family} saddr {spoofed}"
        " counter name arrived; }; }"
    )

    def arrived() -> int:
        (counter,) = built.node.nft_json("list", "counter", "inet", "watch", "arrived")
        packets: int = counter["counter"]["packets"]
        return packets

    blocked(place, transport(target, NODE_PORT), beside=transport(gateway, NODE_PORT))
    assert arrived() == 0
    with without(built, "pn_guard", rule):
        blocked(place, transport(target, NODE_PORT), beside=transport(gateway, NODE_PORT))
    assert arrived() > 0
