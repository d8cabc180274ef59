"""The scripts that make the cluster, where they are not let come to an end."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FOLDER
from support.host import until

GO = """#!/bin/sh
[ "$1" = list ] && exit
echo $$ > {pid}.new && mv {pid}.new {pid}
exec sleep 1000
"""
"""A compiler that never comes to an end."""


@pytest.fixture
def cache() -> Iterator[Path]:
    """A cache of this test's own, with a short path: dockerd's socket lies in it."""
    folder = Path(tempfile.mkdtemp(prefix="kind-"))
    yield folder
    shutil.rmtree(folder)


def processes_of(cache: Path) -> list[str]:
    """The command lines that name it."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(cache) in " ".join(words):
            found.append(" ".join(words))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="a dockerd of our own takes root")
def test_down_ends_what_a_killed_up_left_at_work(cache: Path) -> None:
    programs, pid = cache / "programs", cache / "go.pid"
    programs.mkdir()
    (programs / "go").write_text(GO.format(pid=pid))
    (programs / "go").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    environment = {**os.environ, "KIND_CACHE": str(cache), "PATH": path}
    up = subprocess.Popen([FOLDER / "up"], env=environment, stderr=subprocess.DEVNULL)
    try:
        until(pid.exists, "it to compile", 60)
    finally:
        up.kill()
        up.wait()
        done = subprocess.run([FOLDER / "down"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    compiler = Path("/proc", pid.read_text().strip())
    try:
        until(lambda: not compiler.exists() and processes_of(cache) == [], "all to have ended", 20)
    finally:
        if compiler.exists():
            os.kill(int(compiler.name), signal.SIGKILL)
    assert str(cache) not in Path("/proc/self/mountinfo").read_text()
