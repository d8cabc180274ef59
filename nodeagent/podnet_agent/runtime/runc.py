"""runc under conmon: make, start, watch, delete.

    agent ──fork──► conmon ──fork──► conmon (a session of its own, outlives the agent)
                                       └─ runc create ──► the container's first process
    conmon holds the container's streams, writes its log, waits for it, and leaves a file with the
    exit code (conmon(8)). A container costs three programs: conmon, runc create, runc delete.

Signals need no program: they go to the first process by its pidfd.
"""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

from podnet.errors import PodNetError
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec
from podnet_agent.bundles import Bundles
from podnet_agent.runtime import Files, processes
from podnet_agent.runtime.bundle import TERM
from podnet_agent.runtime.failures import failure

LOG_BYTES = 10 << 20
"""A longer log begins anew: the kubelet's containerLogMaxSize; it lies in memory."""
START_SECONDS = 5.0
"""The first process writes at once, unless somebody killed it."""


class Runc:
    """The runtime of one machine: runc with its state in `state`. Lives in the asyncio loop.

    `folder`: where the bundles lie, one for each container that is there.
    """

    def __init__(self, state: Path, folder: Path, images: Path) -> None:
        self._state, self._folder = state, folder
        self._bundles = Bundles(images)
        # More at once are no sooner done: making one is work for two processors.
        self._making = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def open(self) -> None:
        """No image is half unpacked. No other agent runs."""
        await asyncio.to_thread(self._bundles.images.clear)

    async def close(self) -> None:
        """Nothing: who watches is in the loop, and ends with it."""

    async def sandbox_ids(self) -> set[str]:
        """The sandboxes that bundles tell of."""
        return {name.partition("-")[0] for name in os.listdir(self._folder)}

    async def names(self, sandbox_id: str) -> set[str]:
        """The sandbox's containers that bundles tell of."""
        parts = (name.partition("-") for name in os.listdir(self._folder))
        return {name for owner, _, name in parts if owner == sandbox_id}

    async def create(
        self,
        files: Files,
        spec: ContainerSpec,
        shared: Path,
        netns: Netns,
        *,
        stdin: bool,
        tty: bool,
        held: bool,
    ) -> None:
        """Make its bundle, and the container of it; its first process waits to be started.

        CannotRun where the command is not there. What fails leaves no process.
        """
        config = await self._bundles.make(files, spec, shared, netns, tty=tty)
        files.config.write_text(config)
        async with self._making:
            answer, said = await self._ask_conmon(self._conmon(files, stdin=stdin, tty=tty), files)
        if not answer:
            raise PodNetError(f"container {files.name}: conmon failed: {said or 'it said nothing'}")
        report = json.loads(answer, strict=False)
        if report["data"] < 0:
            raise failure(files.name, report.get("message", ""))

    async def _ask_conmon(self, argv: list[str], files: Files) -> tuple[bytes, str]:
        """Start conmon: what it answers once runc has made the container, what it complains of."""
        told, tell = os.pipe()
        try:
            try:
                environment = {"_OCI_SYNCPIPE": str(tell), "TMPDIR": str(self._state.parent)}
                code, said = await processes.run(
                    argv, cwd=files.record, environment=environment, keep=(tell,)
                )
            finally:
                os.close(tell)
            return await processes.line(told) if code == 0 else b"", said
        finally:
            os.close(told)

    async def start(self, files: Files) -> None:
        """The container's command runs.

        As `runc start` does it, without its 5 ms: the first process waits to write a byte into a
        pipe; who has read it, removes the pipe (runc, libcontainer: execFifoFilename). Where there
        is no such pipe, runc says what is the matter.
        """
        pipe = self._pipe(files)
        try:
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            code, said = await processes.run(self._runc("start", files.id))
            if code:
                raise failure(files.name, said) from None
            return
        try:
            async with asyncio.timeout(START_SECONDS):
                await processes.readable(reader)
            os.read(reader, 1)
        except TimeoutError:
            raise PodNetError(f"container {files.name} has ended before it was started") from None
        finally:
            os.close(reader)
        pipe.unlink()

    async def watch(self, files: Files, on_end: Callable[[], None]) -> bool:
        """Call `on_end` when its conmon ends: the container has ended. False: it has before."""
        monitor = monitor_of(files)
        if monitor is None:
            return False
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(monitor)
            os.close(monitor)
            on_end()

        loop.add_reader(monitor, ended)
        return True

    def waits_for_start(self, files: Files) -> bool:
        """Whether `start` is still to come; runc tells by the same pipe (its state `created`)."""
        return self._pipe(files).exists()

    async def send(self, files: Files, number: int) -> bool:
        """Send the first process a signal; False when it has ended."""
        return send(files, number)

    def heeds(self, files: Files, number: int) -> bool:
        """Whether a signal means anything to the first process."""
        return heeds(files, number)

    def is_started(self, files: Files) -> bool:
        """Whether `start` is done, of a container that has not ended.

        In the making there is no pipe yet either; runc writes its state after it has made that.
        """
        written = (self._state / files.id / "state.json").exists()
        return written and not self.waits_for_start(files)

    async def delete(self, files: Files, *, force: bool = False) -> None:
        """runc forgets the container, and its control groups go; none of that id is success.

        `force` ends it too, but takes 100 ms: for what nobody watches.
        """
        if (self._state / files.id).exists():
            argv = self._runc("delete", *(["--force"] if force else []), files.id)
            code, said = await processes.run(argv)
            if code:
                raise failure(files.name, said)

    async def forget(self, sandbox_id: str) -> None:
        """Nothing: unpacked images stay for others."""

    def exec_argv(self, files: Files, *, tty: bool) -> list[str]:
        """What runs a command in the container: the command's words are appended."""
        terminal = ["--tty", "--env", f"TERM={TERM}"] if tty else []
        # With a log elsewhere, what can't be run is said as a sentence, not as a line of a log.
        return self._runc("--log", os.devnull, "exec", *terminal, files.id)

    def _pipe(self, files: Files) -> Path:
        return self._state / files.id / "exec.fifo"

    def _runc(self, *words: str) -> list[str]:
        return [processes.find("runc"), "--root", str(self._state), *words]

    def _conmon(self, files: Files, *, stdin: bool, tty: bool) -> list[str]:
        options = {
            "--api-version": "1",
            "--cid": files.id,
            "--cuuid": files.id,
            "--name": files.name,
            "--runtime": processes.find("runc"),
            "--bundle": files.bundle,
            "--container-pidfile": files.pid,
            "--conmon-pidfile": files.monitor_pid,
            "--log-path": f"k8s-file:{files.log}",
            "--log-size-max": LOG_BYTES,
            "--exit-dir": files.record,
        }
        flags = ["--full-attach", "--no-new-keyring", "--no-sync-log"]
        flags += ["--stdin"] if stdin else []
        flags += ["--terminal"] if tty else []
        given = [str(word) for pair in options.items() for word in pair]
        passed = ["--runtime-arg", "--root", "--runtime-arg", str(self._state)]
        return [processes.find("conmon"), *given, *flags, *passed]


def monitor_of(files: Files) -> int | None:
    """A pidfd of the conmon that watches this container; None when it has ended."""
    try:
        pid = int(files.monitor_pid.read_text())
        monitor = os.pidfd_open(pid)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    with contextlib.suppress(OSError):
        if files.id.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            return monitor
    os.close(monitor)  # the number was given to another process
    return None


def first_process(files: Files) -> int | None:
    """A pidfd of the container's first process, a child of its conmon; None when it has ended."""
    try:
        pid, monitor = int(files.pid.read_text()), int(files.monitor_pid.read_text())
        process = os.pidfd_open(pid)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    with contextlib.suppress(OSError):
        if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == monitor:
            return process
    os.close(process)
    return None


def send(files: Files, number: int) -> bool:
    """Send the first process a signal; False when it has ended."""
    process = first_process(files)
    if process is None:
        return False
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True


def heeds(files: Files, number: int) -> bool:
    """Whether a signal means anything to the first process.

    The kernel drops what the first of a pid namespace has no handler for (pid_namespaces(7)). To
    runc itself, which is there until the command is, it means nothing, though it has handlers.
    """
    try:
        status = Path(f"/proc/{int(files.pid.read_text())}/status").read_text()
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return False
    if status.startswith("Name:\trunc:["):
        return False
    masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    ignored, caught = int(masks["SigIgn"], 16), int(masks["SigCgt"], 16)
    return bool((ignored | caught) >> (number - 1) & 1)
