"""A row of the benchmark: what was measured, what it is compared with, what it should be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Unit = Literal["s", "MiB", "/s", "MB/s", ""]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Samples of ours and, where there is one, of a peer in the same rounds.

    With a peer the goal is for the ratio of the medians; without, for our median itself.
    """

    name: str
    what: str
    against: str = ""
    ours: Sequence[float]
    peer: Sequence[float] = ()
    goal: float
    worst: float | None = None  # never worse than
    unit: Unit = "s"
    more: bool = False  # is better: then `goal` and `worst` are lower bounds
    note: str = ""

    @property
    def ratio(self) -> float:
        """What the goal is about."""
        return median(self.ours) / median(self.peer) if self.peer else median(self.ours)

    @property
    def holds(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal if self.more else self.ratio <= self.goal

    @property
    def spread(self) -> float:
        """Our 95th percentile by our median."""
        return spread(self.ours)

    def json(self) -> str:
        """One line for machines."""
        facts: dict[str, object] = {
            "name": self.name,
            "ratio": round(self.ratio, 3),
            "goal": self.goal,
            "worst": self.worst,
            "holds": self.holds,
        }
        return json.dumps({key: value for key, value in facts.items() if value is not None})


def spread(samples: Sequence[float]) -> float:
    """The 95th percentile by the median."""
    ordered = sorted(samples)
    return ordered[int(0.95 * (len(ordered) - 1) + 0.5)] / (median(ordered) or 1)


@dataclass(frozen=True)
class Missing:
    """A row that could not be measured, and why."""

    name: str
    why: str


def table(rows: Sequence[Row]) -> str:
    """For people: aligned, notes below."""
    head = ("row", "ours", "peer", "ratio", "goal", "worst", "p95/p50", "samples", "holds")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    text.insert(1, "-" * max(map(len, text)))
    for row in rows:
        against = f", against {row.against}" if row.against else ""
        text.append(f"{row.name}: {row.what}{against}{'; ' if row.note else ''}{row.note}")
    return "\n".join(text)


def amount(value: float, unit: Unit) -> str:
    """A number with its unit, three digits of it."""
    if unit == "s":
        value, name = (value, "s") if value >= 1 else (value * 1e3, "ms")
        return f"{value:.3g} {name}" if value < 100 else f"{value:.0f} {name}"
    return f"{value:.1f} {unit}" if unit else f"{value:g}"


def _cells(row: Row) -> tuple[str, ...]:
    factor = " x" if row.peer else ""
    return (
        row.name,
        amount(median(row.ours), row.unit),
        amount(median(row.peer), row.unit) if row.peer else "",
        f"{row.ratio:.2f} x" if row.peer else "",
        f"{row.goal:g}{factor}",
        f"{row.worst:g}{factor}" if row.worst is not None else "",
        f"{row.spread:.2f}" if row.peer else "",
        str(len(row.ours)),
        "yes" if row.holds else "NO",
    )
