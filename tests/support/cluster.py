"""The kind cluster of `make kind-up`: kubectl, and commands where its nodes can be reached."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support import busybox

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests/kind/cluster"
AGENT_IMAGE = "podnet/agent:dev"
"""The agent's, once podnet is installed."""
BUSYBOX = "podnet/busybox:dev"
"""An image that every node has: busybox, for Pods of tests."""
STOCK_PROGRAMS, OWN_PROGRAMS = ("docker", "kind", "kubectl"), ("dockerd", "go", "mmdebstrap")


class ClusterError(Exception):
    """A command for the cluster failed; has what it said."""


class Cluster:
    """The cluster, up from construction on; it stays when the tests are over.

    The first time ever that takes ten minutes, for Kubernetes is compiled.
    """

    def __init__(self) -> None:
        self._script("up")
        with tempfile.TemporaryDirectory() as folder:
            root = busybox.fill(Path(folder, "root"))
            tar = f'tar -C "$0" -c . | docker import --change "ENV PATH=/bin" - {BUSYBOX}'
            if self.in_cluster("docker", "image", "inspect", BUSYBOX, check=False).returncode:
                self.in_cluster("bash", "-c", tar, str(root))
        self._script("load", BUSYBOX)
        for node in self.nodes():
            tool = f"{node['metadata']['name']}:/usr/local/bin/busybox"
            self.in_cluster("docker", "cp", "/bin/busybox", tool)

    def deploy(self) -> None:
        """Install podnet as it lies in this checkout, and wait until it runs on every node."""
        self._script("deploy")

    def load(self, *images: str) -> None:
        """Give images of docker to every node."""
        self._script("load", *images)

    def in_cluster(
        self,
        *argv: str | os.PathLike[str],
        stdin: str = "",
        check: bool = True,
        timeout: float = 140,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the cluster, its nodes and its docker can be reached."""
        done = subprocess.run(
            [FOLDER / "in", *argv], input=stdin, capture_output=True, text=True, timeout=timeout
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise ClusterError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {said}")
        return done

    def kubectl(self, *args: str, **options: Any) -> str:
        """What `kubectl ARGS` prints; options as of in_cluster."""
        return self.in_cluster("kubectl", *args, **options).stdout

    def apply(self, *objects: dict[str, Any], **options: Any) -> str:
        """Apply objects."""
        document = {"apiVersion": "v1", "kind": "List", "items": objects}
        return self.kubectl("apply", "--filename", "-", stdin=json.dumps(document), **options)

    def refusal(self, *args: str, stdin: str = "") -> str:
        """What the server says to a command that has to fail."""
        done = self.in_cluster("kubectl", *args, stdin=stdin, check=False)
        if not done.returncode:
            raise ClusterError(f"kubectl {' '.join(args)} was not refused: {done.stdout.strip()}")
        return done.stderr.strip()

    def bearer(self, account: str, *binding: str) -> tuple[str, ...]:
        """Options of kubectl that make it speak as a service account of podnet-system.

        `binding` are `kubectl create token`'s options that bind the token to an object.
        """
        token = self.kubectl("create", "token", account, "--namespace=podnet-system", *binding)
        view = ("config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}")
        server = f"--server={self.kubectl(*view)}"
        return (f"--token={token}", "--kubeconfig=/dev/null", server, "--insecure-skip-tls-verify")

    def get(self, *args: str) -> dict[str, Any]:
        """The object, or the list, of `kubectl get ARGS`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "--output", "json", *args))
        return found

    def nodes(self) -> list[dict[str, Any]]:
        """Every Node object."""
        items: list[dict[str, Any]] = self.get("nodes")["items"]
        return items

    def workers(self) -> list[str]:
        """The names of the nodes that are no control plane."""
        label = "node-role.kubernetes.io/control-plane"
        names = [node["metadata"] for node in self.nodes()]
        return sorted(data["name"] for data in names if label not in data.get("labels", ()))

    def inside(self, sandbox: dict[str, Any], *argv: str, **options: Any) -> str:
        """What a command of busybox prints in a PodSandbox's network; options as of in_cluster."""
        return self.inside_netns(sandbox, "busybox", *argv, **options)

    def inside_netns(self, sandbox: dict[str, Any], *argv: str, **options: Any) -> str:
        """What a program of the node prints there."""
        netns = Path(sandbox["status"]["netns"]["path"]).name
        command = ("ip", "netns", "exec", netns, *argv)
        return self.node(sandbox["spec"]["nodeName"], *command, **options)

    def node(self, name: str, *argv: str, **options: Any) -> str:
        """What a command prints on a node; options as of in_cluster."""
        return self.in_cluster("docker", "exec", "-i", name, *argv, **options).stdout

    def _script(self, name: str, *args: str) -> None:
        """One of the cluster's scripts; its steps and errors go to where the tests report."""
        if subprocess.run([FOLDER / name, *args]).returncode:
            raise ClusterError(f"{FOLDER.relative_to(ROOT) / name} failed, as it says above")


def why_not() -> str:
    """What keeps this machine from having the cluster, with the remedy; empty if nothing."""
    if not missing(STOCK_PROGRAMS):
        return ""
    if os.geteuid():
        return "needs docker, kind and kubectl, or root for a dockerd of its own: run as root"
    if lacking := missing(OWN_PROGRAMS):
        return f"{', '.join(lacking)} missing: make kind-up installs or explains it"
    return ""


def missing(programs: Sequence[str]) -> list[str]:
    """Those of the programs that this machine has not."""
    return [program for program in programs if shutil.which(program) is None]
