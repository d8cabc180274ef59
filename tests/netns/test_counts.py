"""What one sandbox costs in calls that can be counted: the same on every machine, so gated."""

import json
import sys
from itertools import pairwise
from pathlib import Path

from support.host import Host
from support.runtime import ports, started

sys.path.append(str(Path(__file__).parents[2]))

from bench import counts


def test_a_sandbox_costs_no_more_calls_than_it_should() -> None:
    found = {row.name.removeprefix("count-"): row for row in counts.measure(None)}
    assert found.keys() == counts.GATES.keys()
    assert found["sends"].ratio > 0, "a pair is made by rtnetlink: nothing was counted"
    assert found["cni-sends"].ratio > 0, "so is a runtime's: nothing was counted"
    assert found["commits-port"].ratio > 0, "a published port is an element: nothing was counted"
    assert {name: row.ratio for name, row in found.items() if not row.holds} == {}


SHIM = Path(sys.executable).with_name("podnet-cni")
ADDS = 10
COUNTING = """
import json, os, sys

def last():
    with open("/proc/sys/kernel/ns_last_pid") as file:
        return int(file.read())

numbers, ended = [last()], 0
for environment, config in json.loads(sys.argv[2]):
    stdin, feed = os.pipe()
    os.write(feed, config.encode())
    os.close(feed)
    silent = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), silent]
    pid = os.posix_spawn(sys.argv[1], [sys.argv[1]], environment, file_actions=actions)
    ended |= os.waitpid(pid, 0)[1]
    os.close(stdin)
    numbers.append(last())
print(json.dumps([ended, numbers]))
"""
"""Inside: the kernel counts a namespace's processes, and their threads, by its newest number."""


def test_an_add_with_a_published_port_is_one_process() -> None:
    """The program that the runtime starts: it makes none, nor does the agent."""
    with Host("counts") as host:
        cni = started(host)
        cni.add(cni.pod("first"), **ports((8080, 80)))  # threads are made with the first
        calls = [
            (pod.environment("ADD"), json.dumps(cni.config | ports((8081 + number, 80))))
            for number, pod in enumerate(cni.pods(ADDS))
        ]
        ended, numbers = json.loads(host.python(COUNTING, str(SHIM), json.dumps(calls)).stdout)
        assert (ended, len(cni.elements("pn_any4"))) == (0, 1 + ADDS)
    assert [after - before for before, after in pairwise(numbers)] == [1] * ADDS
