"""What the agent's process uses, as the machine counts."""

import os
import re
from pathlib import Path

from support.host import Host
from support.podnet import Podnet


def agent_pid(podnet: Podnet) -> int:
    """The agent's process, as the machine counts."""
    inside = podnet.request("GET", "/version")[1]["pid"]
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        spaces = re.search(r"^NSpid:\t(.*)$", text, re.MULTILINE)
        root = status.parent / "ns/pid"
        if spaces and spaces[1].split()[1:] == [str(inside)] and _same(root, podnet.host):
            return int(status.parent.name)
    raise AssertionError("the agent's process is not found")


def _same(namespace: Path, host: Host) -> bool:
    try:
        return namespace.stat().st_ino == host.namespace("pid").stat().st_ino
    except OSError:
        return False


def resident(pid: int) -> int:
    """Of a process, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    assert match
    return int(match[1])


def descriptors(pid: int) -> int:
    """How many files it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
