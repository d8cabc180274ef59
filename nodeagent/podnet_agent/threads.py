"""The agent's threads beside its loop: the writer, which alone changes things, reader, sweeper.

What is short, and waited for, is written in the loop's own thread when nothing else is being
written: handing it over costs more than much of it. That thread is in a pod's network namespace
for moments then, so it is not the process's main one (decision 20).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Threads:
    """One thread each, as coroutines of the loop see them."""

    def __init__(self) -> None:
        self.written: Callable[[], None] = lambda: None  # called in the loop after every write
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")
        self._pending: set[Future[Any]] = set()  # the writer thread's, waiting or under way

    async def write(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run in the writer thread: store and kernel are changed there, and by `serve`."""
        try:
            return await asyncio.wrap_future(self._begin(function, *args))
        finally:
            self.written()

    def serve(self, function: Callable[[], None], crashed: Callable[[BaseException], None]) -> None:
        """As `serve_later`, but at once where it is nobody's turn: for what takes milliseconds."""
        if self._pending:
            self.serve_later(function, crashed)
            return
        try:
            function()
        except BaseException as error:
            crashed(error)
            raise
        finally:
            self.written()

    def serve_later(
        self, function: Callable[[], None], crashed: Callable[[BaseException], None]
    ) -> None:
        """As `write`, but nobody waits. What goes wrong is a bug; `crashed` is told in the loop."""
        loop = asyncio.get_running_loop()

        def run() -> None:
            try:
                function()
            except BaseException as error:
                loop.call_soon_threadsafe(crashed, error)
                raise
            finally:
                loop.call_soon_threadsafe(self.written)

        self._begin(run)

    def _begin(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future = self._writer.submit(function, *args)
        self._pending.add(future)
        future.add_done_callback(
            self._pending.discard
        )  # also of one that nobody waits for any more
        return future

    async def read(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run in the reader thread."""
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *args)

    async def sweep(self, function: Callable[[], None]) -> None:
        """Run beside both: the kernel takes its time to delete links, and nobody waits for it."""
        await asyncio.get_running_loop().run_in_executor(self._sweeper, function)

    def close(self) -> None:
        """Wait for what is under way."""
        self._sweeper.shutdown()
        self._reader.shutdown()
        self._writer.shutdown()
