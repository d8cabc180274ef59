"""Programs that are run to their end without a thread of their own, and what comes from pipes."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from podnet.errors import PodNetError
from podnet_agent.runtime.bundle import PATH

LONGEST_ANSWER = 1 << 16


def find(program: str) -> str:
    """Where the program is; PodNetError with the remedy when it is not there."""
    path = shutil.which(program, path=PATH)
    if path is None:
        raise PodNetError(f"{program} is not installed: apt-get install {program}")
    return path


async def run(
    argv: list[str],
    *,
    cwd: Path = Path("/"),
    environment: dict[str, str] | None = None,
    keep: tuple[int, ...] = (),
) -> tuple[int, str]:
    """Run a program to its end: its exit code and what it said on standard error.

    That goes to memory and not to a pipe, which a container would hold open.
    """
    said = os.memfd_create("stderr")
    try:
        process = subprocess.Popen(  # noqa: ASYNC220 - vfork: 1 ms, and no thread for the wait
            argv,
            cwd=cwd,
            env={"PATH": PATH, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=keep,
            start_new_session=True,
        )
        ended = os.pidfd_open(process.pid)
        try:
            await readable(ended)
        finally:
            os.close(ended)
        code = process.wait()
        return code, os.pread(said, LONGEST_ANSWER, 0).decode(errors="replace").strip()
    finally:
        os.close(said)


async def readable(fd: int) -> None:
    """Return once the file descriptor has something to read; a pidfd, once the process ended."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    loop.add_reader(fd, wake)
    try:
        await future
    finally:
        loop.remove_reader(fd)


async def line(fd: int) -> bytes:
    """What comes from a pipe up to the first end of line, or its end."""
    text = b""
    while not text.endswith(b"\n"):
        await readable(fd)
        piece = os.read(fd, LONGEST_ANSWER)
        if not piece:
            break
        text += piece
    return text
