"""What of the machine itself no test may change, as text that can be compared."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import keeper
from support.host import until

FORWARDING = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/*/forwarding",
    "net/ipv4/conf/*/route_localnet",
    "net/ipv4/conf/*/rp_filter",
    "net/ipv6/conf/*/forwarding",
    "net/ipv6/conf/*/accept_ra",
    "net/ipv6/conf/*/disable_ipv6",
    "net/bridge/*",
)

CGROUPS = "control groups"
SETTLE_SECONDS = 15
KIND_CGROUP = "kind-cluster"
"""Of a kind cluster (tests/kind/cluster/dockerd)."""


def machine_state() -> dict[str, object]:
    """The machine's network, rules, settings, namespaces, mounts and control groups of ours.

    Other runs of these tests may come and go meanwhile: what belongs to a living one is left out.
    """
    return {
        "links": _ip("link"),
        "addresses": _ip("addr"),
        "routes": _ip("route", "show", "table", "all"),
        "routes, IPv6": _ip("-6", "route", "show", "table", "all"),
        "rules": _output("nft", "--stateless", "list", "ruleset"),
        "settings": _settings(),
        "namespaces": _names("/run/netns"),
        "agent": _names("/run/podnet"),
        "mounts": sorted(_mounts()),
        CGROUPS: sorted(_cgroups()),
        "children": _children(),
    }


def changes(before: dict[str, object], after: dict[str, object]) -> str:
    """What differs, a line each; empty when nothing does.

    Control groups may go: a host that is made removes what killed ones left. None may come.
    """
    differing = [what for what in before if before[what] != after[what]]
    if set(after[CGROUPS]) <= set(before[CGROUPS]):  # type: ignore[call-overload]
        differing = [what for what in differing if what != CGROUPS]
    return "\n".join(f"{what}: was {before[what]}, is {after[what]}" for what in differing)


@contextlib.contextmanager
def untouched() -> Iterator[None]:
    """Fail when the machine is not afterwards what it was before.

    What another run has just killed may be there for the moment that the next host needs.
    """
    before = machine_state()
    yield
    end = time.monotonic() + SETTLE_SECONDS
    while (difference := changes(before, machine_state())) and time.monotonic() < end:
        time.sleep(0.5)
    if difference:
        raise AssertionError(f"the tests changed this machine:\n{difference}")


def _output(*argv: str) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return f"no {argv[0]}"


def _ip(*args: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(_output("ip", "-j", *args) or "[]")
    text = json.dumps(found)
    # Addresses from DHCP and router advertisements count down.
    text = re.sub(r'"(valid_life_time|preferred_life_time|expires)": \d+', r'"\1": 0', text)
    return sorted(json.loads(text), key=json.dumps)


def _settings() -> dict[str, str]:
    files = (file for pattern in FORWARDING for file in Path("/proc/sys").glob(pattern))
    return {str(file): file.read_text().strip() for file in sorted(files)}


def _names(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        where = line.split()[4]
        if "podnet" in where or where.startswith("/run/netns"):
            yield where


def _cgroups() -> Iterator[str]:
    for *_, where, _ in keeper.mounted_hierarchies():
        for parent, below, _ in os.walk(where):
            for name in list(below):
                lives = name.startswith(keeper.CGROUP_PREFIX) and keeper.keeper_lives(name)
                if lives or name == KIND_CGROUP:
                    below.remove(name)
                elif "podnet" in name:
                    yield f"{parent}/{name}"


def _children() -> list[str]:
    """Processes that this one started and that still run: a host not closed has its keeper."""
    found = []
    for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sorted(found)


# --- what a host leaves ---


@dataclass(frozen=True)
class Remains:
    """By what the remains of a host are found once its owner is dead."""

    init: int
    keeper: int
    namespace: str

    @classmethod
    def of(cls, init: int, keeper_pid: int) -> "Remains":
        """Those of a living host (Host.pid, Host.keeper_pid)."""
        return cls(init, keeper_pid, os.readlink(f"/proc/{init}/ns/net"))


def left_of(host: Remains) -> list[str]:
    """What the machine still has of a host: processes and control groups."""
    left = [f"process {pid}" for pid in (host.init, host.keeper) if keeper.start_time(pid)]
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            if os.readlink(entry) == host.namespace:
                left.append(str(entry))
    for *_, where, _ in keeper.mounted_hierarchies():
        for parent, folders, _ in os.walk(where):
            prefix = f"{keeper.CGROUP_PREFIX}{host.keeper}-"
            left += [f"{parent}/{name}" for name in folders if name.startswith(prefix)]
    return left


def until_nothing_left(host: Remains) -> None:
    """Wait for the end of all of it.

    A host's first process waits for the machine's own to reap what the killed owner had started,
    which takes some seconds on some machines.
    """
    until(lambda: not left_of(host), f"nothing left of {host}", 30)
