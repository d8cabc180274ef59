"""What `make bench` prints, and that its C floor is told what the agent tells the kernel."""

import json
import sys
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from bench import floor
from bench.row import Row, amount, table

from podnet.attachment import Attachment, AttachRequest
from podnet.desired import EVERYWHERE, attachment_objects
from podnet.network import Network
from podnet.objects import HOST, NOTHING, Netns
from podnet.plan import plan
from podnet_agent.message import batch, messages

NETNS = Netns("/run/netns/podnet-a")
SUBNET = ip_network("172.17.0.0/16")
NETWORK = Network("default", "podnet0", 1500, (SUBNET,), (SUBNET,), True, True, False, True, True)


@pytest.mark.parametrize(
    ("ours", "goal", "holds"), [([2.0, 1.0, 9.0], 0.5, True), ([2.1, 1.0, 9.0], 0.5, False)]
)
def test_the_ratio_of_medians_decides(ours: list[float], goal: float, holds: bool) -> None:
    row = Row(name="x", what="", ours=ours, peer=[4.0, 4.0, 1.0], goal=goal, worst=1.0)
    assert row.holds is holds
    assert json.loads(row.json()) == {
        "name": "x", "ratio": round(row.ratio, 3), "goal": goal, "worst": 1.0, "holds": holds,
    }  # fmt: skip


def test_without_a_peer_the_number_itself_decides() -> None:
    row = Row(name="forks", what="", ours=[0], goal=0, unit="")
    assert json.loads(row.json()) == {"name": "forks", "ratio": 0, "goal": 0, "holds": True}


def test_the_spread_is_the_95th_percentile_by_the_median() -> None:
    assert Row(name="x", what="", ours=list(range(1, 102)), goal=1).spread == 96 / 51


def test_columns_are_aligned() -> None:
    rows = [
        Row(name="short", what="a", against="b", ours=[0.001], peer=[0.002], goal=1, worst=2),
        Row(name="a-longer-name", what="c", ours=[61.0], goal=60, unit="MiB", note="d"),
    ]
    head, _, first, second, *notes = table(rows).splitlines()
    assert first.split() == ["short", "1", "ms", "2", "ms", "0.50", "x", "1", "x", "2", "x", "1.00",
                             "1", "yes"]  # fmt: skip
    assert second.split() == ["a-longer-name", "61.0", "MiB", "60", "1", "NO"]
    assert head.index("goal") + len("goal") == first.index("1 x") + len("1 x")
    assert notes == ["short: a, against b", "a-longer-name: c; d"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0001234, "0.123 ms"), (0.0421, "42.1 ms"), (1.234, "1.23 s")]
)
def test_seconds_are_printed_with_three_digits(seconds: float, text: str) -> None:
    assert amount(seconds, "s") == text


def test_the_floor_says_what_the_agent_says() -> None:
    request = AttachRequest("a", "eth0", NETNS, "default", "PodSandbox/x/a", routes=EVERYWHERE)
    attachment = Attachment(1, request, (ip_interface("172.17.0.2/16"),), "02:42:ac:11:00:02")
    operations = plan(attachment_objects(NETWORK, attachment), NOTHING).operations
    netns, ifname, *steps, go = floor.job(operations, NETNS, "eth0", 3).splitlines()
    assert (netns, ifname, go) == (f"netns {NETNS}", "ifname eth0", "go")
    assert [step.split()[0] for step in steps] == ["host", "sysctl", "sysctl", "pod"]
    for line, here in (steps[0], HOST), (steps[-1], NETNS):
        _, count, text, *offsets = line.split()
        sent = bytearray.fromhex(text)
        for offset in offsets:  # what the program puts in: a descriptor of 7, an index of 2
            sent[int(offset) : int(offset) + 4] = (7 if here == HOST else 2).to_bytes(4, "little")
        by_agent = [
            message
            for operation in operations
            if operation.what.netns == here and floor.by_rtnetlink(operation.what)
            for message in messages(operation, lambda where, _: 2 if where else 3, lambda _: 7)
        ]
        assert int(count) == len(by_agent)
        assert sent == batch(by_agent, 1)
