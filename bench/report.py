"""A run of the benchmark: its measurements one after the other, and what it prints."""

import sys
from collections.abc import Callable, Collection, Iterator, Mapping

from bench.row import Missing, Row, table

Measurements = Mapping[str, Callable[[int | None], Iterator[Row]]]


def collect(
    measurements: Measurements,
    chosen: Collection[str],
    rounds: int | None,
    failures: tuple[type[Exception], ...],
) -> tuple[list[Row], list[Missing]]:
    """The rows of those chosen, and those that could not be measured: they end in a failure."""
    rows: list[Row] = []
    missing: list[Missing] = []
    for name, measure in measurements.items():
        if name in chosen:
            print(f"{name} ...", file=sys.stderr)
            try:
                rows += measure(rounds)
            except failures as error:
                missing.append(Missing(name, str(error)))
    return rows, missing


def show(rows: list[Row], missing: list[Missing]) -> int:
    """Print the table, and a JSON object a row; the exit code, 1 where something is missing."""
    print(table(rows))
    print("\n".join(row.json() for row in rows))
    for each in missing:
        print(f"{each.name} could not be measured: {each.why}", file=sys.stderr)
    return 1 if missing else 0
