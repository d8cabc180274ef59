"""`podnet doctor`: is this machine fit, and what gets it there. Reads, and tries in namespaces.

Reading changes nothing; what can only be found out by doing it is in trials.py.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from podnet.addresses import bridge_name, free_pool
from podnet.errors import PodNetError
from podnet.objects import MARK, RTPROT, TRASH_GROUP
from podnet_agent import dumps, machine, trials
from podnet_agent.checks import Check
from podnet_agent.forward import Forward, is_there
from podnet_agent.install import Installation
from podnet_agent.links import links
from podnet_agent.namespaces import route_socket
from podnet_agent.nft import Context
from podnet_agent.observe import is_marked, read_sysctl
from podnet_agent.paths import Paths, on_tmpfs
from podnet_agent.runtime.containerd.config import cni_folders

MIB = 1 << 20
IMAGES_BYTES, LAYERS_BYTES = 1 << 30, 256 * MIB
"""Less free space than this is worth a warning: an image or two; some containers' writes."""
CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21}
"""What links, rules, namespaces and mounts ask for (linux/capability.h)."""
LOOPBACK = "loopback"
"""The reference plugin that brings `lo` up; containerd 2 can do without (use_internal_loopback)."""
CONTROLLERS = ("cpu", "memory", "pids")
"""What limits of containers are made of."""


def examine(paths: Paths) -> list[Check]:
    """Every check there is, in the order in which they are worth repairing."""
    root = _root()
    if root.verdict == "missing":
        return [root]  # nothing could be tried
    checks = [root]
    if paths.containerd:
        checks += [_containerd(paths.containerd), trials.tried(trials.NAMESPACES)]
    else:
        checks += [_program("runc", "runs containers"), _program("conmon", "watches containers")]
        checks += [trials.tried(trials.NAMESPACES), trials.tried(trials.OVERLAYS)]
    checks += [_cgroups(), _seccomp(), *_rules(), *_network(), *_space(paths), _cni()]
    running = _answers(paths.socket)
    checks.append(_agent(running))
    if not running:
        checks.append(_leftovers(paths))
    return checks


def _root() -> Check:
    if os.geteuid() != 0:
        sentence = "podnet makes namespaces and links: run it as root"
        return Check("root", "missing", sentence, "sudo podnet doctor")
    status = Path("/proc/self/status").read_text().splitlines()
    (effective,) = (int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    lacking = [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    if lacking:
        sentence = f"root without {' and '.join(lacking)}, as in a container that is not privileged"
        return Check("root", "missing", sentence, "docker run --privileged ...")
    return Check("root", "ok", "root")


def _program(name: str, what: str) -> Check:
    path = shutil.which(name)
    if path is None:
        sentence = f"{name} is not installed: it {what}"
        return Check(name, "missing", sentence, f"apt-get install {name}")
    return Check(name, "ok", path)


def _containerd(path: Path) -> Check:
    if _answers(path):
        return Check("containerd", "ok", str(path))
    sentence = f"nobody answers on {path}: the node's containerd runs containers"
    return Check("containerd", "missing", sentence, "systemctl start containerd")


def _rules() -> Iterator[Check]:
    """What is written to the kernel, and who else has rules there."""
    try:
        Context().close()
    except PodNetError as error:
        sentence, _, command = str(error).rpartition(": ")
        yield Check("libnftables", "missing", sentence, command)
        return
    yield Check("libnftables", "ok", "libnftables.so.1")
    for trial in trials.WIRES:
        yield trials.tried(trial)
    yield from _firewalls()


def _cgroups() -> Check:
    """Version 2 has one file that names its controllers, version 1 a folder for each."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        version, found = 2, set(unified.read_text().split())
    else:
        mounted = Path("/proc/self/mountinfo").read_text().splitlines()
        options = [line.split()[-1].split(",") for line in mounted if " - cgroup " in line]
        version, found = 1, {option for each in options for option in each}
    lacking = [name for name in CONTROLLERS if name not in found]
    if len(lacking) == len(CONTROLLERS):
        command = "mount -t cgroup2 none /sys/fs/cgroup"
        return Check("control groups", "missing", "no control groups are mounted", command)
    if lacking:
        sentence = f"no {' and no '.join(lacking)} controller: limits of that kind can't be set"
        return Check("control groups", "warning", sentence)
    return Check("control groups", "ok", f"version {version} with {', '.join(CONTROLLERS)}")


def _seccomp() -> Check:
    if os.path.exists("/proc/sys/kernel/seccomp"):
        return Check("seccomp", "ok", "system calls can be filtered")
    return Check("seccomp", "missing", "this kernel was built without CONFIG_SECCOMP")


def _network() -> Iterator[Check]:
    node, routes = machine.read_node(), machine.routes()
    if node.uplink:
        yield Check("uplink", "ok", f"{node.uplink}, MTU {node.underlay_mtu}")
    else:
        yield Check("uplink", "warning", "no default route: pods reach this machine and no other")
    yield _forwarding("IPv4 forwarding", "net/ipv4/ip_forward")
    if node.ipv6:
        yield _forwarding("IPv6 forwarding", "net/ipv6/conf/all/forwarding")
    else:
        sentence = "this kernel has IPv6 switched off (ipv6.disable=1): IPv4 networks alone"
        yield Check("IPv6", "warning", sentence)
    passes = "pass" if node.bridge_netfilter else "do not pass"
    yield Check("br_netfilter", "ok", f"bridged frames {passes} the firewall: both will do")
    if node.shortcuts:
        yield Check("shortcuts", "ok", "begun connections between a cluster's pods skip the rules")
    else:
        sentence = (
            "this kernel takes no program on a link (tcx, Linux 6.6): all packets meet the rules"
        )
        yield Check("shortcuts", "warning", sentence)
    pool = free_pool(routes)
    if pool:
        yield Check("subnet", "ok", f"the next network without subnets gets {pool}")
    else:
        sentence = "every default pool overlaps a route: a network has to have spec.subnets"
        yield Check("subnet", "warning", sentence)


def _forwarding(name: str, sysctl: str) -> Check:
    if read_sysctl(sysctl) == "1":
        return Check(name, "ok", "on")
    return Check(name, "ok", "off: podnet switches it on with the first network, and off again")


def _firewalls() -> Iterator[Check]:
    try:
        forward = Forward()
        dropping = forward.dropping()
        obstacles = forward.obstacles([bridge_name("default")])
    except PodNetError as error:
        yield Check("firewall", "warning", f"foreign firewalls can't be read: {error}")
        return
    for chain in dropping:
        if not is_there(chain.command):
            sentence = f"{chain.chain} drops what pods send, and {chain.command} is not installed"
            yield Check("firewall", "missing", sentence, "apt-get install iptables")
        else:
            sentence = f"FORWARD drops: podnet makes its exceptions in {chain.chain}"
            yield Check("firewall", "ok", f"{chain.command}: {sentence}")
    for obstacle in obstacles:
        sentence, _, command = obstacle.partition(": ")
        yield Check("firewall", "warning", sentence, command)
    if not dropping and not obstacles:
        yield Check("firewall", "ok", "nobody drops what pods send")


def _space(paths: Paths) -> Iterator[Check]:
    run = paths.run if paths.containerd else Path("/run")  # of a node's, a pod sees that folder
    if on_tmpfs(run):
        yield Check("/run", "ok", "in memory: records end with what they record, at a reboot")
    else:
        sentence = f"not in memory: podnet mounts a tmpfs of its own on {paths.run}"
        yield Check("/run", "warning", sentence)
    yield _free("writable layers", run, LAYERS_BYTES, "what containers write")
    yield _free("images", paths.images, IMAGES_BYTES, "unpacked images")


def _free(name: str, path: Path, least: int, what: str) -> Check:
    there = next(each for each in (path, *path.parents) if each.exists())
    free = shutil.disk_usage(there).free
    sentence = f"{free // MIB} MiB free in {there} for {what}"
    return Check(name, "ok" if free >= least else "warning", sentence)


def _cni() -> Check:
    """Whether containerd calls podnet for Pods, where it was told to."""
    try:
        folders = cni_folders()
    except PodNetError as error:
        return Check("CNI", "warning", str(error))
    ours = Installation(folders.programs, folders.configurations)
    if not ours.configuration.exists():
        sentence = "containerd does not call podnet for Pods: `podnet cni install` has it do so"
        return Check("CNI", "ok", sentence)
    if found := ours.foreign():
        sentence = f"containerd uses {found}, which comes before {ours.configuration.name}"
        return Check("CNI", "warning", sentence, f"rm {found}")
    if not os.access(ours.program, os.X_OK):
        sentence = f"{ours.configuration} names a program that is not in {ours.programs}"
        return Check("CNI", "warning", sentence, "podnet cni install")
    if not os.access(ours.programs / LOOPBACK, os.X_OK):
        sentence = f"{LOOPBACK} is not in {ours.programs}: most containerds start it for each Pod"
        return Check("CNI", "warning", sentence, "apt-get install containernetworking-plugins")
    return Check("CNI", "ok", f"containerd calls podnet for Pods ({ours.configuration})")


def _answers(path: Path) -> bool:
    """Whether somebody listens on that socket."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _agent(running: bool) -> Check:
    if running:
        return Check("agent", "ok", "runs")
    return Check("agent", "ok", "none runs: `podnet up` starts one")


def _leftovers(paths: Paths) -> Check:
    """What an agent that is gone has left. Containers and traffic may well go on."""
    with route_socket() as route:
        ours = [link for link in links(route) if is_marked(link) and link.group != TRASH_GROUP]
        routes = [each for each in dumps.routes(route) if each.protocol == RTPROT]
    found = [link.name for link in ours]
    found += [f"route {each.destination}" for each in routes]
    found += [str(path) for path in sorted(paths.netns_folder.glob(f"{MARK}-*"))]
    if paths.store.exists():
        found.append(str(paths.store))
    if not found:
        return Check("leftovers", "ok", "nothing of podnet's is on this machine")
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    sentence = f"no agent keeps {', '.join(found[:5])}{more}: `podnet up` takes it over"
    return Check("leftovers", "warning", sentence, "podnet down")
