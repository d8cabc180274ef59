"""One run of a container: from its bundle until nothing is left of it but its log and exit code."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from podnet.containers import LOST_EXIT, Container, exited
from podnet.errors import PodNetError
from podnet_agent.runtime import rootfs, runc
from podnet_agent.runtime.runc import Files, Runtime

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
"""How long a killed process may take to be gone; longer is a device that does not answer."""
KILL_AGAIN_SECONDS = 0.1


class Run:
    """Lives in the asyncio loop. `on_end` is called once, when its conmon has ended."""

    def __init__(self, files: Files, runtime: Runtime, on_end: Callable[["Run"], None]) -> None:
        self.files = files
        self._runtime, self._on_end = runtime, on_end
        self._ended = asyncio.Event()
        self._runc = asyncio.Lock()  # one program of runc's at a time has the container's state
        self._clean = False
        self._task: asyncio.Task[None] | None = None

    async def make(self, config: str, *, stdin: bool, tty: bool, held: bool) -> None:
        """The container waits to be started. Where that fails, `clean` is to be called."""
        self.files.config.write_text(config)
        if held:
            self.files.held.touch()
        if tty:
            self.files.terminal.touch()
        await self._runtime.create(self.files, stdin=stdin, tty=tty)
        self.watch()

    def watch(self) -> bool:
        """Notice when conmon ends: the container has ended then. False when it has ended before."""
        monitor = runc.monitor_of(self.files)
        if monitor is None:
            self._ended.set()
            return False
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(monitor)
            os.close(monitor)
            self._ended.set()
            self._on_end(self)
            self._task = loop.create_task(self._clean_later())

        loop.add_reader(monitor, ended)
        return True

    async def start(self) -> None:
        """The command runs, or has run."""
        async with self._runc:
            await self._runtime.start(self.files)
        self.files.held.unlink(missing_ok=True)

    def lives(self) -> bool:
        """Whether conmon watches it: its first process was made and has not ended."""
        return not self._ended.is_set()

    def is_started(self) -> bool:
        """Whether the command runs, of a container that lives."""
        return self._runtime.is_started(self.files)

    def is_over(self) -> bool:
        """Whether the command ran, of a container that does not live."""
        left = self.files.exit.exists() or self.files.pid.exists()
        return left and not self._runtime.waits_for_start(self.files)

    def first_pid(self) -> int:
        """The first process's id, as the machine counts; 0 when there is none."""
        try:
            return int(self.files.pid.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    async def end(self, grace_seconds: float) -> None:
        """The container has ended, by itself if it can in so many seconds; nothing is left of it.

        A first process that has no handler for SIGTERM is killed at once: the kernel drops a signal
        like that, so it would only be waited for.
        """
        if not self._ended.is_set():
            if grace_seconds > 0 and runc.heeds(self.files, signal.SIGTERM):
                runc.send(self.files, signal.SIGTERM)
                await self._within(grace_seconds)
            await self._kill()
        await self.clean()

    async def clean(self) -> None:
        """Nothing is left: runc's state, control groups, mounts, bundle. Twice is once."""
        async with self._runc:
            if self._clean:
                return
            # Without an exit code conmon was killed, so the container may be running still.
            await self._runtime.delete(self.files, force=not self.files.exit.exists())
            await asyncio.to_thread(rootfs.remove_tree, self.files.bundle)
            self.files.held.unlink(missing_ok=True)
            self._clean = True

    def ended(self, container: Container) -> Container:
        """The container as this run has left it."""
        try:
            code, at = int(self.files.exit.read_text()), self.files.exit.stat().st_mtime
        except (FileNotFoundError, ValueError):
            message = "its conmon was killed, so its exit code is not known"
            return exited(container, LOST_EXIT, time.time(), reason="Lost", message=message)
        reason = "OOMKilled" if code and self.files.oom.exists() else ""
        return exited(container, code, at, reason=reason)

    async def _kill(self) -> None:
        """It has ended. The signal is sent again: a container in the making has no process yet."""
        deadline = time.monotonic() + KILL_SECONDS
        while not self._ended.is_set():
            if time.monotonic() > deadline:
                raise PodNetError(
                    f"container {self.files.id} is there {KILL_SECONDS:.0f} s after SIGKILL: its"
                    f" process {self.first_pid()} waits for a device or a file system"
                )
            runc.send(self.files, signal.SIGKILL)
            await self._within(KILL_AGAIN_SECONDS)

    async def _within(self, seconds: float) -> None:
        """It has ended, or the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()

    async def _clean_later(self) -> None:
        """What can't be cleaned now is tried again before the next run, and at the end."""
        try:
            await self.clean()
        except PodNetError as error:
            log.warning("%s", error)


def files_of(run: Path, sandbox: Path, name: str) -> Files:
    """Where the parts of one container lie, given the agent's folder and the sandbox's."""
    container_id = f"{sandbox.name}-{name}"
    return Files(
        container_id, name, run / "containers" / container_id, sandbox / "containers" / name
    )
