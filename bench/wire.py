"""Wiring one sandbox inside the agent (plan, store, kernel) beside the same messages from C.

A script for a private host: `python -m bench.wire PROGRAM PRESENT ROUNDS` prints the seconds of
both as JSON, `python -m bench.wire profile PRESENT COUNT` tells where the agent's time goes, and
`python -m bench.wire floor PRESENT PROGRAM` wires a runtime's pods by C as it is told. Both
contenders wire to the same bridge, so both meet the same number of ports. The namespaces are
given: made just before, with lo up.
"""

import cProfile
import io
import json
import pstats
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.floor import Floor, build, job
from bench.hosts import script
from bench.node import NETWORK, Sandboxes
from bench.row import Row, amount
from podnet.attachment import Attachment
from podnet.desired import attachment_objects, residue
from podnet.objects import NOTHING
from podnet.plan import as_seen, plan
from podnet_agent.namespaces import entered, unpin
from support.host import Host, until

BURST = 10
"""Wired in a row by one contender before it is the other's turn; each is timed by itself."""
ROUNDS, PRESENT = 30, 900
PASSING = r'"(ifindex|link_index|link_netnsid|\w*timer)": ?"?[^,}"]*"?,?'
"""What of `ip -j -d` differs from one link to the next, though both are the same."""


class Course:
    """Both contenders in one private host, with as many sandboxes present as asked for."""

    def __init__(self, present: int, cni: str = "") -> None:
        """With `cni`, a network's name, the floor wires what a runtime asks for there."""
        self.sandboxes, self._cni = Sandboxes(), cni
        self._next = 0
        while self._next < present:
            for number in self.namespaces(100):
                self.sandboxes.attach(number)
            print(f"  {self._next} sandboxes present", file=sys.stderr)

    def namespaces(self, count: int) -> range:
        """The numbers of new sandboxes, their namespaces made: a used one would be wired faster."""
        numbers = range(self._next, self._next + count)
        self._next = numbers.stop
        for number in numbers:
            self.sandboxes.make_namespace(number)
        return numbers

    def by_agent(self, numbers: range) -> list[float]:
        """Wire some by the agent; the seconds of each."""
        seconds = []
        for request in [self.sandboxes.request(number) for number in numbers]:
            start = time.perf_counter()
            self.sandboxes.agent.attach(request)
            seconds.append(time.perf_counter() - start)
        return seconds

    def by_floor(self, floor: Floor, numbers: range) -> list[float]:
        """Wire some by the floor; the seconds of each."""
        return [floor.run(job) for job in self.jobs(numbers)]

    def jobs(self, numbers: range) -> list[str]:
        """What the floor is to do for some. Recorded, to be removed as the agent's."""
        store = self.sandboxes.agent.store
        requests = [replace(self.sandboxes.request(number), cni=self._cni) for number in numbers]
        attachments = [store.reserve(NETWORK, request) for request in requests]
        for attachment in attachments:
            store.complete(attachment.number)
        return [self._job(attachment) for attachment in attachments]

    def remove(self, numbers: range) -> None:
        """Take them away, and wait for the kernel, which would go on while somebody is timed.

        Namespaces end one after the other in the background; the last takes its link along.
        """
        *others, last = (self.sandboxes.named(number) for number in numbers)
        agent = self.sandboxes.agent
        for sandbox in others:
            agent.demolish(sandbox.sandbox_id)
        self.sandboxes.kernel.sweep()
        (record,) = agent.store.of_sandbox(last.sandbox_id)
        unpin(Path(last.path))
        link = Path("/proc/sys/net/ipv4/conf", record.attachment.host_end)
        until(lambda: not link.exists(), f"the end of {last.path}")
        agent.demolish(last.sandbox_id)

    def check(self, floor: Floor) -> None:
        """Both leave the kernel in the same state, else there is nothing to compare."""
        numbers = self.namespaces(2)
        attachment = self.sandboxes.attach(numbers[0])
        by_agent = _picture(attachment)
        self.remove(numbers[:1])
        self.sandboxes.make_namespace(numbers[0])
        floor.run(self._job(attachment))
        by_floor = _picture(attachment)
        kernel = self.sandboxes.kernel
        kernel.apply(plan((), as_seen(residue(attachment))).operations)
        kernel.sweep()
        for what, text in by_agent.items():
            if text != by_floor[what]:
                sys.exit(f"{what} differs: by the agent {text}, by the floor {by_floor[what]}")

    def _job(self, attachment: Attachment) -> str:
        operations = plan(attachment_objects(NETWORK, attachment), NOTHING).operations
        request = attachment.request
        bridge = self.sandboxes.kernel.index(NETWORK.bridge)
        return job(operations, request.netns, request.ifname, bridge)


def _picture(attachment: Attachment) -> dict[str, str]:
    """What the kernel has of one attachment: links, addresses, routes, every setting in the pod."""
    netns = attachment.request.netns
    name = netns.rpartition("/")[2]
    state = Path("/sys/class/net", attachment.host_end, "operstate")
    until(lambda: state.read_text() == "up\n", f"{attachment.host_end} up")  # a little later
    host_end = _output("ip", "-j", "-d", "address", "show", "dev", attachment.host_end)
    facts = {
        "the host end": re.sub(r'"address": ?"[^"]*"', "", host_end),  # chosen at random
        "the pod end": _output("ip", "-j", "-d", "-n", name, "address"),
        "routing": _output("ip", "-j", "-n", name, "route", "show", "table", "all"),
    }
    with entered(netns):
        for file in sorted(Path("/proc/sys/net").glob("ipv?/conf/*/*")):
            try:
                facts[str(file)] = file.read_text()
            except OSError:  # a secret that was never set
                continue
    return {what: re.sub(PASSING, "", text) for what, text in facts.items()}


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def race(program: Path, present: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of both, in rounds of BURST each; who begins alternates."""
    ours: list[float] = []
    peer: list[float] = []
    course = Course(present)
    with Floor(program) as floor:
        course.check(floor)
        for turn in range(rounds):
            numbers = course.namespaces(2 * BURST)
            if turn % 2:
                peer += course.by_floor(floor, numbers[:BURST])
                ours += course.by_agent(numbers[BURST:])
            else:
                ours += course.by_agent(numbers[:BURST])
                peer += course.by_floor(floor, numbers[BURST:])
            course.remove(numbers)
    return {"ours": ours, "peer": peer}


def wait_for_turns(program: Path, present: int) -> None:
    """The floor alone. A line of standard input asks for a turn, BURST more for a pod each.

    Says null when it is ready, has made a turn's namespaces, has taken all away; a pod's seconds.
    """
    course = Course(present, cni="podnet")
    with Floor(program) as floor:
        print(json.dumps(None), flush=True)
        for _ in sys.stdin:
            numbers = course.namespaces(BURST)
            jobs = course.jobs(numbers)
            print(json.dumps(None), flush=True)
            for job, _ in zip(jobs, sys.stdin, strict=False):
                print(json.dumps(floor.run(job)), flush=True)
            course.remove(numbers)
            print(json.dumps(None), flush=True)


def profile(present: int, count: int) -> str:
    """The fifteen functions in which the agent's attach spends most."""
    course = Course(present)
    requests = [course.sandboxes.request(number) for number in course.namespaces(count)]
    profiler = cProfile.Profile()
    profiler.enable()
    for request in requests:
        course.sandboxes.agent.attach(request)
    profiler.disable()
    said = io.StringIO()
    pstats.Stats(profiler, stream=said).sort_stats("tottime").print_stats(15)
    return said.getvalue()


def measure(rounds: int | None) -> Iterator[Row]:
    """On an empty node, and on one with PRESENT sandboxes."""
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        for present in (0, PRESENT):
            with Host(f"wire{present}") as host:
                samples = script(host, "bench.wire", program, present, rounds or ROUNDS)
            ours, peer = samples["ours"], samples["peer"]
            first, second = median(ours[::BURST]), median(peer[::BURST])
            yield Row(
                name=f"wire-{present}",
                what=f"one sandbox inside the agent, namespace given, {present} present",
                against="the same kernel messages from C",
                ours=ours,
                peer=peer,
                goal=1.3,
                note=f"{BURST} in a row each round; the first of them {amount(first, 's')} against"
                f" {amount(second, 's')}",
            )


def main() -> None:
    """See above."""
    what, present, last = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    if what == "floor":
        wait_for_turns(Path(last), present)
        return
    count = int(last)
    answer = profile(present, count) if what == "profile" else race(Path(what), present, count)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
