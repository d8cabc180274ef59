"""How much memory the agent needs, and whether it gives back what a thousand sandboxes took."""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.crowd import COUNT, Crowd
from bench.row import Row
from support.host import Host

CYCLES = 10
"""Times COUNT sandboxes are made and deleted: a thousand."""


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    mebibytes: float  # resident
    descriptors: int
    children: int

    @classmethod
    def by(cls, pid: int) -> "Held":
        """That process, now."""
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        return cls(
            int(resident.split()[1]) / 1024,
            len(os.listdir(f"/proc/{pid}/fd")),
            sum(len(task.read_text().split()) for task in tasks),
        )


def measure(rounds: int | None) -> Iterator[Row]:
    """One agent's life; `rounds` changes nothing."""
    with Host("size") as host, Crowd(host) as crowd:
        crowd.up()
        full = Held.by(crowd.agent_pid)
        crowd.down()
        before = Held.by(crowd.agent_pid)
        for cycle in range(CYCLES):
            print(f"  size: {COUNT * (cycle + 1)} made and deleted", file=sys.stderr)
            crowd.up()
            crowd.down()
        after = Held.by(crowd.agent_pid)
    yield Row(
        name="memory",
        what=f"agent with {COUNT} sandboxes, resident MiB",
        ours=[full.mebibytes],
        goal=60,
        worst=70,
        unit="MiB",
    )
    total = COUNT * CYCLES
    yield Row(
        name="memory-growth",
        what=f"agent after {total} more made and deleted, MiB more than after the first {COUNT}",
        ours=[after.mebibytes - before.mebibytes],
        goal=1,
        unit="MiB",
    )
    for name, was, now in (
        ("descriptors-left", before.descriptors, after.descriptors),
        ("processes-left", before.children, after.children),
    ):
        yield Row(name=name, what=f"after the same {total}", ours=[now - was], goal=0, unit="")
