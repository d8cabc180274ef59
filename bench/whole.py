"""Whole commands as a user starts them, beside docker's: `podnet run`, `podnet get`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.hosts import Stopwatch
from bench.row import Row
from support.docker import CLIENT, Docker
from support.host import Host
from support.podnet import PROGRAM, Podnet

RUN_ROUNDS, GET_ROUNDS = 15, 40
ARCHIVE = "/run/busybox.tar"
IMAGE = "busybox"
ENVIRONMENT = {"DOCKER_CONFIG": "/run/docker-config", "DOCKER_HOST": "", "DOCKER_CONTEXT": ""}
"""Nothing of the caller's own docker."""


def measure_run(rounds: int | None) -> Iterator[Row]:
    """A container that ends at once, in bridge mode: everything but its work."""
    with Host("podnet") as ours, Host("docker") as theirs:
        docker = Docker(theirs)
        docker.import_busybox(IMAGE)
        docker.docker("save", "-o", ARCHIVE, IMAGE)
        ours.path(ARCHIVE).write_bytes(theirs.path(ARCHIVE).read_bytes())
        Podnet(ours).agent()
        samples = race(
            (Stopwatch(ours), [PROGRAM, "run", "--rm", "--image", ARCHIVE, "--", "true"]),
            (Stopwatch(theirs, **ENVIRONMENT), [CLIENT, "run", "--rm", IMAGE, "true"]),
            rounds or RUN_ROUNDS,
        )
    yield Row(
        name="run",
        what="podnet run --rm -- true in bridge mode, whole process, the agent runs",
        against="docker run --rm, dockerd runs; the same busybox root by docker import and save",
        ours=samples[0],
        peer=samples[1],
        goal=0.35,
    )


def measure_get(rounds: int | None) -> Iterator[Row]:
    """A table of one line."""
    with Host("podnet") as ours, Host("docker") as theirs:
        docker = Docker(theirs)
        docker.import_busybox(IMAGE)
        docker.docker("run", "-d", "--name", "web", IMAGE, "sleep", "100000")
        podnet = Podnet(ours)
        podnet.agent()
        podnet.run("run", "-d", "--name", "web", "--", "sleep", "100000")
        samples = race(
            (Stopwatch(ours), [PROGRAM, "get", "psb"]),
            (Stopwatch(theirs, **ENVIRONMENT), [CLIENT, "ps"]),
            rounds or GET_ROUNDS,
        )
    yield Row(
        name="get",
        what="podnet get psb, whole process, the agent runs, one sandbox",
        against="docker ps, dockerd runs, one container",
        ours=samples[0],
        peer=samples[1],
        goal=1.0,
        worst=2.0,
    )


Entry = tuple[Stopwatch, Sequence[str | Path]]


def race(ours: Entry, peer: Entry, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of both, in turns; who begins alternates. One each before that counts for nothing."""
    samples: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        both = ((ours, samples[0]), (peer, samples[1]))
        for (stopwatch, argv), into in both if turn % 2 else reversed(both):
            seconds = stopwatch.run(argv)
            if turn:
                into.append(seconds)
        if turn % 10 == 0:
            print(f"  {Path(ours[1][0]).name} {ours[1][1]}: {turn} rounds", file=sys.stderr)
    return samples
