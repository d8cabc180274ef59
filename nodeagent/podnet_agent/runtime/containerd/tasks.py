"""Tasks: what runs, as containerd has it; watched from here.

One question waits for each that runs (Tasks.Wait), and one for all who lack memory (/tasks/oom).
The exit code goes into the file that conmon would have written, so what is known of an ended
container is known without containerd too.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from podnet.errors import PodNetError, Retryable
from podnet_agent.runtime import Files
from podnet_agent.runtime.containerd import messages
from podnet_agent.runtime.containerd.client import Client, NotFound
from podnet_agent.runtime.containerd.messages import ProcessId, Timestamp
from podnet_agent.runtime.containerd.protobuf import decode
from podnet_agent.runtime.failures import failure

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.2
"""When containerd, or a shim, went away: how soon it is asked again."""


@dataclass(slots=True)
class _Task:
    files: Files
    started: bool
    watcher: asyncio.Task[None] | None = None


class Tasks:
    """Lives in the asyncio loop. `key`: a container's name in containerd."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, _Task] = {}
        self._listener = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """Nothing is watched any more."""
        watchers = [task.watcher for task in self._known.values() if task.watcher]
        for each in (self._listener, *watchers):
            each.cancel()
        await asyncio.gather(self._listener, *watchers, return_exceptions=True)

    async def create(
        self, files: Files, key: str, root: Sequence[messages.Mount], output: str
    ) -> None:
        """The first process waits to be started; its id, as the node counts, is in its file."""
        request = messages.CreateTask(
            container_id=key, rootfs=tuple(root), stdout=output, stderr=output
        )
        try:
            made = await self._client.call("tasks.v1.Tasks/Create", request, messages.CreatedTask)
        except (NotFound, Retryable):
            raise
        except PodNetError as error:
            raise failure(files.name, str(error)) from error
        files.pid.write_text(str(made.pid))
        self._known[key] = _Task(files, started=False)

    async def watch(self, files: Files, key: str, on_end: Callable[[], None]) -> bool:
        """Call `on_end` once it has ended. False: it has before."""
        task = self._known.get(key)
        if task is None or task.watcher:  # not what was just made here
            task = await self._found(files, key)
            if task is None:
                return False
            self._known[key] = task
        task.watcher = asyncio.get_running_loop().create_task(self._wait(files, key, on_end))
        return True

    async def _found(self, files: Files, key: str) -> _Task | None:
        """The task, of an earlier agent's making; None: it has ended, or is not there."""
        process = await self._look(key)
        if process is None:
            return None
        if process.status == messages.STOPPED:
            _note(files, process.exit_status, process.exited_at)
            return None
        files.pid.write_text(str(process.pid))
        return _Task(files, started=process.status != messages.CREATED)

    async def start(self, files: Files, key: str) -> None:
        """The command runs, or has run."""
        try:
            await self._client.call("tasks.v1.Tasks/Start", ProcessId(key), messages.Pid)
        except Retryable:  # containerd went away; it may have started it before
            process = await self._look(key)
            if process is None or process.status == messages.CREATED:
                raise
        except PodNetError as error:
            raise failure(files.name, str(error)) from error
        self._known[key].started = True

    def waits_for_start(self, key: str) -> bool:
        """Whether it is made, and `start` is still to come, as far as is known."""
        return key in self._known and not self._known[key].started

    async def kill(self, key: str, number: int) -> bool:
        """Send the first process a signal; False when it has ended."""
        try:
            await self._client.call("tasks.v1.Tasks/Kill", messages.Kill(key, signal=number))
        except NotFound:
            return False
        return True

    async def delete(self, key: str, *, force: bool) -> None:
        """It is gone; none of that key is success."""
        with contextlib.suppress(NotFound):
            if force and await self.kill(key, signal.SIGKILL):
                await self._client.call("tasks.v1.Tasks/Wait", ProcessId(key), messages.Exit)
            await self._client.call("tasks.v1.Tasks/Delete", ProcessId(key))
        self._known.pop(key, None)

    async def _look(self, key: str) -> messages.Process | None:
        try:
            found = await self._client.call(
                "tasks.v1.Tasks/Get", ProcessId(key), messages.OneProcess
            )
        except NotFound:
            return None
        return found.process

    async def _wait(self, files: Files, key: str, on_end: Callable[[], None]) -> None:
        ended = await self._exit(key)
        if ended:
            # Once the task is deleted the logger has written the last word, and we tell of the end.
            with contextlib.suppress(PodNetError):
                await self._client.call("tasks.v1.Tasks/Delete", ProcessId(key))
            _note(files, ended.exit_status, ended.exited_at)
        on_end()

    async def _exit(self, key: str) -> messages.Exit | None:
        """How it has ended, once it has; None when containerd has lost it."""
        while True:
            try:
                return await self._client.call(
                    "tasks.v1.Tasks/Wait", ProcessId(key), messages.Exit, seconds=None
                )
            except NotFound:
                return None
            except PodNetError as error:  # containerd was started anew, or the shim was killed
                log.info("container %s: %s", key, error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _listen(self) -> None:
        """Write down who was killed for want of memory."""
        request = messages.Filters(('topic=="/tasks/oom"',))
        while True:
            try:
                stream = self._client.stream(
                    "events.v1.Events/Subscribe", request, messages.Envelope
                )
                async for envelope in stream:
                    event = decode(messages.TaskOOM, envelope.event.value)
                    if event.container_id in self._known:
                        self._known[event.container_id].files.oom.touch()
            except PodNetError:
                await asyncio.sleep(AGAIN_SECONDS)


def _note(files: Files, code: int, at: Timestamp) -> None:
    """Its exit code is where conmon would have written it, of when it ended."""
    files.exit.write_text(str(code))
    os.utime(files.exit, (at.since_1970(), at.since_1970()))
