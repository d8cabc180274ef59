"""The C floor: builds floor.c, and gives it exactly what the agent would tell the kernel."""

import subprocess
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType

from podnet.objects import HOST, Netns, Sysctl
from podnet.plan import Operation
from podnet_agent.message import batch, by_rtnetlink, messages

SOURCE = Path(__file__).with_name("floor.c")
FD, INDEX = 0x7F1DF1DF, 0x7F0DE0DE
"""What stands for a file descriptor and a pod end's index until the program knows them."""


def build(folder: Path) -> Path:
    """Compile the program into `folder`."""
    program = folder / "floor"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, SOURCE], check=True)
    return program


def job(operations: Sequence[Operation], netns: Netns, ifname: str, bridge_index: int) -> str:
    """The plan of one attachment as the program reads it: the same bytes, the same order."""

    def index(where: Netns, name: str) -> int:
        return bridge_index if where == HOST else INDEX

    lines = [f"netns {netns}", f"ifname {ifname}"]
    for (travels, where), run in groupby(operations, _channel):
        if not travels:
            things = [operation.what for operation in run]
            for thing in things:
                assert isinstance(thing, Sysctl), f"the floor has no {thing}"
                lines.append(f"sysctl /proc/sys/{thing.name} {thing.value}")
            continue
        packed = [message for each in run for message in messages(each, index, lambda _: FD)]
        buffer = batch(packed, 1)
        kind, mark = ("host", FD) if where == HOST else ("pod", INDEX)
        offsets = " ".join(map(str, _places(buffer, mark)))
        lines.append(f"{kind} {len(packed)} {buffer.hex()} {offsets}")
    return "\n".join([*lines, "go\n"])


def _channel(operation: Operation) -> tuple[bool, Netns]:
    return by_rtnetlink(operation.what), operation.what.netns


def _places(buffer: bytes, mark: int) -> list[int]:
    """Where in the buffer the number stands; every attribute and header field is aligned."""
    wanted = mark.to_bytes(4, "little")
    return [at for at in range(0, len(buffer), 4) if buffer[at : at + 4] == wanted]


class Floor:
    """The running program, in the namespaces of the calling process."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> "Floor":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, job: str) -> float:
        """Carry out one job; the seconds it took."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(job)
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the floor ended, exit {self._process.wait()}: see above")
        return int(answer) / 1e9
