"""Whose turn it is to write: one at a time, in the order in which they were asked."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from podnet_agent.threads import Threads

SECONDS = 10.0


class Turns:
    """What has been written so far, and by which thread; `hold` is a write that takes its time."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.by: dict[str, str] = {}
        self.started, self.go_on = threading.Event(), threading.Event()

    def take(self, name: str) -> Callable[[], None]:
        def write() -> None:
            self.done.append(name)
            self.by[name] = threading.current_thread().name

        return write

    def hold(self) -> None:
        self.started.set()
        assert self.go_on.wait(SECONDS)
        self.done.append("held")


def told(story: Callable[[Threads, Turns], Awaitable[None]]) -> None:
    """Run it with threads that are ended behind it, whatever happens."""

    async def inside() -> None:
        threads, turns = Threads(), Turns()
        try:
            await story(threads, turns)
        finally:
            turns.go_on.set()
            threads.close()

    asyncio.run(inside())


def no_bug(error: BaseException) -> None:
    raise AssertionError(error)


def test_who_finds_nobody_writing_is_served_at_once_where_it_is() -> None:
    async def story(threads: Threads, turns: Turns) -> None:
        threads.serve(turns.take("first"), no_bug)
        assert turns.by == {"first": threading.current_thread().name}
        await threads.write(turns.take("second"))
        assert turns.by["second"].startswith("writer")
        threads.serve(turns.take("third"), no_bug)
        assert turns.done == ["first", "second", "third"]
        assert turns.by["third"] == turns.by["first"]

    told(story)


def test_who_finds_somebody_writing_waits_for_its_turn() -> None:
    async def story(threads: Threads, turns: Turns) -> None:
        held = asyncio.create_task(threads.write(turns.hold))
        await asyncio.to_thread(turns.started.wait, SECONDS)
        threads.serve(turns.take("next"), no_bug)
        last = asyncio.create_task(threads.write(turns.take("last")))
        await asyncio.sleep(0)
        assert turns.done == []
        turns.go_on.set()
        await asyncio.gather(held, last)
        assert turns.done == ["held", "next", "last"]
        assert turns.by["next"].startswith("writer")

    told(story)


def test_a_write_that_nobody_waits_for_any_more_keeps_its_turn() -> None:
    """Its task is cancelled and its function goes on: nobody may write beside it."""

    async def story(threads: Threads, turns: Turns) -> None:
        held = asyncio.create_task(threads.write(turns.hold))
        await asyncio.to_thread(turns.started.wait, SECONDS)
        held.cancel()
        with pytest.raises(asyncio.CancelledError):
            await held
        threads.serve(turns.take("next"), no_bug)
        assert turns.done == []
        turns.go_on.set()
        await threads.write(turns.take("last"))
        assert turns.done == ["held", "next", "last"]

    told(story)


@pytest.mark.parametrize("busy", [False, True])
def test_a_bug_is_told_and_whoever_is_next_is_served(busy: bool) -> None:
    async def story(threads: Threads, turns: Turns) -> None:
        bugs: list[BaseException] = []
        written: list[int] = []
        threads.written = lambda: written.append(len(turns.done))

        def fail() -> None:
            turns.take("failed")()
            raise ZeroDivisionError

        if busy:
            before = asyncio.create_task(threads.write(turns.hold))
            await asyncio.to_thread(turns.started.wait, SECONDS)
            threads.serve(fail, bugs.append)
            turns.go_on.set()
            await before
        else:
            with pytest.raises(ZeroDivisionError):
                threads.serve(fail, bugs.append)
        await threads.write(turns.take("next"))
        assert [type(bug) for bug in bugs] == [ZeroDivisionError]
        assert turns.done[-2:] == ["failed", "next"]
        assert written[-1] == len(turns.done)

    told(story)
