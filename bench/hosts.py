"""Private hosts to measure in, and the resident processes that do the timing there."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.host import Host, HostError

ROOT = Path(__file__).parents[1]
INSIDE = "PODNET_BENCH_INSIDE"
"""Set where a script of the bench is in a private host: it would change the machine itself else."""


def resident(host: Host, module: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    """Start one of the bench's modules in a host; text in and out."""
    return host.popen(
        [sys.executable, "-m", module, *map(str, args)],
        cwd=ROOT,
        env={**os.environ, INSIDE: host.name} | options.pop("env", {}),
        text=True,
        **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE} | options,
    )


def resident_program(host: Host, program: Path) -> subprocess.Popen[str]:
    """Start a program that is no module of the bench in a host; text in and out."""
    return host.popen([program], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={})


def need_private_host() -> None:
    """End a script that somebody started by hand."""
    if INSIDE not in os.environ:
        sys.exit("this makes bridges and namespaces: `python -m bench` runs it in a private host")


def script(host: Host, module: str, *args: object) -> Any:
    """Run one of the bench's modules in a host to its end; the JSON it prints.

    What it says on standard error is shown as it comes.
    """
    process = resident(host, module, *args)
    out, _ = process.communicate()
    if process.returncode:
        raise HostError(f"python -m {module}, in a private host, ended: {process.returncode}")
    return json.loads(out)


class Stopwatch:
    """Times commands inside a host, from spawn to exit: the way into the host is not timed."""

    def __init__(self, host: Host, **environment: str) -> None:
        self._process = resident(host, "bench.stopwatch", env=environment)

    def run(self, argv: Sequence[str | Path]) -> float:
        """Seconds that the command took; HostError with its words when it failed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(word) for word in argv]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["exit"]:
            words = " ".join(map(str, argv))
            raise HostError(f"{words}: exit {answer['exit']}: {answer['error']}")
        return float(answer["seconds"])
