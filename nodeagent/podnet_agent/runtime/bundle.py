"""The OCI config of one container, from what is wanted and what its image says. Pure.

Where Docker has a default (capabilities, masked paths, devices, PATH), it is Docker's: moby,
oci/defaults.go and oci/caps/defaults.go; OCI runtime-spec, config.md.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podnet.errors import PodNetError
from podnet.objects import HOST, Netns
from podnet.sandbox import ContainerSpec, Mount
from podnet_agent.runtime import seccomp

OCI_VERSION = "1.0.2"
"""The newest that runc 1.1 knows."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TERM = "xterm"
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
PERIOD_MICROSECONDS = 100_000
"""Of the processors' quota: the kernel's default (kernel, scheduler/sched-bwc)."""
LEAST_QUOTA_MICROSECONDS = 1_000
"""The kernel refuses less."""
SHARED_FILES = ("hosts", "hostname", "resolv.conf")

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image says of the process in it; all of it may be left out."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """Who runs the process, in numbers."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the machine a container's parts lie, and the namespaces it joins."""

    id: str
    root: Path
    files: Path
    """The folder of hosts, hostname and resolv.conf."""
    shm: Path
    netns: Netns
    ipc: Path
    uts: Path
    hostname: str
    tmpfs: tuple[str, ...] = ()
    """Folders of the image that are hidden by an empty one each."""
    hidden: tuple[str, ...] = ()
    """Paths of the image that are hidden, and can't be written to."""


def argv(spec: ContainerSpec, image: ImageConfig) -> tuple[str, ...]:
    """What is executed. As in a Pod: `command` replaces the image's entry point and drops its
    arguments, `args` replaces the arguments."""
    words = spec.command or image.entrypoint
    if spec.args:
        words += spec.args
    elif not spec.command:
        words += image.cmd
    if not words:
        raise PodNetError(
            f"container {spec.name}: image {spec.image} names no command: give one in"
            f" spec.containers[].command"
        )
    return words


def environment(
    spec: ContainerSpec, image: ImageConfig, hostname: str, *, tty: bool
) -> tuple[str, ...]:
    """KEY=VALUE each: Docker's own variables, then the image's, then the container's."""
    values = {"PATH": PATH, "HOSTNAME": hostname}
    if tty:
        values["TERM"] = TERM
    for variable in image.env:
        name, _, value = variable.partition("=")
        values[name] = value
    values.update(spec.env)
    return tuple(f"{name}={value}" for name, value in values.items())


def config(
    spec: ContainerSpec,
    image: ImageConfig,
    user: User,
    place: Place,
    machine: str,
    *,
    tty: bool,
    swap: bool,
    open_files: tuple[int, int] | None,
) -> str:
    """The text of config.json. `machine`: uname's name of the processor's kind; `swap`: the
    kernel can bound it; `open_files`: how many a process may have, soft and hard, None: as many as
    who starts it."""
    return json.dumps(
        {
            "ociVersion": OCI_VERSION,
            "process": {
                **_process(spec, image, user, place, tty=tty),
                "rlimits": [_rlimit("RLIMIT_NOFILE", *open_files)] if open_files else [],
            },
            "root": {"path": str(place.root), "readonly": spec.read_only_root},
            "mounts": _mounts(spec, place),
            "linux": {
                "cgroupsPath": cgroup(place.id),
                "namespaces": _namespaces(place),
                "resources": _resources(spec, swap=swap),
                "seccomp": seccomp.profile(machine),
                "maskedPaths": [*MASKED, *place.hidden],
                "readonlyPaths": list(READ_ONLY),
            },
        }
    )


def cgroup(container_id: str) -> str:
    """The container's control group, below the root of each hierarchy."""
    return f"/podnet/{container_id}"


def _process(
    spec: ContainerSpec, image: ImageConfig, user: User, place: Place, *, tty: bool
) -> Body:
    capabilities: Body = {"bounding": CAPABILITIES}
    if user.uid == 0:  # others have what execve(2) would leave them, as Docker does it
        capabilities |= {"effective": CAPABILITIES, "permitted": CAPABILITIES}
    return {
        "terminal": tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": argv(spec, image),
        "env": environment(spec, image, place.hostname, tty=tty),
        "cwd": spec.working_dir or image.working_dir or "/",
        "capabilities": capabilities,
    }


def _rlimit(kind: str, soft: int, hard: int) -> Body:
    return {"type": kind, "soft": soft, "hard": hard}


def _namespaces(place: Place) -> list[Body]:
    """Mounts and processes are its own; network, ipc and hostname its sandbox's."""
    shared = {"ipc": str(place.ipc), "uts": str(place.uts)}
    if place.netns != HOST:
        shared["network"] = place.netns
    own = ("mount", "pid", "cgroup")
    return [
        *({"type": name} for name in own),
        *({"type": name, "path": path} for name, path in shared.items()),
    ]


def _resources(spec: ContainerSpec, *, swap: bool) -> Body:
    resources: Body = {"devices": [{"allow": False, "access": "rwm"}]}  # runc adds the usual ones
    if spec.memory_bytes is not None:
        resources["memory"] = {"limit": spec.memory_bytes}
        if swap:  # as much again, as Docker does it; `swap` is the sum
            resources["memory"]["swap"] = 2 * spec.memory_bytes
    if spec.millicpus is not None:
        quota = spec.millicpus * PERIOD_MICROSECONDS // 1000
        resources["cpu"] = {
            "quota": max(quota, LEAST_QUOTA_MICROSECONDS),
            "period": PERIOD_MICROSECONDS,
        }
    if spec.pids is not None:
        resources["pids"] = {"limit": spec.pids}
    return resources


def _mounts(spec: ContainerSpec, place: Place) -> list[Body]:
    """In the order they are made: what lies within another mount comes after it."""
    safe = ["nosuid", "noexec", "nodev"]
    sys = [*safe, "ro"]
    tmpfs = ["nosuid", "nodev", *(["ro"] if spec.read_only_root else [])]
    return [
        _mount("/proc", "proc", safe),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount(
            "/dev/pts",
            "devpts",
            ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        _mount("/sys", "sysfs", sys),
        _mount("/sys/fs/cgroup", "cgroup", [*sys, "relatime"]),
        _mount("/dev/mqueue", "mqueue", safe),
        _bind(Mount(str(place.shm), "/dev/shm")),
        *(
            _mount(path, "tmpfs", [*tmpfs, "mode=1777" if path == "/tmp" else "mode=755"])
            for path in place.tmpfs
        ),
        *(
            _bind(Mount(str(place.files / name), f"/etc/{name}", spec.read_only_root))
            for name in SHARED_FILES
        ),
        *(_bind(mount) for mount in sorted(spec.mounts, key=lambda each: each.target.count("/"))),
    ]


def _mount(target: str, kind: str, options: list[str]) -> Body:
    return {"destination": target, "type": kind, "source": kind, "options": options}


def _bind(mount: Mount) -> Body:
    options = ["rbind", "rprivate", *(["ro"] if mount.read_only else [])]
    return {
        "destination": mount.target,
        "type": "bind",
        "source": mount.source,
        "options": options,
    }
