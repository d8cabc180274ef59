"""What one sandbox costs in calls that can be counted: the same on every machine, so gated."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from bench import counts


def test_a_sandbox_costs_no_more_calls_than_it_should() -> None:
    found = {row.name.removeprefix("count-"): row for row in counts.measure(None)}
    assert found.keys() == counts.GATES.keys()
    assert found["sends"].ratio > 0, "a pair is made by rtnetlink: nothing was counted"
    assert found["cni-sends"].ratio > 0, "so is a runtime's: nothing was counted"
    assert found["commits-port"].ratio > 0, "a published port is an element: nothing was counted"
    assert {name: row.ratio for name, row in found.items() if not row.holds} == {}
