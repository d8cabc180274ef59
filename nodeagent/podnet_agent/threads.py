"""The agent's threads beside its loop: the writer, which alone changes things, reader, sweeper."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Threads:
    """One thread each, as coroutines of the loop see them."""

    def __init__(self) -> None:
        self.written: Callable[[], None] = lambda: None  # called in the loop after every write
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="sweeper")

    async def write(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run in the writer thread: the only place where store and kernel are changed."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, function, *args)
        finally:
            self.written()

    def submit(
        self, function: Callable[[], None], crashed: Callable[[BaseException], None]
    ) -> None:
        """As `write`, but nobody waits: the answer is on its way before the loop hears of it.

        What goes wrong is a bug; `crashed` is told in the loop.
        """
        loop = asyncio.get_running_loop()

        def run() -> None:
            try:
                function()
            except BaseException as error:
                loop.call_soon_threadsafe(crashed, error)
                raise
            finally:
                loop.call_soon_threadsafe(self.written)

        self._writer.submit(run)

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
