"""The person's terminal: whether there is one, colours on it, columns, and how long ago."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

BOLD, DIM, RED, GREEN, YELLOW, CYAN = "1", "2", "31", "32", "33", "36"
"""SGR parameters (ECMA-48, 8.3.117)."""


def is_coloured(stream: IO[str] | None = None) -> bool:
    """Whether colours are wanted there: a terminal that has some, and no NO_COLOR."""
    stream = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    return not plain and stream.isatty()


def paint(text: str, colour: str) -> str:
    """The text in that colour, where colours are wanted on standard output."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and is_coloured() else text


class Columns:
    """Rows of text in columns as wide as their longest cell, three spaces between."""

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(self, cells: Sequence[str], colours: Sequence[str] = ()) -> str:
        """One row; no spaces at its end."""
        padded = [cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)]
        padded[-1] = padded[-1].rstrip()
        if colours and is_coloured():
            padded = [paint(cell, colour) for cell, colour in zip(padded, colours, strict=True)]
        return "   ".join(padded).rstrip()


def age(timestamp: str, now: float | None = None) -> str:
    """How long ago that was, as kubectl says it: 45s, 3m10s, 5h2m, 4d; `timestamp` is UTC."""
    try:
        year, month, day = map(int, timestamp[:10].split("-"))
        hour, minute, second = map(int, timestamp[11:19].split(":"))
    except ValueError:
        return "<unknown>"
    then = time.mktime((year, month, day, hour, minute, second, 0, 0, 0)) - time.timezone
    return duration(int((time.time() if now is None else now) - then))


def duration(seconds: int) -> str:
    """Two units at most, and one where the second would say little (apimachinery's duration)."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 730 else _two(days // 365, "y", days % 365, "d")


def _two(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"
