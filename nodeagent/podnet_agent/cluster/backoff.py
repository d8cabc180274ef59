"""Pauses between attempts: doubled each time, and never the same on all nodes."""

import asyncio
import contextlib
import random


class Backoff:
    """How long to wait before the next attempt, in seconds. Lives in the asyncio loop."""

    def __init__(self, first: float, longest: float) -> None:
        self._first, self._longest = first, longest
        self._next = first
        self._hurried = asyncio.Event()

    def succeed(self) -> None:
        """The next failure is the first one again."""
        self._next = self._first

    def hurry(self) -> None:
        """Why attempts failed may be over: end the pause, and let the next one be the first."""
        self.succeed()
        self._hurried.set()

    def pause(self) -> float:
        """For the next failure, between half of it and all of it."""
        seconds, self._next = self._next, min(self._next * 2, self._longest)
        return seconds * random.uniform(0.5, 1.0)

    async def rest(self, seconds: float) -> None:
        """Wait that long, or until someone says `hurry`."""
        self._hurried.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurried.wait()
