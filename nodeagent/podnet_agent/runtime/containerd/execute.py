"""A command in a container of containerd, on this process's streams: what `podnet exec` becomes.

The streams go through FIFOs in the container's bundle, which the shim on the node opens too.
"""

import asyncio
import contextlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import termios
import threading
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from podnet.errors import PodNetError, Retryable
from podnet_agent.runtime import CannotRun
from podnet_agent.runtime.bundle import TERM
from podnet_agent.runtime.containerd import messages
from podnet_agent.runtime.containerd.client import Client, NotFound
from podnet_agent.runtime.containerd.messages import ProcessId
from podnet_agent.runtime.failures import failure

PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"
PIECE_BYTES = 1 << 16
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
OUR_FAULT = 255
"""What `runc exec` ends with where it, and not the command, failed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command in a container; `folder`: where its FIFOs may lie."""

    socket: Path
    folder: Path
    key: str
    terminal: bool
    command: tuple[str, ...]


class Pipes:
    """The FIFOs of one command, and the threads that carry what goes through them."""

    def __init__(self, folder: Path, *, stdin: bool, terminal: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="exec-", dir=folder))
        self._input = self._make("in") if stdin else None
        outputs = [1] if terminal else [1, 2]
        self._outputs = {number: self._make(f"out{number}") for number in outputs}
        # Opened before the shim does it: what was written into a FIFO nobody reads is gone.
        self._threads = [
            threading.Thread(
                target=_carry_output,
                args=(os.open(path, os.O_RDONLY | os.O_NONBLOCK), number),
                daemon=True,
            )
            for number, path in self._outputs.items()
        ]
        for thread in self._threads:
            thread.start()

    def request(self, key: str, exec_id: str, spec: bytes) -> messages.Exec:
        """Of Tasks.Exec, with these as its streams."""
        return messages.Exec(
            container_id=key,
            exec_id=exec_id,
            stdin=str(self._input or ""),
            stdout=str(self._outputs[1]),
            stderr=str(self._outputs.get(2, "")),
            terminal=2 not in self._outputs,
            spec=messages.Packed(PROCESS, spec),
        )

    async def carry_input(self) -> None:
        """Our input goes in, until it ends; at once where there is none."""
        if self._input is None:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def carry(path: Path) -> None:
            with open(path, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
                while text := os.read(0, PIECE_BYTES):
                    pipe.write(text)
            with contextlib.suppress(RuntimeError):  # the loop ended before
                loop.call_soon_threadsafe(done.set_result, None)

        threading.Thread(target=carry, args=(self._input,), daemon=True).start()
        await done

    def close(self, *, drain: bool) -> None:
        """They are gone, after all that was said has been passed on where it is to `drain`."""
        for thread in self._threads if drain else ():
            thread.join()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, name: str) -> Path:
        path = self.folder / name
        os.mkfifo(path, 0o600)
        return path


def _carry_output(pipe: int, target: int) -> None:
    """What comes from the pipe goes to a stream of ours, until the shim has closed it."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    # Before the shim has opened it too there is nothing to read, which looks like its end.
    while poll.poll() and (text := os.read(pipe, PIECE_BYTES)):
        left = memoryview(text)
        with contextlib.suppress(BrokenPipeError):  # nobody listens; the command may go on
            while left:
                left = left[os.write(target, left) :]


async def execute(wanted: Wanted) -> int:
    """Run it; its exit code."""
    client = Client(wanted.socket)
    # Not where it is /dev/null: the command then has that itself.
    stdin = os.fstat(0).st_rdev != os.stat(os.devnull).st_rdev
    exec_id = f"exec-{os.urandom(8).hex()}"
    spec = await _spec(client, wanted)
    pipes = Pipes(wanted.folder, stdin=stdin, terminal=wanted.terminal)
    drain = False
    try:
        request = pipes.request(wanted.key, exec_id, spec)
        process = ProcessId(wanted.key, exec_id)
        try:
            await client.call("tasks.v1.Tasks/Exec", request)
            with _signals(client, wanted, exec_id), _raw(wanted.terminal and stdin):
                await client.call("tasks.v1.Tasks/Start", process, messages.Pid)
                drain = True
                return await _until_end(client, process, pipes)
        except (NotFound, Retryable):
            raise
        except PodNetError as error:
            raise failure(wanted.key, str(error)) from error
    finally:
        pipes.close(drain=drain)


async def _until_end(client: Client, process: ProcessId, pipes: Pipes) -> int:
    feeding = asyncio.create_task(_feed(client, process, pipes))
    ended = await client.call("tasks.v1.Tasks/Wait", process, messages.Exit, seconds=None)
    feeding.cancel()
    with contextlib.suppress(NotFound):  # waits 2 s at most for who holds the streams still
        await client.call("tasks.v1.Tasks/DeleteProcess", process)
    return ended.exit_status


async def _feed(client: Client, process: ProcessId, pipes: Pipes) -> None:
    """Pass our input on, and its end."""
    await pipes.carry_input()
    with contextlib.suppress(PodNetError):  # it has ended meanwhile
        request = messages.CloseIO(process.container_id, process.exec_id, stdin=True)
        await client.call("tasks.v1.Tasks/CloseIO", request)


async def _spec(client: Client, wanted: Wanted) -> bytes:
    """The container's own process (user, environment, capabilities) with another command."""
    request = messages.Id(wanted.key)
    found = await client.call("containers.v1.Containers/Get", request, messages.OneRecord)
    process = json.loads(found.container.spec.value)["process"]
    process |= {"args": wanted.command, "terminal": wanted.terminal}
    if wanted.terminal:
        process["env"] = [*process["env"], f"TERM={TERM}"]
        with contextlib.suppress(OSError):  # ours is none
            columns, lines = os.get_terminal_size(0)
            process["consoleSize"] = {"width": columns, "height": lines}
    return json.dumps(process).encode()


async def _resize(client: Client, process: ProcessId) -> None:
    """The command's terminal is as large as ours."""
    with contextlib.suppress(OSError, PodNetError):  # ours is none, or the command has ended
        size = os.get_terminal_size(0)
        request = messages.ResizePty(
            process.container_id, process.exec_id, size.columns, size.lines
        )
        await client.call("tasks.v1.Tasks/ResizePty", request)


@contextlib.contextmanager
def _signals(client: Client, wanted: Wanted, exec_id: str) -> Iterator[None]:
    """Signals that would end this process go to the command."""
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    async def send(number: int) -> None:
        with contextlib.suppress(PodNetError):  # it has ended meanwhile
            if number == signal.SIGWINCH:
                await _resize(client, ProcessId(wanted.key, exec_id))
            else:
                request = messages.Kill(wanted.key, exec_id, number)
                await client.call("tasks.v1.Tasks/Kill", request)

    def begin(number: int) -> None:
        task = loop.create_task(send(number))
        running.add(task)
        task.add_done_callback(running.discard)

    numbers = (*FORWARDED, *([signal.SIGWINCH] if wanted.terminal else []))
    for number in numbers:
        loop.add_signal_handler(number, begin, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _raw(wanted: bool) -> Iterator[None]:
    """The terminal passes every key on, as it comes; afterwards it is what it was."""
    if not wanted or not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def main() -> None:
    """`SOCKET FOLDER KEY tty|plain COMMAND...`; the exit code is the command's."""
    socket, folder, key, kind, *command = sys.argv[1:]
    wanted = Wanted(Path(socket), Path(folder), key, kind == "tty", tuple(command))
    try:
        code = asyncio.run(execute(wanted))
    except PodNetError as error:
        print(f"podnet exec: {error}", file=sys.stderr)
        code = error.exit_code if isinstance(error, CannotRun) else OUR_FAULT
    sys.stderr.flush()
    os._exit(code)  # a thread may wait for input that will never come


if __name__ == "__main__":
    main()
