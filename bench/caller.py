"""Plugins called as libcni calls them, by a program in C (caller.c), which costs little itself."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hosts import resident_program
from support.cni import CNI_VERSION
from support.host import Host, HostError

SOURCE = Path(__file__).with_name("caller.c")
Config = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """A sandbox as containerd has one: its namespace is there, with nothing in it."""

    number: int

    @property
    def container_id(self) -> str:
        """64 digits."""
        return f"{self.number:08x}{'f00d' * 14}"

    @property
    def netns(self) -> str:
        """The file's name in /var/run/netns."""
        return f"cni-{self.number:08x}"

    def environment(self, command: str, folder: Path) -> dict[str, str]:
        """What libcni sets, and nothing else."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": f"/var/run/netns/{self.netns}",
            "CNI_IFNAME": "eth0",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;"
            f"K8S_POD_NAME=pod-{self.number};K8S_POD_INFRA_CONTAINER_ID={self.container_id}",
            "CNI_PATH": str(folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        }


@dataclass(frozen=True)
class Plugin:
    """One of a chain."""

    program: Path
    config: Config


Chain = Callable[[Pod], Sequence[Plugin]]
"""The plugins of a network, first to last, as a pod's runtime calls them."""


@dataclass(frozen=True)
class Done:
    """One call of a chain: the last plugin's result, empty for DEL."""

    seconds: float
    result: str


def build(folder: Path) -> Path:
    """Compile the program into `folder`."""
    program = folder / "caller"
    subprocess.run(["gcc", "-O2", "-Wall", "-pthread", "-o", program, SOURCE], check=True)
    return program


class Caller:
    """The running program, in a private host. What it starts is in that host, too."""

    def __init__(self, program: Path, host: Host) -> None:
        self._process = resident_program(host, program)

    def add(self, chain: Chain, pods: Iterable[Pod], workers: int = 1) -> tuple[list[Done], float]:
        """Attach each; what became of each, and the seconds of all together."""
        lines: list[str] = []
        for pod in pods:
            first, *others = chain(pod)
            lines += ["job", *_call("call", first, pod, "ADD")]
            for plugin in others:
                lines += _call("next", plugin, pod, "ADD")
        return self._go(lines, workers)

    def delete(
        self, chain: Chain, pods: Iterable[Pod], added: Iterable[Done], workers: int = 1
    ) -> tuple[list[Done], float]:
        """Detach each, last plugin first, with what ADD printed as prevResult."""
        lines: list[str] = []
        for pod, done in zip(pods, added, strict=True):
            lines.append("job")
            for plugin in reversed(chain(pod)):
                lines += _call("call", plugin, pod, "DEL", done.result)
        return self._go(lines, workers)

    def ask_version(self, plugin: Plugin, times: int) -> list[float]:
        """The seconds of a call that the plugin answers by itself, so many times."""
        lines: list[str] = []
        for number in range(times):
            lines += ["job", *_call("call", plugin, Pod(number), "VERSION")]
        done, _ = self._go(lines, 1)
        return [each.seconds for each in done]

    def _go(self, lines: list[str], workers: int) -> tuple[list[Done], float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n".join([*lines, f"go {workers}\n"]))
        self._process.stdin.flush()
        done: list[Done] = []
        for line in self._process.stdout:
            number, _, rest = line.partition(" ")
            if number == "all":
                return done, int(rest) / 1e9
            done.append(Done(int(number) / 1e9, rest.strip()))
        raise HostError(f"the caller ended, exit {self._process.wait()}: see above")


def _call(
    verb: str, plugin: Plugin, pod: Pod, command: str, previous: str | None = None
) -> Iterable[str]:
    config = json.dumps({"cniVersion": CNI_VERSION, **plugin.config})
    if previous is not None:
        config = f'{config[:-1]}, "prevResult": {previous}}}'
    yield f"{verb} {plugin.program} {config}"
    for name, value in pod.environment(command, plugin.program.parent).items():
        yield f"env {name}={value}"
