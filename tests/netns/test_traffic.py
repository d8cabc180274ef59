"""Probes tell an answer from none, none from a mistake, and a whole stream from an interrupted."""

import re
from collections.abc import Callable, Iterator

import pytest

from support.host import Host, HostError
from support.traffic import (
    Outcome,
    Place,
    Stream,
    Target,
    ask,
    blocked,
    icmp,
    reach,
    reachability,
    serve,
    tcp,
    udp,
    uninterrupted,
)
from support.wire import End, connect

PORT, CLOSED = 7000, 7001
FAMILIES = ("ipv4", "ipv6")


@pytest.fixture
def ends(make_host: Callable[..., Host]) -> Iterator[tuple[End, End]]:
    """Two hosts and their wire; the second serves."""
    near, far = connect(make_host("near"), make_host("far"))
    with serve(Place(far.host), PORT, name="far"):
        yield near, far


def drop(host: Host, *, dport: int) -> None:
    """The host ignores what comes to that port, over any protocol."""
    host.run(
        ["nft", "-f", "-"],
        input="table inet t { chain c { type filter hook input priority 0; "
        f"meta l4proto {{ tcp, udp }} th dport {dport} drop; }}; }}",
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [tcp, udp])
def test_a_server_says_who_was_asked_and_by_whom(
    ends: tuple[End, End], family: str, protocol: Callable[..., Target]
) -> None:
    near, far = ends
    answer = reach(Place(near.host), protocol(getattr(far, family).ip, PORT))
    assert answer.server == "far"
    assert answer.peer == str(getattr(near, family).ip)
    assert answer.local == str(getattr(far, family).ip)
    assert answer.port > 1023


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ends_a_question_can_have(ends: tuple[End, End], family: str) -> None:
    near, far = ends
    address = getattr(far, family).ip
    drop(far.host, dport=CLOSED + 1)
    nobody = getattr(far, family).ip + 50  # no such neighbour: unreachable after 3 s, silent before
    elsewhere = {"ipv4": "198.51.100.9", "ipv6": "2001:db8:9::9"}[family]
    near.host.run(["ip", "route", "add", "unreachable", elsewhere])
    asked = {
        tcp(address, PORT): Outcome.ANSWERED,
        udp(address, PORT): Outcome.ANSWERED,
        icmp(address): Outcome.ANSWERED,
        tcp(address, CLOSED): Outcome.REFUSED,
        udp(address, CLOSED): Outcome.REFUSED,
        tcp(address, CLOSED + 1): Outcome.SILENT,
        udp(address, CLOSED + 1): Outcome.SILENT,
        icmp(nobody): Outcome.SILENT,
        tcp(elsewhere, PORT): Outcome.UNREACHABLE,
        udp(elsewhere, PORT): Outcome.UNREACHABLE,
        icmp(elsewhere): Outcome.UNREACHABLE,
    }
    answers = ask(Place(near.host), *asked, seconds=1)
    assert {target: answer.outcome for target, answer in zip(asked, answers, strict=True)} == asked


def test_loopback_of_a_namespace_in_a_host(host: Host) -> None:
    host.run(["ip", "netns", "add", "pod"])
    host.run(["ip", "-n", "pod", "link", "set", "lo", "up"])
    pod = Place(host, "/run/netns/pod")
    with serve(pod, PORT):
        for address in ("127.0.0.1", "::1"):
            assert reach(pod, tcp(address, PORT)).peer == address
            # The same address, another namespace: nobody there.
            assert ask(Place(host), tcp(address, PORT))[0].outcome is Outcome.REFUSED


def test_what_cannot_be_tried_is_not_an_answer(host: Host) -> None:
    with pytest.raises(HostError, match=r"could not ask tcp 127.0.0.1 port 1: .*No such file"):
        ask(Place(host, "/run/netns/none"), tcp("127.0.0.1", 1))
    with pytest.raises(HostError, match="could not ask tcp no-address port 1"):
        ask(Place(host), tcp("no-address", 1))
    with pytest.raises(HostError, match="could not ask sctp"):
        ask(Place(host), Target("sctp", "127.0.0.1", 1))
    with (
        serve(Place(host), PORT),
        pytest.raises(HostError, match="Address already in use"),
        serve(Place(host), PORT),
    ):
        pass


def test_another_program_behind_the_port_is_no_answer(host: Host) -> None:
    stranger = host.popen(
        ["python3", "-IS", "-c", "import socket; s = socket.create_server(('', 80)); "
         "c = s.accept()[0]; c.recv(99); c.send(b'hello\\n'); c.recv(99)"]
    )  # fmt: skip
    with pytest.raises(HostError, match=r"no server of ours: b'hello"):
        while ask(Place(host), tcp("127.0.0.1", 80))[0].outcome is Outcome.REFUSED:
            assert stranger.poll() is None


def test_reach_and_blocked_fail_when_the_world_is_otherwise(ends: tuple[End, End]) -> None:
    near, far = ends
    place, address = Place(near.host), far.ipv4.ip
    opened, closed = tcp(address, PORT), tcp(address, CLOSED)
    assert blocked(place, closed, beside=opened).outcome is Outcome.REFUSED
    with pytest.raises(AssertionError, match="refused, should have answered"):
        reach(place, closed, seconds=0.2)
    with pytest.raises(AssertionError, match=r"answered as .* should be blocked"):
        blocked(place, opened, beside=icmp(address))
    far.host.run(["ip", "link", "set", far.ifname, "down"])
    with pytest.raises(AssertionError, match="should have answered"):
        blocked(place, closed, beside=opened, seconds=0.2)


def test_a_table_of_places_and_targets(ends: tuple[End, End]) -> None:
    near, far = ends
    drop(far.host, dport=PORT)  # which its own loopback passes too
    table = reachability(
        {"near": Place(near.host), "far": Place(far.host)},
        {"ping": icmp(far.ipv4.ip), "tcp": tcp(far.ipv4.ip, PORT), "v6": udp(far.ipv6.ip, CLOSED)},
    )
    assert {(p, t): str(a.outcome) for p, row in table.items() for t, a in row.items()} == {
        ("near", "ping"): "answered",
        ("near", "tcp"): "silent",
        ("near", "v6"): "refused",
        ("far", "ping"): "answered",
        ("far", "tcp"): "silent",
        ("far", "v6"): "refused",
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_stream_left_alone_loses_nothing(ends: tuple[End, End], family: str) -> None:
    near, far = ends
    with Stream(Place(near.host), getattr(far, family).ip, PORT) as stream:
        reach(Place(near.host), icmp(far.ipv4.ip))
        flows = uninterrupted(stream)
    assert flows["udp"].sent > 20 and flows["tcp"].sent > 2


def test_a_stream_sees_an_interruption(ends: tuple[End, End]) -> None:
    near, far = ends
    with Stream(Place(near.host), far.ipv4.ip, PORT) as stream:
        drop(far.host, dport=PORT)
        ask(Place(near.host), tcp(far.ipv4.ip, PORT), seconds=0.15)  # which is silent
        far.host.run(["nft", "flush", "ruleset"])
        reach(Place(near.host), tcp(far.ipv4.ip, PORT))
        flows = stream.stop()
    assert flows["udp"].lost > 20
    assert flows["tcp"].lost == 0 and flows["tcp"].longest_gap > 150
    for flow in flows.values():
        with pytest.raises(AssertionError, match=r"interrupted|a gap of"):
            flow.check()


def test_a_stream_to_nobody_is_no_stream(ends: tuple[End, End]) -> None:
    near, far = ends
    with pytest.raises(HostError, match=re.escape(f"no stream to {far.ipv4.ip} port {CLOSED}")):
        Stream(Place(near.host), far.ipv4.ip, CLOSED)
