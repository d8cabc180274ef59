"""PodSandboxes for tests: manifests of a few words, and what became of them."""

import json
from typing import Any

from support.podnet import Podnet

FOREVER = ["sleep", "1000"]


def sandbox(
    name: str, *containers: dict[str, Any], mode: str | dict[str, str] = "None", **spec: Any
) -> str:
    network = {"mode": mode} if isinstance(mode, str) else mode
    named = [
        {"name": f"c{number}", "image": "host", "command": FOREVER, **container}
        for number, container in enumerate(containers)
    ]
    return json.dumps(
        {
            "apiVersion": "podnet.dev/v1alpha1",
            "kind": "PodSandbox",
            "metadata": {"name": name},
            "spec": {"network": network, "containers": named, **spec},
        }
    )


def states(podnet: Podnet, name: str) -> list[dict[str, Any]]:
    status: dict[str, Any] = podnet.json("get", "podsandbox", name)["status"]
    found: list[dict[str, Any]] = status.get("containers", [])
    return found


def state(podnet: Podnet, name: str, number: int = 0) -> dict[str, Any]:
    """One container's; empty values before the agent has looked."""
    found = dict(enumerate(states(podnet, name)))
    return found.get(number, {"state": None, "restarts": None})


def run(podnet: Podnet, *words: str, **options: Any) -> tuple[int, str, str]:
    """`podnet run --rm --net none WORDS`: its exit code, output and error output."""
    done = podnet.run("run", "--rm", "--net=none", *words, check=False, **options)
    return done.returncode, done.stdout, done.stderr


def inside(podnet: Podnet, name: str, script: str, container: str = "c0") -> str:
    return podnet.run("exec", name, "-c", container, "--", "sh", "-c", script).stdout.strip()


def leftovers(podnet: Podnet) -> list[str]:
    """Whatever containers leave: processes, mounts, control groups, files."""
    script = (
        "ps -eo args | grep -v grep | grep -E"
        " '^(/usr/bin/conmon|runc|/usr/bin/containerd-shim|/var/lib/podnet)|sleep 1000';"
        # Mounts of the machine's own /run are in the list too, and hidden.
        "for at in $(grep -oE '/run/(podnet|netns)/[^ ]*' /proc/mounts |"
        " grep -vx /run/podnet/containers); do ls -d $at; done;"
        "find /sys/fs/cgroup -name podnet;"
        "ls -d /run/podnet/containers/* /run/podnet/runc/* /run/podnet/sandboxes/* 2> /dev/null"
    )
    return podnet.host.run(["sh", "-c", script], check=False).stdout.splitlines()


def ended(podnet: Podnet, name: str, number: int = 0) -> bool:
    return bool(state(podnet, name, number)["state"] == "exited")


def runs(podnet: Podnet, name: str) -> bool:
    return bool(state(podnet, name)["state"] == "running")
