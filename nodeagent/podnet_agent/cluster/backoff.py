"""Pauses between attempts: doubled each time, and never the same on all nodes."""

import random


class Backoff:
    """How long to wait before the next attempt, in seconds."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def succeed(self) -> None:
        """The next failure is the first one again."""
        self._next = self._first

    def pause(self) -> float:
        """For the next failure, between half of it and all of it."""
        seconds, self._next = self._next, min(self._next * 2, self._longest)
        return seconds * random.uniform(0.5, 1.0)
