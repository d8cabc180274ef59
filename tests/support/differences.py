"""Where podnet does otherwise than Debian's Docker (20.10), on purpose: one table.

docs/docker.md has a row of the same name for each, with the reason.
"""

import os
from pathlib import Path
from typing import NamedTuple

UNIFIED = Path("/sys/fs/cgroup/cgroup.controllers").exists()
"""One hierarchy of control groups: there Docker too has a namespace of them for each container."""


class Difference(NamedTuple):
    """Where docker's lines are, podnet's are instead."""

    name: str
    """Its row in docs/docker.md."""
    where: str
    """What is compared: a section of what a container sees, a command's id."""
    docker: str
    podnet: str
    modes: tuple[str, ...] = ()
    """Only in these; empty: in each."""


PRIVATE = ("none", "bridge", "container")
REFUSED = "exit 125\npodnet run line 1 spec.network"
BRIDGE_ONLY = "belongs to mode Bridge, and mode is None: leave it out or write mode: Bridge\n"
CPUS = os.cpu_count()
FAILED = "exec failed: unable to start container process"
GROUPS = (
    ()
    if UNIFIED
    else (
        Difference("Control group namespace", "cgroup", "cgroup /docker/ID\n", "cgroup /\n"),
        Difference(
            "Control group namespace",
            "namespaces",
            "cgroup: the host's\n",
            "cgroup: its own\n",
        ),
        Difference("Device 5:1", "devices", "c 5:1 rwm\n", ""),
    )
)
DIFFERENCES = (
    *GROUPS,
    # --- what a container sees ---
    Difference(
        "Lines of `/etc/hosts`",
        "hosts",
        "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n",
        "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n",
        PRIVATE,
    ),
    *(
        Difference(
            "IPv6 on `lo`",
            "sysctls",
            f"{name}/disable_ipv6 1\n",
            f"{name}/disable_ipv6 0\n",
            PRIVATE,
        )
        for name in ("all", "default", "lo")
    ),
    Difference("Files of an image", "root", "/.dockerenv\n", ""),
    Difference("Files of an image", "root", "/etc/mtab\n", ""),
    Difference(
        "IPv6 on `lo`",
        "network",
        "lo inet 127.0.0.1/8 host\n",
        "lo inet 127.0.0.1/8 host\nlo inet6 ::1/128 host\n",
    ),
    Difference(
        "Queue length of `eth0`",
        "network",
        "mtu 1500 txqlen 0 ",
        "mtu 1500 txqlen 1000 ",
        ("bridge",),
    ),
    Difference(
        "Protocol of routes",
        "network",
        "default via 172.17.0.1 dev eth0 \n",
        "default via 172.17.0.1 dev eth0 proto 142 \n",
        ("bridge",),
    ),
    # --- commands ---
    Difference(
        "Names",
        "name in capitals",
        "exit 0\n",
        "exit 125\npodnet run line 1 metadata.name: is Given_Name: write DNS labels (lower-case"
        " letters, digits, -) joined by dots\n",
    ),
    Difference("Names", "hostname left out", "exit 0\nID\n", "exit 0\ngiven\n"),
    Difference("What `-d` prints", "detached", "exit 0\nID\n", "exit 0\ngiven\n"),
    Difference("`TERM`", "terminal without one", "\nxterm\n", "\nvt100\n"),
    Difference(
        "`-t` without a terminal",
        "input that is no terminal",
        "exit 1\nthe input device is not a TTY\n",
        "exit 125\nerror: the input device is not a TTY: leave out -t\n",
    ),
    Difference(
        "A volume's source that is missing",
        "volume of nothing",
        "exit 0\n",
        "exit 125\ncontainer main: mount source /run/missing does not exist: create it first\n",
    ),
    Difference(
        "More processors than there are",
        "more processors than there are",
        "exit 125\ndocker: Error response from daemon: Range of CPUs is from 0.01 to"
        f" {CPUS}.00, as there are only {CPUS} CPUs available.\nSee 'docker run --help'.\n",
        "exit 0\n",
    ),
    Difference(
        "Options of another mode",
        "published port in none mode",
        "exit 0\n",
        f"{REFUSED}.ports: {BRIDGE_ONLY}",
    ),
    Difference(
        "Options of another mode", "MAC in none mode", "exit 0\n", f"{REFUSED}.mac: {BRIDGE_ONLY}"
    ),
    Difference(
        "`--add-host` in host mode",
        "hosts in host mode",
        "exit 0\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n"
        "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n192.0.2.1\tdb\n",
        "exit 0\n127.0.0.1 localhost\n127.0.0.9 own\n192.0.2.1\tdb\n",
    ),
    *(
        Difference(
            "`exec` of what can't be run",
            f"exec {command}",
            f"exit 126\nOCI runtime exec failed: {words}: unknown\n",
            f"exit 255\n{words}\n",
        )
        for command, words in (
            ("no-such", f'{FAILED}: exec: "no-such": executable file not found in $PATH'),
            ("/etc", f'{FAILED}: exec: "/etc": permission denied'),
        )
    ),
    # --- who reaches published ports ---
    *(
        Difference(
            "IPv6 to a container without it",
            f"ports, {protocol}",
            f"{place} {protocol} {address}:8080: answered, sees 172.17.0.1\n",
            f"{place} {protocol} {address}:8080: {closed}\n",
        )
        for protocol, closed in (("tcp", "refused"), ("udp", "no answer"))
        for place, address in (("outside", "v6"), ("host", "v6"), ("host", "::1"))
    ),
    *(
        Difference(
            "IPv6 on `lo`",
            "ports, tcp",
            f"{place} tcp ::1:8080: unreachable\n",
            f"{place} tcp ::1:8080: refused\n",
        )
        for place in ("near", "itself")
    ),
    *(
        Difference(
            "Ports that are not published",
            f"ports, {protocol}",
            f"outside {protocol} web:80: answered, sees 192.0.2.2\n",
            f"outside {protocol} web:80: {closed}\n",
        )
        for protocol, closed in (("tcp", "silent"), ("udp", "no answer"))
    ),
    *(
        Difference(
            "UDP from one container to another's published port",
            "ports, udp",
            f"{place} udp host:8080: no answer\n",
            f"{place} udp host:8080: answered, sees 172.17.0.1\n",
        )
        for place in ("near", "itself")
    ),
)


def as_podnet(docker: str, where: str, mode: str = "") -> str:
    """Docker's text with what is different on purpose as podnet has it."""
    for one in DIFFERENCES:
        if one.where == where and (not one.modes or mode in one.modes):
            assert one.docker in docker, f"no difference any more: {one.name}: {docker}"
            docker = docker.replace(one.docker, one.podnet)
    return docker
