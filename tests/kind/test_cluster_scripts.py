"""The scripts that make the cluster, where they are not let come to an end."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FOLDER, ROOT, Cluster
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


# --- which node image ---

STUB = """#!/bin/sh
echo "${{0##*/}} $*" >> {said}
case "${{0##*/}} $*" in
  "docker info") exit {info} ;;
  "docker image inspect "*) exit {image} ;;
  "docker manifest inspect "*) exit {manifest} ;;
  "kubectl get nodes "*) printf 'a True\\nb True\\nc True\\n' ;;
esac
"""
"""docker, kind and kubectl that note down what they are told."""
NODE = "kindest/node:v"


def told(cache: Path, uid: int = 0, **codes: int) -> tuple[int, str, list[str]]:
    """`up` with such programs: its exit code and words, and what they were told."""
    programs, said = cache / "programs", cache / "said"
    programs.mkdir()
    for name in ("docker", "kind", "kubectl"):
        (programs / name).write_text(STUB.format(said=said, **codes))
        (programs / name).chmod(0o755)
    (programs / "id").write_text(f"#!/bin/sh\necho {uid}\n")
    (programs / "id").chmod(0o755)
    environment = {**os.environ, "KIND_CACHE": str(cache), "PATH": f"{programs}:/usr/bin:/bin"}
    up = subprocess.run([FOLDER / "up"], env=environment, capture_output=True, text=True)
    return up.returncode, up.stderr, said.read_text().splitlines()


@pytest.mark.parametrize(("image", "pulls"), [(0, 0), (1, 1)], ids=["there", "within reach"])
def test_kinds_own_node_image_is_taken_where_docker_has_it_or_can_pull_it(
    cache: Path, image: int, pulls: int
) -> None:
    code, words, said = told(cache, info=0, image=image, manifest=0)
    assert code == 0, words
    assert "cluster podnet is up" in words
    (created,) = [line for line in said if line.startswith("kind create cluster")]
    name = created.rpartition(" ")[2]
    assert name.startswith(NODE)
    assert "offline" not in name
    assert [line for line in said if line.startswith("docker pull")] == [
        f"docker pull {name}"
    ] * pulls


@pytest.mark.parametrize(("info", "manifest"), [(1, 0), (0, 1)], ids=["no docker", "no registry"])
def test_without_it_root_is_needed_and_said(cache: Path, info: int, manifest: int) -> None:
    code, words, said = told(cache, uid=1000, info=info, image=1, manifest=manifest)
    assert code == 1
    assert f"no {NODE}" in words
    assert "to run a dockerd of our own takes root" in words
    assert not [line for line in said if line.startswith(("kind", "docker pull"))]


# --- cached between runs ---


def test_a_cluster_that_runs_is_left_as_it_is(cluster: Cluster) -> None:
    """By the README's own word."""
    before = [each["metadata"]["uid"] for each in cluster.nodes()]
    done = subprocess.run(["make", "kind-up"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "cluster podnet is up" in done.stderr
    assert "compiling" not in done.stderr and "making cluster" not in done.stderr
    assert [each["metadata"]["uid"] for each in cluster.nodes()] == before
