"""Debian's containerd in a private host, as a cluster's node has it, with an image of busybox."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import busybox
from support.host import Host, HostError, until
from support.images import docker_archive, tree
from support.podnet import Podnet

CONTAINERD, CTR = Path("/usr/bin/containerd"), Path("/usr/bin/ctr")
"""Of the package containerd, 1.6."""
SOCKET, LOG, CONFIG = (
    "/run/containerd/containerd.sock",
    "/run/containerd.log",
    "/etc/containerd/config.toml",
)
AGENT = (str(Path(sys.executable).with_name("podnet-agent")), "serve", "--containerd", SOCKET)
"""An agent that runs containers by it."""
IMAGE = "docker.io/library/busybox:1"
SETTINGS = """\
version = 2
root = "/run/containerd-data"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
"""
"""Its CRI is there, as on a node. What overlays lie on has to be a tmpfs in a private host."""


class Containerd:
    """A containerd that runs in `host` until the host is closed, or until it is killed."""

    def __init__(self, host: Host, settings: str = SETTINGS) -> None:
        self.host = host
        host.path(CONFIG).parent.mkdir(exist_ok=True)
        host.path(CONFIG).write_text(settings)
        self.start()

    def start(self) -> None:
        """It answers, with what an earlier one kept."""
        with self.host.path(LOG).open("ab") as log:
            self.process = self.host.popen([CONTAINERD, "-c", CONFIG], stdout=log, stderr=log)
        until(self._answers, f"an answer of containerd; its log is {LOG}", 20)

    def stop(self) -> None:
        """It ends, and its shims go on."""
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            log = self.host.path(LOG).read_text(errors="replace")
            raise HostError(f"containerd ended, exit {self.process.returncode}:\n{log[-2000:]}")
        return self.ctr("version", check=False).returncode == 0

    def ctr(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `ctr -n k8s.io ARGS`; options as of Host.run."""
        return self.host.run([CTR, "-n", "k8s.io", *args], **options)

    def import_busybox(self, name: str = IMAGE, **config: Any) -> None:
        """An image of a root with nothing but busybox, unpacked, as `kind load` leaves it."""
        folder = self.host.path("/run/busybox-root")
        if not folder.exists():
            busybox.fill(folder)
            with (folder / "etc/passwd").open("a") as passwd:
                passwd.write("app:x:7:7::/:/bin/sh\n")
            with (folder / "etc/group").open("a") as group:
                group.write("app:x:7:\nalso:x:8:app\n")
        archive = self.host.path("/run/image.tar")
        docker_archive(archive, [tree(folder)], config or {"Cmd": ["sh"]}, tags=[name])
        self.ctr("images", "import", "/run/image.tar", timeout=60)
        archive.unlink()

    def left(self) -> list[str]:
        """The names of all records, tasks, leases of ours and snapshots in use."""
        records = self.ctr("containers", "ls", "-q").stdout.split()
        tasks = self.ctr("tasks", "ls", "-q").stdout.split()
        lines = self.ctr("snapshots", "ls").stdout.splitlines()[1:]
        leases = self.ctr("leases", "ls", "-q").stdout.split()
        leases = [each for each in leases if each.startswith("podnet-")]
        return records + tasks + leases + [line.split()[0] for line in lines if "Active" in line]

    def cri(self, method: str) -> bytes:
        """What the kubelet would be told: the answer of a list, empty where nothing is listed."""
        code = (
            "import grpc, sys;"
            f"channel = grpc.insecure_channel('unix:{SOCKET}');"
            f"call = channel.unary_unary('/runtime.v1.RuntimeService/' + sys.argv[1]"
            f" if sys.argv[1] != 'ListImages' else '/runtime.v1.ImageService/ListImages');"
            "print(call(b'', wait_for_ready=True, timeout=10).hex())"
        )
        return bytes.fromhex(self.host.run([sys.executable, "-c", code, method]).stdout)

    def labels(self, key: str) -> dict[str, str]:
        """A record's labels."""
        found: dict[str, str] = json.loads(self.ctr("containers", "info", key).stdout)["Labels"]
        return found


def with_agent(host: Host, runtime: str) -> Podnet:
    """An agent in the host that runs containers by `runc`, or by a `containerd` of the host's."""
    if runtime == "containerd":
        Containerd(host)
    podnet = Podnet(host, AGENT if runtime == "containerd" else ())
    podnet.agent()
    return podnet
