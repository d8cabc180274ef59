"""The experiments' pages on a node of the cluster: the very commands, by kubectl."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cluster import FOLDER, Cluster
from support.host import until
from support.pages import PAGES, follow
from support.podnet import PROGRAM

LABEL = "pod-security.kubernetes.io/enforce"
NETWORKS = ("lab", "other", "plane")
COMMAND_SECONDS, PAGE_SECONDS = 120, 600
MARK = "PODNET_EXPERIMENT"
"""In the environment of whatever a page starts on the node, so a failed one's can be found."""
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
    "BASH_FUNC_podnet%%": '() { kubectl podnet "$@"; }',
    MARK: secrets.token_hex(4),
}
"""That of a person who has done what experiments/README.md says."""
SEEN = """
ip -oneline link | cut -d : -f 2 | cut -d @ -f 1 | sed 's/^/link/'
ip -4 -oneline address
ip -4 route
nft list table inet podnet
iptables -S
ls /run/netns /run/podnet/sandboxes
ctr -n k8s.io containers ls -q | grep podnet
ps -eo args= | grep -E '^(busybox|sleep infinity)'
findmnt -rno TARGET | grep -E '^/run/(netns|podnet)'
true
"""
END = f"""
for each in /proc/[0-9]*/environ; do
  if grep -qszE '^{MARK}=' $each; then each=${{each%/environ}}; kill -KILL ${{each#/proc/}}; fi
done
true
"""


@pytest.fixture
def node(deployed: Cluster) -> Iterator[str]:
    """The only worker that takes new sandboxes, and may give them its root."""
    here, *others = deployed.workers()
    clear(deployed)  # of a session that was killed
    deployed.kubectl("cordon", *others)
    deployed.kubectl("label", "--overwrite", "namespace", "default", f"{LABEL}=privileged")
    yield here
    clear(deployed)


def clear(cluster: Cluster) -> None:
    """Take away all that pages made, finished or not, and what prepared for them."""
    for node in cluster.workers():
        cluster.node(node, "bash", "-c", END)
    cluster.kubectl("delete", "psb", "--all", "--namespace=default")
    cluster.kubectl("delete", "podnetworks", "--ignore-not-found", *NETWORKS)
    cluster.kubectl("uncordon", *cluster.workers())
    cluster.kubectl("label", "namespace", "default", f"{LABEL}-")


def seen(cluster: Cluster) -> set[str]:
    """All that a page could leave behind, on every worker."""
    nodes = cluster.workers()
    text = {node: cluster.node(node, "bash", "-c", SEEN) for node in nodes}
    return {f"{node}: {line}" for node in nodes for line in text[node].splitlines()}


@pytest.mark.timeout(PAGE_SECONDS + 120)
@pytest.mark.parametrize("page", [*PAGES.values()], ids=[*PAGES])
def test_a_page_is_true_and_leaves_nothing_behind(page: Path, deployed: Cluster, node: str) -> None:
    before = seen(deployed)
    done = subprocess.run(
        [FOLDER / "on", node, *follow(page, COMMAND_SECONDS)],
        cwd=page.parent,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PAGE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert deployed.get("psb", "--namespace=default")["items"] == []
    left: set[str] = set()

    def nothing_new() -> bool:
        left.clear()
        left.update(seen(deployed) - before)  # others' may go meanwhile
        return not left

    try:
        until(nothing_new, "nothing of it to be left", 40)
    except AssertionError as error:
        raise AssertionError(f"left behind: {sorted(left)}") from error
