"""What runs containers: images, root file systems, OCI configs, and who starts and watches them.

Nothing here knows of the loop's state; podnet_agent.containers puts it together. There are two
runtimes: runc under conmon on one machine (runc.py), a cluster node's containerd (containerd/).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from podnet.errors import Invalid, PodNetError, Problem
from podnet.objects import Netns
from podnet.sandbox import ContainerSpec


class ImageNotPresent(PodNetError):
    """The image is not there, and nobody fetches it."""


class CannotRun(Invalid):
    """The command can't be executed; `exit_code` as a shell would give it."""

    def __init__(self, name: str, message: str, exit_code: int) -> None:
        super().__init__([Problem(f"container {name}", message)])
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one container: `bundle` goes with a run, `record` with the sandbox."""

    id: str
    name: str
    bundle: Path
    record: Path

    @property
    def config(self) -> Path:
        """The OCI config."""
        return self.bundle / "config.json"

    @property
    def log(self) -> Path:
        """What it wrote, of all its runs, in the CRI's format."""
        return self.record / "log"

    @property
    def exit(self) -> Path:
        """The exit code of its last run; conmon names the file after the container."""
        return self.record / self.id

    @property
    def oom(self) -> Path:
        """There when the kernel killed for want of memory."""
        return self.record / "oom"

    @property
    def held(self) -> Path:
        """There while it waits for who asked for it to start it."""
        return self.record / "held"

    @property
    def terminal(self) -> Path:
        """There when it was given a terminal: the next run has one too."""
        return self.record / "tty"

    @property
    def attach(self) -> Path:
        """conmon's socket for its streams."""
        return self.bundle / "attach"

    @property
    def control(self) -> Path:
        """conmon's pipe for its terminal's size."""
        return self.bundle / "ctl"

    @property
    def monitor_pid(self) -> Path:
        """conmon's process id."""
        return self.bundle / "conmon.pid"

    @property
    def pid(self) -> Path:
        """The first process's id."""
        return self.bundle / "pid"


class Runtime(Protocol):
    """Who makes, starts, watches and deletes containers. Lives in the asyncio loop."""

    async def open(self) -> None:
        """Ready to be used; what an agent that was killed left half made of images is gone."""

    async def close(self) -> None:
        """Nothing is watched any more. The containers go on."""

    async def sandbox_ids(self) -> set[str]:
        """The sandboxes of which there are containers."""

    async def names(self, sandbox_id: str) -> set[str]:
        """The names of the sandbox's containers that are there, whether they run or not."""

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
        """Make the container; its first process waits to be started.

        `shared`: the folder of what its sandbox's containers share. `held`: who asked for it will
        be attached to its streams before it is started. CannotRun where the command is
        not there, Invalid says what of the spec can't be had. What fails leaves no process; the
        rest is the caller's to delete.
        """

    async def watch(self, files: Files, on_end: Callable[[], None]) -> bool:
        """Have `on_end` called once it has ended, its exit code written. False: it has before."""

    async def start(self, files: Files) -> None:
        """The container's command runs, or has run."""

    def is_started(self, files: Files) -> bool:
        """Whether `start` is done, of what is watched."""

    def waits_for_start(self, files: Files) -> bool:
        """Whether it is made, and `start` is still to come."""

    async def send(self, files: Files, number: int) -> bool:
        """Send the first process a signal; False when it has ended."""

    def heeds(self, files: Files, number: int) -> bool:
        """Whether a signal means anything to the first process."""

    async def delete(self, files: Files, *, force: bool = False) -> None:
        """Nothing is left but the record and the bundle; none of that id is success.

        `force` ends it too, for what nobody watches.
        """

    async def forget(self, sandbox_id: str) -> None:
        """Nothing is kept for the sandbox's containers, which are deleted, to be made again."""

    def exec_argv(self, files: Files, *, tty: bool) -> list[str]:
        """What runs a command in the container: the command's words are appended."""
