"""Where the agent keeps what it makes: a reboot leaves images, the cluster's words, programs."""

import contextlib
import ctypes
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from podnet.errors import PodNetError
from podnet.objects import Netns
from podnet_agent import namespaces

MACHINE = Path("/proc/1/root")
"""The files of the machine, also for an agent in a pod that sees the machine's processes."""
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a Pod's namespace, its token, which it renews, and the authority of the
API server. There only for an agent that is a Pod."""
TMPFS_MAGIC = 0x01021994
"""linux/magic.h"""


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of one agent."""

    run: Path = Path("/run/podnet")
    netns_folder: Path = Path("/run/netns")
    images: Path = Path("/var/lib/podnet/images")
    cluster: Path = Path("/var/lib/podnet/cluster.json")
    programs: Path = Path("/var/lib/podnet/bin")
    """On a cluster's node, seen from there too: what containerd starts for us."""
    results: Path = Path("/var/lib/cni/results")
    """Where runtimes keep what ADD was asked and has answered: libcni's default."""
    shipped: Path = Path("/etc/podnet/networks")
    """In a cluster: manifests of the networks that come with the installation (deploy/)."""
    containerd: Path | None = None
    """The socket of the node's containerd; without one, runc runs the containers."""

    @property
    def socket(self) -> Path:
        """The agent's socket."""
        return self.run / "agent.sock"

    @property
    def store(self) -> Path:
        """The records."""
        return self.run / "store.db"

    @property
    def deferred(self) -> Path:
        """Calls of the CNI shim from when no agent ran."""
        return self.run / "cni"

    def netns(self, sandbox_id: str) -> Netns:
        """Where a sandbox's network namespace is pinned, so that `ip netns` knows it."""
        return Netns(str(self.netns_folder / f"podnet-{sandbox_id}"))

    @property
    def containers(self) -> Path:
        """The containers' bundles and what they write."""
        return self.run / "containers"

    def sandbox(self, sandbox_id: str) -> Path:
        """The files that the sandbox's containers share."""
        return self.run / "sandboxes" / sandbox_id

    def remove_sandbox(self, sandbox_id: str) -> None:
        """The sandbox's folder goes, with the namespaces that are pinned in it."""
        folder = self.sandbox(sandbox_id)
        for name in ("ipc", "uts"):
            if (folder / name).exists():
                namespaces.unpin(folder / name)
        shutil.rmtree(folder, ignore_errors=True)

    def prepare(self) -> None:
        """The folders exist; `run` is on a tmpfs, since its records must not outlive a reboot."""
        try:
            self.run.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not on_tmpfs(self.run):
                namespaces.mount_tmpfs(self.run)
            for folder in (self.run / "sandboxes", self.containers):
                folder.mkdir(mode=0o700, exist_ok=True)
            if not os.path.ismount(self.containers):  # what they write must not fill /run
                namespaces.mount_tmpfs(self.containers)
            namespaces.shared_folder(self.netns_folder)
        except OSError as error:
            raise PodNetError(
                f"{self.run} can't be prepared: {error.strerror}: podnet runs as root, on a"
                f" machine where it may mount"
            ) from error

    def clear(self) -> None:
        """Everything under `run` goes, a tmpfs of ours, and all but images from the disk."""
        shutil.rmtree(self.programs, ignore_errors=True)
        self.cluster.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            namespaces.unmount_all(self.containers)
            _empty(self.run)
            while os.path.ismount(self.run):  # in a pod it is also one itself
                namespaces.unmount(str(self.run))
                _empty(self.run)  # the log of who started the agent was there before the tmpfs
        for folder in (self.run, self.cluster.parent):
            for place in (folder, MACHINE / folder.relative_to("/")):
                with contextlib.suppress(OSError):  # not empty, not there, or where a pod mounts it
                    place.rmdir()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def on_tmpfs(path: Path) -> bool:
    """Whether what is written there lies in memory."""
    buffer = ctypes.create_string_buffer(256)
    if ctypes.CDLL(None).statfs(str(path).encode(), buffer) < 0:
        return False
    return int.from_bytes(buffer.raw[:8], "little") == TMPFS_MAGIC
