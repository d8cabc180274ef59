"""ADD on a node that has PRESENT pods, beside the kernel messages from C and the shim's process."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

from bench import caller, contenders, floor
from bench.caller import Plugin, Pod
from bench.contenders import Contender
from bench.hosts import resident
from bench.row import Row, amount
from bench.wire import BURST, PRESENT
from support.host import Host, HostError

ROUNDS = 30
WORKERS = 8


class Floor:
    """The floor of `make bench` in a host of its own, with as many sandboxes."""

    def __init__(self, host: Host, program: Path) -> None:
        self._process = resident(host, "bench.wire", "floor", PRESENT, program)
        self._line()

    def turn(self, before: Callable[[], None]) -> list[float]:
        """The seconds of BURST pods, each after a call of `before`."""
        seconds = []
        self._ask()
        for _ in range(BURST):
            before()
            seconds.append(self._ask())
        self._line()
        return seconds

    def _ask(self) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise HostError(f"the floor ended, exit {self._process.wait()}: see above")
        return json.loads(line)


def measure(rounds: int | None) -> Iterator[Row]:
    """In rounds of BURST pods each."""
    ours: list[float] = []
    messages: list[float] = []
    shims: list[float] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        host = stack.enter_context(Host("full"))
        contenders.start_agent(host)
        one = Contender(host, caller.build(folder), contenders.podnet())
        pods = [Pod(number) for number in range(PRESENT + BURST * (rounds or ROUNDS))]
        one.make_namespaces(pods[:PRESENT])
        one.add(pods[:PRESENT], WORKERS)
        one.count_links()
        print(f"  {PRESENT} pods present", file=sys.stderr)
        peer = Floor(stack.enter_context(Host("floor")), floor.build(folder))
        shim = Plugin(contenders.SHIM, {"name": "podnet"})
        for first in range(PRESENT, len(pods), BURST):
            some = pods[first : first + BURST]
            one.make_namespaces(some)
            seconds, _ = one.add(some)
            ours += seconds
            one.delete(some)
            one.settle(some)
            messages += peer.turn(lambda: shims.extend(one.caller.ask_version(shim, 1)))
    yield Row(
        name=f"cni-add-{PRESENT}",
        what=f"ADD, {PRESENT} pods present",
        against="the shim started for nothing, and behind it the same kernel messages from C",
        ours=ours,
        peer=[message + started for message, started in zip(messages, shims, strict=True)],
        goal=1.3,
        worst=2,
        note=f"the messages {amount(median(messages), 's')}, the shim {amount(median(shims), 's')}",
    )
