"""Who runs what: the loop serves as the writer only while the writer thread has nothing to do."""

import asyncio
import threading

from podnet_agent.threads import Threads


def names_of(work: str) -> list[str]:
    """The threads that ran a call handed in while the writer was at work, or was not."""
    ran: list[str] = []

    def note() -> None:
        ran.append(threading.current_thread().name)

    async def run() -> None:
        threads = Threads()
        go_on = threading.Event()
        if work:
            busy = asyncio.create_task(threads.write(go_on.wait))
            await asyncio.sleep(0)
            if work == "given up":
                busy.cancel()
                await asyncio.wait([busy])
        threads.soon(note, lambda error: None)
        threads.soon(note, lambda error: None)
        at_once = len(ran)
        go_on.set()
        await threads.write(note)  # after all that waits
        assert at_once == (0 if work else 2)
        threads.soon(note, lambda error: None)
        threads.close()

    asyncio.run(run())
    return ran


def test_the_loop_serves_while_the_writer_has_nothing_to_do() -> None:
    assert names_of("") == ["MainThread", "MainThread", "writer_0", "MainThread"]


def test_what_comes_while_the_writer_works_waits_for_its_turn() -> None:
    assert names_of("at work") == ["writer_0", "writer_0", "writer_0", "MainThread"]


def test_work_that_nobody_waits_for_any_more_is_still_the_writers() -> None:
    assert names_of("given up") == ["writer_0", "writer_0", "writer_0", "MainThread"]


def test_a_bug_is_told_and_the_next_call_served() -> None:
    async def run() -> list[str]:
        told: list[str] = []
        threads = Threads()
        try:
            threads.soon(lambda: 1 // 0, lambda error: told.append(type(error).__name__))
        except ZeroDivisionError:
            told.append("raised")
        threads.soon(lambda: told.append("served"), lambda error: None)
        threads.close()
        return told

    assert asyncio.run(run()) == ["ZeroDivisionError", "raised", "served"]
