"""The containers of every sandbox: made, watched, started again, removed.

/run/podnet/sandboxes/ID/{hosts,hostname,resolv.conf,ipc,uts,shm}   shared by a sandbox's containers
                        /containers/NAME/{log,ID-NAME,oom,held,tty} one container's record
/run/podnet/containers/ID-NAME/                                     its bundle, while it runs
/run/podnet/runc/ID-NAME/                                           runc's state, while it runs
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from podnet.addresses import IPAddress
from podnet.containers import (
    Body,
    Container,
    State,
    Steps,
    adopted,
    body_of,
    exited,
    from_body,
    next_steps,
    not_made,
    running,
)
from podnet.errors import PodNetError, Retryable
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec, Sandbox
from podnet_agent import files
from podnet_agent.objects import Write
from podnet_agent.paths import Paths
from podnet_agent.runs import Run, files_of
from podnet_agent.runtime import CannotRun, Files, ImageNotPresent, Runtime

CGROUPS = (Path("/sys/fs/cgroup"), Path("/proc/1/root/sys/fs/cgroup"))
"""The machine's, as seen from here and by its first process: a pod sees those of its own only."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a sandbox's containers run: the namespace, its addresses, whose files they see."""

    netns: Netns
    addresses: tuple[IPAddress, ...] = ()
    joined: Sandbox | None = None
    """Whose hosts, hostname and resolv.conf are used, where it is not the sandbox itself."""


@dataclass(slots=True)
class Kept:
    """What is known of one sandbox's containers. `lock`: one change at a time."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    containers: dict[str, Container] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    read_status: bool = False


class Containers:
    """Lives in the asyncio loop; `write` runs a function in the writer thread."""

    def __init__(self, paths: Paths, write: Write, runtime: Runtime) -> None:
        self._paths, self._write, self._runtime = paths, write, runtime
        self._sandboxes: dict[str, Kept] = {}
        self.exited: Callable[[str], None] = lambda sandbox_id: None

    async def adopt(self, sandbox_ids: Iterable[str]) -> None:
        """Watch the containers that an earlier agent left; other sandboxes' are removed."""
        await self._runtime.open()
        wanted = set(sandbox_ids)
        found = await self._runtime.sandbox_ids()
        found |= set(_names(self._paths.run / "sandboxes"))
        for sandbox_id in found & wanted:
            await self._find(sandbox_id, self._kept(sandbox_id))
        await asyncio.gather(*(self.remove_all(each, 0.0) for each in found - wanted))

    async def close(self) -> None:
        """Nothing is watched any more. The containers go on."""
        await self._runtime.close()

    async def advance(
        self, sandbox: Sandbox, home: Home, before: Body
    ) -> tuple[list[Body], float | None]:
        """Make and start what is missing and due; what `create` made is left to `start`.

        Returns `status.containers`, and in how many seconds there is something to do again.
        `before` is the sandbox's status.
        """
        kept = self._kept(sandbox.id)
        async with kept.lock:
            if not kept.read_status:
                _remember(kept, sandbox, before)
            due = [spec for spec in sandbox.containers if spec.name in _steps(sandbox, kept).start]
            if due:
                await self._prepare(sandbox, home)
                await asyncio.gather(*(self._bring_up(sandbox, home, kept, spec) for spec in due))
            steps = _steps(sandbox, kept)
            bodies = [body_of(kept.containers[spec.name]) for spec in sandbox.containers]
            return bodies, 0.0 if steps.start else steps.seconds

    async def create(
        self, sandbox: Sandbox, home: Home, *, stdin: bool, tty: bool
    ) -> dict[str, dict[str, str]]:
        """Make the containers without starting them; where their streams are, by name.

        Where one can't be made, none is left.
        """
        kept = self._kept(sandbox.id)
        async with kept.lock:
            await self._prepare(sandbox, home)
            try:
                for spec in sandbox.containers:
                    kept.containers[spec.name] = Container(spec.name, spec.image)
                    await self._make(sandbox, home, kept, spec, stdin=stdin, tty=tty, held=True)
                    kept.containers[spec.name] = replace(
                        kept.containers[spec.name], state="created"
                    )
            except PodNetError:
                await asyncio.gather(*(run.end(0.0) for run in kept.runs.values()))
                kept.runs.clear()
                kept.containers.clear()
                raise
            return {
                name: {"socket": str(run.files.attach), "control": str(run.files.control)}
                for name, run in kept.runs.items()
            }

    async def start(self, sandbox_id: str) -> None:
        """Start what `create` made."""
        kept = self._kept(sandbox_id)
        async with kept.lock:
            for name, container in list(kept.containers.items()):
                if container.state == "created":
                    await _start(kept, name)

    async def kill(self, sandbox_id: str, container_name: str, signal_name: str) -> None:
        """Send the container's first process a signal; PodNetError when it does not run."""
        word = f"SIG{signal_name.removeprefix('SIG')}"
        if word not in signal.Signals.__members__:
            raise PodNetError(f"{signal_name} is no signal: write TERM, KILL, INT or another one")
        running = self._running(sandbox_id, container_name)
        if not await self._runtime.send(running, signal.Signals[word]):
            raise PodNetError(f"container {container_name} has ended: there is nothing to signal")

    def exec_argv(self, sandbox_id: str, container_name: str, *, tty: bool) -> list[str]:
        """What runs a command in the container; the command's words are appended."""
        return self._runtime.exec_argv(self._running(sandbox_id, container_name), tty=tty)

    def pids(self, sandbox_id: str) -> tuple[int, ...]:
        """The first process of each container that lives: the namespaces live in them too."""
        kept = self._sandboxes.get(sandbox_id)
        return tuple(run.first_pid() for run in kept.runs.values() if run.lives()) if kept else ()

    def log_path(self, sandbox_id: str, container_name: str) -> Path:
        """The container's log, in the CRI's format; not there before its first run."""
        return self._files(sandbox_id, container_name).log

    async def remove_all(self, sandbox_id: str, grace_seconds: float) -> None:
        """End the sandbox's containers, and take away all that was made for them.

        What fails does not keep the rest from going; PodNetError then says what is left.
        """
        kept = self._kept(sandbox_id)
        async with kept.lock:
            await self._find(sandbox_id, kept)
            results = await asyncio.gather(
                *(run.end(grace_seconds) for run in kept.runs.values()), return_exceptions=True
            )
            errors = [str(result) for result in results if isinstance(result, BaseException)]
            if errors:
                raise PodNetError("; ".join(errors))
            await self._runtime.forget(sandbox_id)
            await asyncio.to_thread(files.remove, self._paths.sandbox(sandbox_id))
            self._remove_cgroups()
        self._sandboxes.pop(sandbox_id, None)

    async def _bring_up(
        self, sandbox: Sandbox, home: Home, kept: Kept, spec: ContainerSpec
    ) -> None:
        """Make and start it, or write down why not."""
        kept.containers.setdefault(spec.name, Container(spec.name, spec.image))
        try:
            tty = self._files(sandbox.id, spec.name).terminal.exists()
            await self._make(sandbox, home, kept, spec, stdin=False, tty=tty, held=False)
            await _start(kept, spec.name)
        except CannotRun as error:
            kept.containers[spec.name] = exited(
                kept.containers[spec.name],
                error.exit_code,
                time.time(),
                reason="StartError",
                message=str(error),
            )
        except PodNetError as error:
            absent = isinstance(error, ImageNotPresent)
            reason = "ImageNotPresent" if absent else "CreateContainerError"
            kept.containers[spec.name] = not_made(
                kept.containers[spec.name],
                reason,
                str(error),
                time.time(),
                may_pass=isinstance(error, Retryable),
            )

    async def _make(
        self,
        sandbox: Sandbox,
        home: Home,
        kept: Kept,
        spec: ContainerSpec,
        *,
        stdin: bool,
        tty: bool,
        held: bool,
    ) -> None:
        """The container waits to be started; nothing of it is left, where that fails."""
        if spec.name in kept.runs:
            await kept.runs[spec.name].end(0.0)
        run = self._run(sandbox.id, kept, spec.name)
        shared = self._paths.sandbox(sandbox.id)
        try:
            await run.make(spec, shared, home.netns, stdin=stdin, tty=tty, held=held)
        except OSError as error:
            await run.clean()
            raise PodNetError(f"container {spec.name} can't be made: {error}") from error
        except PodNetError:  # not where the agent ends: it goes on, the next agent looks
            await run.clean()
            raise
        kept.runs[spec.name] = run
        kept.containers[spec.name] = replace(kept.containers[spec.name], id=run.files.id)

    async def _prepare(self, sandbox: Sandbox, home: Home) -> None:
        """What the containers share is there; who is joined may have had none so far."""
        folder, owner = self._paths.sandbox(sandbox.id), home.joined or sandbox
        try:
            files.write_files(self._paths.sandbox(owner.id), owner, home.addresses)
            if home.joined:
                files.join_files(folder, self._paths.sandbox(owner.id))
        except OSError as error:
            raise PodNetError(f"the files of {owner.owner} can't be made: {error}") from error
        if not files.is_prepared(folder):
            await self._write(files.prepare, folder)

    async def _find(self, sandbox_id: str, kept: Kept) -> None:
        """Watch what lies there of this sandbox and is not known."""
        names = await self._runtime.names(sandbox_id)
        records = _names(self._paths.sandbox(sandbox_id) / "containers")
        names |= {name for name in records if self._files(sandbox_id, name).exit.exists()}
        for name in sorted(names - set(kept.runs)):
            run = kept.runs[name] = self._run(sandbox_id, kept, name)
            kept.containers[name] = container = Container(name, "", id=run.files.id)
            if await run.watch():
                container = replace(container, pid=run.first_pid(), state=_state(run))
            elif run.is_over():
                container = run.ended(container)
            kept.containers[name] = container

    def _run(self, sandbox_id: str, kept: Kept, name: str) -> Run:
        def on_end(run: Run) -> None:
            # What was never started has not ended: it is made anew, and that is no restart.
            if kept.containers[name].state != "waiting":
                kept.containers[name] = run.ended(kept.containers[name])
            self.exited(sandbox_id)

        return Run(self._files(sandbox_id, name), self._runtime, on_end)

    def _running(self, sandbox_id: str, name: str) -> Files:
        kept = self._sandboxes.get(sandbox_id)
        container = kept.containers.get(name) if kept else None
        if container is None or container.state != "running":
            state = container.state if container else "not there"
            raise PodNetError(f"container {name} does not run: it is {state}")
        return self._files(sandbox_id, name)

    def _files(self, sandbox_id: str, name: str) -> Files:
        return files_of(self._paths.run, self._paths.sandbox(sandbox_id), name)

    def _kept(self, sandbox_id: str) -> Kept:
        return self._sandboxes.setdefault(sandbox_id, Kept())

    def _remove_cgroups(self) -> None:
        """The group above all containers' goes with the last of them."""
        # A bundle is there before its container's group is, and nothing else runs in this loop
        # between the look and the removal: no new container loses its parent.
        if not _names(self._paths.containers):
            for folder in (each for root in CGROUPS for each in (root, *_folders(root))):
                with contextlib.suppress(OSError):
                    (folder / "podnet").rmdir()


async def _start(kept: Kept, name: str) -> None:
    """The container runs, or has run."""
    before, run = kept.containers[name], kept.runs[name]
    # Written first: it may have ended before runc says that it has started.
    kept.containers[name] = running(before, run.first_pid(), time.time())
    try:
        await run.start()
    except PodNetError:
        kept.containers[name] = before
        raise


def _state(run: Run) -> State:
    """Of a container that lives; one nobody will start is made anew."""
    if run.is_started():
        return "running"
    return "created" if run.files.held.exists() else "waiting"


def _steps(sandbox: Sandbox, kept: Kept) -> Steps:
    names = [spec.name for spec in sandbox.containers]
    return next_steps(names, sandbox.restart_policy, kept.containers, time.time())


def _remember(kept: Kept, sandbox: Sandbox, before: Body) -> None:
    """What the status says of earlier runs is known again."""
    for body in before.get("containers", ()):
        old = from_body(body)
        container = adopted(old, kept.containers.get(old.name), time.time())
        if container is not None:
            kept.containers[old.name] = container
    for spec in sandbox.containers:
        if spec.name in kept.containers:
            kept.containers[spec.name] = replace(kept.containers[spec.name], image=spec.image)
    kept.read_status = True


def _folders(folder: Path) -> list[Path]:
    """What is in the folder, as far as it may be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
