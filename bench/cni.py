"""ADD and DEL beside Debian's CNI plugins, one after the other and eight at once."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench import contenders
from bench.caller import Chain, Plugin, Pod, build
from bench.contenders import Contender
from bench.row import Row, spread
from support.host import Host

ROUNDS, EACH = 30, 5
"""Pods a round and contender, one after the other; each is timed by itself."""
CROWD, WORKERS = 96, 8
BURST = 110
"""Pods at once: as many as a kubelet allows on a node."""

CHAINS: dict[str, Chain] = {
    "ours": contenders.podnet(),
    "ours, a port": contenders.podnet(port=True),
    "bridge": contenders.plain_bridge(),
    "loopback": contenders.loopback(),
    "chain": contenders.flannel_like(),
    "a port": contenders.masquerade_with_port(),
}
CROWDED = ("ours", "bridge")
PROGRAM = Plugin(contenders.SHIM, {"name": "podnet"})


@dataclass
class Times:
    """Of one contender: seconds of each call, and of each crowd."""

    add: list[float] = field(default_factory=list)
    delete: list[float] = field(default_factory=list)
    crowds_up: list[float] = field(default_factory=list)
    crowds_down: list[float] = field(default_factory=list)
    bursts: list[float] = field(default_factory=list)  # of each, the 99th percentile
    program: list[float] = field(default_factory=list)  # asked for VERSION, which needs no agent


class Race:
    """All contenders, in turns; who begins is another one every round."""

    def __init__(self, contenders: dict[str, Contender]) -> None:
        self._contenders = contenders
        self.times = {name: Times() for name in contenders}
        self._next = 1

    def one_by_one(self, rounds: int) -> None:
        """EACH pods up and down again; a round before that counts for nothing."""
        for turn in range(rounds + 1):
            pods = self._pods(EACH)
            for name in self._order(turn, list(self._contenders)):
                one, times = self._contenders[name], self.times[name]
                one.make_namespaces(pods)
                added, _ = one.add(pods)
                deleted, _ = one.delete(pods)
                one.settle(pods)
                if turn:
                    times.add += added
                    times.delete += deleted
                    if name == "ours":
                        times.program += one.caller.ask_version(PROGRAM, EACH)
            if turn % 10 == 0:
                print(f"  {turn} rounds", file=sys.stderr)

    def crowds(self, rounds: int) -> None:
        """CROWD pods up and down again, WORKERS at once."""
        for turn in range(rounds + 1):
            pods = self._pods(CROWD)
            for name in self._order(turn, list(CROWDED)):
                one, times = self._contenders[name], self.times[name]
                one.make_namespaces(pods)
                _, up = one.add(pods, WORKERS)
                _, down = one.delete(pods, WORKERS)
                one.settle(pods)
                if turn:
                    times.crowds_up.append(up)
                    times.crowds_down.append(down)

    def bursts(self, name: str, rounds: int) -> None:
        """BURST pods up at once, and down again; a round before that counts for nothing."""
        for turn in range(rounds + 1):
            one, pods = self._contenders[name], self._pods(BURST)
            one.make_namespaces(pods)
            added, _ = one.add(pods, BURST)
            one.delete(pods, WORKERS)
            one.settle(pods)
            if turn:
                self.times[name].bursts.append(sorted(added)[int(0.99 * BURST)])

    def processes(self, name: str) -> float:
        """How many are started for one ADD, threads too; the program's own workers are not."""
        one, pods = self._contenders[name], self._pods(EACH)
        one.make_namespaces(pods)
        asking = -one.processes() + one.processes()
        before = one.processes()
        one.add(pods)
        found = one.processes() - before - asking
        one.delete(pods)
        one.settle(pods)
        return (found - 1) / EACH

    def _pods(self, count: int) -> list[Pod]:
        first, self._next = self._next, self._next + count
        return [Pod(number) for number in range(first, self._next)]

    @staticmethod
    def _order(turn: int, names: list[str]) -> list[str]:
        first = turn % len(names)
        return names[first:] + names[:first]


def race(rounds: int | None) -> tuple[dict[str, Times], float]:
    """What it took each of them, and how many processes podnet's ADD took."""
    with ExitStack() as stack:
        program = build(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        found = {}
        for name, chain in CHAINS.items():
            host = stack.enter_context(Host(name.replace(", a", "").replace(" ", "-")))
            if name.startswith("ours"):
                contenders.start_agent(host)
            found[name] = Contender(host, program, chain)
        contest = Race(found)
        contest.one_by_one(rounds or ROUNDS)
        contest.crowds(rounds or ROUNDS)
        contest.bursts("ours", rounds or ROUNDS)
        return contest.times, contest.processes("ours")


def measure(rounds: int | None) -> Iterator[Row]:
    """Every row of one race."""
    times, processes = race(rounds)
    ours, bridge, chain = times["ours"], times["bridge"], times["chain"]
    lo = median(times["loopback"].add)
    given = "process started to its end, namespace given"
    yield Row(
        name="cni-add",
        what=f"ADD, {given}",
        against="bridge + host-local",
        ours=ours.add,
        peer=bridge.add,
        goal=0.20,
        worst=0.30,
    )
    yield Row(
        name="cni-add-chain",
        what=f"ADD, {given}",
        against="loopback, bridge with masquerading + host-local, portmap without ports",
        ours=ours.add,
        peer=chain.add,
        goal=0.07,
        worst=0.12,
        note=f"without loopback {median(ours.add) / (median(chain.add) - lo):.3f} x",
    )
    yield Row(
        name="cni-add-port",
        what=f"ADD with one published port, {given}",
        against="bridge with masquerading + host-local, portmap",
        ours=times["ours, a port"].add,
        peer=times["a port"].add,
        goal=0.05,
        worst=0.15,
    )
    yield Row(
        name="cni-add-spread",
        what="ADD, 95th percentile by median",
        ours=[round(spread(ours.add), 2)],
        goal=1.5,
        worst=2,
        unit="",
        note=f"bridge + host-local {spread(bridge.add):.2f}, the program asked for VERSION"
        f" {spread(ours.program):.2f}",
    )
    yield Row(
        name="cni-del",
        what=f"DEL, {given}",
        against="bridge + host-local",
        ours=ours.delete,
        peer=bridge.delete,
        goal=0.15,
        worst=0.30,
    )
    yield _rate("cni-add-8", "ADD", ours.crowds_up, bridge.crowds_up, 6, 3)
    yield _rate("cni-del-8", "DEL", ours.crowds_down, bridge.crowds_down, 3.5, 1.5)
    yield Row(
        name="cni-burst",
        what=f"{BURST} ADD at once, 99th percentile of one",
        ours=ours.bursts,
        goal=0.2,
        worst=0.5,
    )
    yield Row(
        name="cni-processes",
        what="processes and threads started for one ADD",
        ours=[processes],
        goal=1,
        worst=1,
        unit="",
    )


def _rate(
    name: str, verb: str, ours: list[float], peer: list[float], goal: float, worst: float
) -> Row:
    return Row(
        name=name,
        what=f"{verb} a second, {CROWD} pods, {WORKERS} at once",
        against="bridge + host-local",
        ours=[CROWD / seconds for seconds in ours],
        peer=[CROWD / seconds for seconds in peer],
        goal=goal,
        worst=worst,
        unit="/s",
        more=True,
    )
