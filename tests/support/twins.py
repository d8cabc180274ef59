"""The same commands for Debian's dockerd and for podnet, each in a host of its own.

Both hosts have the same name and files and both choose 172.17.0.0/16, so the same words must have
the same answers, to the letter.
"""

import os
import pty
import re
import subprocess
import termios
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from support.docker import CLIENT, Docker
from support.host import Host
from support.podnet import PROGRAM, Podnet

IMAGE = "/run/busybox.tar"
SECONDS = 30.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        """With one name for every id that docker makes up."""
        text = f"exit {self.code}\n{self.out}{self.err}"
        return re.sub(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", "ID", text)


class Both(NamedTuple):
    """What is compared."""

    docker: Done
    podnet: Done


class Twins:
    """A dockerd and an agent of podnet, each with the image that `image` stands for."""

    def __init__(self, docker: Docker, podnet: Podnet) -> None:
        self.docker, self.podnet = docker, podnet
        docker.docker("save", "-o", IMAGE, "busybox")
        podnet.host.path(IMAGE).write_bytes(docker.host.path(IMAGE).read_bytes())

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Docker's and podnet's."""
        return self.docker.host, self.podnet.host

    def run(self, options: Sequence[str], *command: str, input: str | None = None) -> Both:
        """`run OPTIONS IMAGE COMMAND` to its end, at both at the same time."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started = [
            host.popen(argv, text=True, env=environment(), **pipes)
            for host, argv in zip(self.hosts, words(options, command), strict=True)
        ]
        return Both(*(_end(process, input) for process in started))

    def start(self, name: str, *options: str, command: Sequence[str] = ("sleep", "1000")) -> None:
        """A container of that name runs at both until `remove`."""
        both = self.run(["-d", "--name", name, *options], *command)
        assert (both.docker.code, both.podnet.code) == (0, 0), both

    def remove(self, *names: str) -> None:
        """Neither has them any more."""
        self.docker.docker("rm", "-f", *names, check=False)
        self.podnet.run("delete", "podsandbox", *names, "--grace-period=0", check=False)

    def execute(self, name: str, *command: str) -> Both:
        """`exec NAME COMMAND` at both."""
        argv = [[str(CLIENT), "exec", name], [str(PROGRAM), "exec", name, "--"]]
        done = [
            host.run([*each, *command], env=environment(), check=False)
            for host, each in zip(self.hosts, argv, strict=True)
        ]
        return Both(*(Done(one.returncode, one.stdout, one.stderr) for one in done))

    def pids(self, name: str) -> tuple[int, int]:
        """The container's first process, as docker's host counts, and as podnet's."""
        status = self.podnet.json("get", "podsandbox", name)["status"]
        return self.docker.inspect(name)["State"]["Pid"], status["containers"][0]["pid"]

    def netns(self, name: str) -> tuple[str, str]:
        """The container's network namespace as a file of docker's host, and of podnet's."""
        docker, podnet = (f"/proc/{pid}/ns/net" for pid in self.pids(name))
        return docker, podnet

    def terminal(
        self, options: Sequence[str], *command: str, rows: int, columns: int
    ) -> list[tuple[int, bytes]]:
        """`run -it` in a terminal of that size: exit code and all that came to the screen."""
        found = []
        for host, argv in zip(self.hosts, words(["-it", *options], command), strict=True):
            screen, keys = pty.openpty()
            termios.tcsetwinsize(keys, (rows, columns))
            process = host.popen(argv, stdin=keys, stdout=keys, stderr=keys, env=environment())
            os.close(keys)
            found.append((screen, process))
        return [(process.wait(SECONDS), _read(screen)) for screen, process in found]


def words(options: Sequence[str], command: Sequence[str]) -> tuple[list[str], list[str]]:
    """Docker's command line and podnet's."""
    return (
        [str(CLIENT), "run", *options, "busybox", *command],
        [str(PROGRAM), "run", "--image", IMAGE, *options, "--", *command],
    )


def environment() -> Mapping[str, str]:
    """Of both command lines."""
    return {
        **os.environ,
        "DOCKER_CONFIG": "/run/docker-config",
        "FROM_OUTSIDE": "yes",
        "TERM": "vt100",
    }


def _end(process: subprocess.Popen[Any], input: str | None) -> Done:
    out, err = process.communicate(input, SECONDS)
    return Done(process.returncode, out, err)


def _read(screen: int) -> bytes:
    text = b""
    try:
        while piece := os.read(screen, 4096):
            text += piece
    except OSError:  # EIO: nobody has the other end any more
        pass
    finally:
        os.close(screen)
    return text
