"""One run of a container: from its bundle until nothing is left of it but its log and exit code."""

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from pathlib import Path

from podnet.containers import LOST_EXIT, Container, exited
from podnet.errors import PodNetError
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec
from podnet_agent.runtime import Files, Runtime, rootfs

log = logging.getLogger(__name__)

KILL_SECONDS = 10.0
"""How long a killed process may take to be gone; longer is a device that does not answer."""
KILL_AGAIN_SECONDS = 0.1


class Run:
    """Lives in the asyncio loop. `on_end` is called once, when the container has ended."""

    def __init__(self, files: Files, runtime: Runtime, on_end: Callable[["Run"], None]) -> None:
        self.files = files
        self._runtime, self._on_end = runtime, on_end
        self._ended = asyncio.Event()
        self._changing = asyncio.Lock()  # one at a time changes what the runtime has of it
        self._clean = False
        self._task: asyncio.Task[None] | None = None

    async def make(
        self,
        spec: ContainerSpec,
        shared: Path,
        netns: Netns,
        *,
        stdin: bool,
        tty: bool,
        held: bool,
    ) -> None:
        """The container waits to be started. Where that fails, `clean` is to be called."""
        for folder in (self.files.bundle, self.files.record):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in (self.files.exit, self.files.oom):
            stale.unlink(missing_ok=True)
        if held:
            self.files.held.touch()
        if tty:
            self.files.terminal.touch()
        await self._runtime.create(self.files, spec, shared, netns, stdin=stdin, tty=tty, held=held)
        await self.watch()

    async def watch(self) -> bool:
        """Notice when the container ends. False when it has ended before."""
        watched = await self._runtime.watch(self.files, self._notice)
        if not watched:
            self._ended.set()
        return watched

    def _notice(self) -> None:
        self._ended.set()
        self._on_end(self)
        self._task = asyncio.get_running_loop().create_task(self._clean_later())

    async def start(self) -> None:
        """The command runs, or has run."""
        async with self._changing:
            await self._runtime.start(self.files)
        self.files.held.unlink(missing_ok=True)

    def lives(self) -> bool:
        """Whether it is watched: its first process was made and has not ended."""
        return not self._ended.is_set()

    def is_started(self) -> bool:
        """Whether the command runs, of a container that lives."""
        return self._runtime.is_started(self.files)

    def is_over(self) -> bool:
        """Whether the command ran, of a container that does not live."""
        left = self.files.exit.exists() or self.files.pid.exists()
        return left and not self._runtime.waits_for_start(self.files)

    async def send(self, number: int) -> bool:
        """Send the first process a signal; False when it has ended."""
        return await self._runtime.send(self.files, number)

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
            if grace_seconds > 0 and self._runtime.heeds(self.files, signal.SIGTERM):
                await self.send(signal.SIGTERM)
                await self._within(grace_seconds)
            await self._kill()
        await self.clean()

    async def clean(self) -> None:
        """Nothing is left of it, its control groups, mounts, bundle. Twice is once."""
        async with self._changing:
            if self._clean:
                return
            # Without an exit code who watched it was killed, so the container may run still.
            await self._runtime.delete(self.files, force=not self.files.exit.exists())
            await asyncio.to_thread(rootfs.remove_tree, self.files.bundle)
            self.files.held.unlink(missing_ok=True)
            self._clean = True

    def ended(self, container: Container) -> Container:
        """The container as this run has left it."""
        try:
            code, at = int(self.files.exit.read_text()), self.files.exit.stat().st_mtime
        except (FileNotFoundError, ValueError):
            message = "who watched it was killed, so its exit code is not known"
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
            await self.send(signal.SIGKILL)
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
