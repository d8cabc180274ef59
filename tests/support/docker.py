"""Debian's dockerd in a private host, to compare with: networks, rules, cgroups all in there."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support import busybox
from support.host import Host, HostError, until
from support.traffic import Place

DOCKERD, CLIENT = Path("/usr/sbin/dockerd"), Path("/usr/bin/docker")
"""Of the package docker.io: 20.10, the last generation with the picture that podnet keeps.

A newer client may stand before it in PATH, so both are named in full.
"""
PERMITTED = ("--oom-score-adjust", "0")
"""Root without CAP_SYS_RESOURCE may not lower it. Privileged containers are refused then too."""
DATA, LOG = "/run/docker-data", "/run/dockerd.log"


class Docker:
    """A dockerd that runs in `host` until the host is closed, and its client."""

    def __init__(self, host: Host) -> None:
        self.host = host
        with host.path(LOG).open("ab") as log:
            self._daemon = host.popen(
                [DOCKERD, "--data-root", DATA, "--storage-driver", "overlay2", *PERMITTED],
                stdout=log,
                stderr=log,
            )
        until(self._answers, f"an answer of dockerd; its log is {LOG}", 30)

    def _answers(self) -> bool:
        if self._daemon.poll() is not None:
            log = self.host.path(LOG).read_text(errors="replace")
            raise HostError(f"dockerd ended, exit {self._daemon.returncode}:\n{log[-2000:]}")
        return self.docker("version", check=False).returncode == 0

    def docker(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker ARGS`; options as of Host.run (check, input, timeout, ...)."""
        environment = {**os.environ, "DOCKER_CONFIG": "/run/docker-config"}
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
            environment.pop(name, None)
        return self.host.run([CLIENT, *args], env=environment, **options)

    def inspect(self, name: str) -> dict[str, Any]:
        """What `docker inspect` says of one container, image or network."""
        found: list[dict[str, Any]] = json.loads(self.docker("inspect", name).stdout)
        return found[0]

    def place(self, container: str) -> Place:
        """Where the container's traffic begins and ends."""
        return Place(self.host, self.netns(container))

    def netns(self, container: str) -> str:
        """The running container's network namespace, a file of the host."""
        pid = self.inspect(container)["State"]["Pid"]
        if not pid:
            raise HostError(f"container {container} does not run, so it has no namespace")
        return f"/proc/{pid}/ns/net"

    def import_tree(self, name: str, folder: str | os.PathLike[str], *excluded: str) -> None:
        """Make an image of a folder of the host: busybox' root, or / itself.

        Of the folder's own file system only; `excluded` are tar's patterns, such as ./home.
        """
        words = " ".join(f"--exclude={pattern}" for pattern in excluded)
        tar = f'tar --one-file-system {words} -C "$1" -c . | {CLIENT} import - "$2"'
        script = ["bash", "-c", f"set -o pipefail; {tar}", "import", os.fspath(folder), name]
        self.host.run(script, timeout=600)

    def import_busybox(self, name: str = "busybox") -> None:
        """Make an image of a root with nothing but busybox."""
        folder = f"/run/{name}-root"
        busybox.fill(self.host.path(folder))
        self.import_tree(name, folder)


def why_not() -> str:
    """What keeps this machine from running Debian's dockerd, with the remedy; empty if nothing."""
    missing = [str(file) for file in (DOCKERD, CLIENT, busybox.BUSYBOX) if not file.exists()]
    if not missing:
        return ""
    return f"{', '.join(missing)} missing: apt-get install docker.io busybox-static"


def installable() -> bool:
    """Whether this machine's package archive has docker.io at all."""
    try:
        policy = subprocess.run(
            ["apt-cache", "policy", "docker.io"], capture_output=True, text=True
        )
    except FileNotFoundError:
        return False
    return "Candidate:" in policy.stdout and "Candidate: (none)" not in policy.stdout
