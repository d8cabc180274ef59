"""Keeps one private host alive, and takes it away whole. A script: `python -IS keeper.py NAME NF`.

    whoever asks ──stdin──► keeper ──fork──► init, pid 1 of namespaces of its own
                                             └─ all that runs in the host

The keeper stays outside. When its standard input ends (closed, or its owner was killed) it kills
init, with which every process, mount and link of the host goes, and removes the control groups.
When the keeper itself is killed, init dies too, and the next keeper removes the control groups.

It says `ready PID` on standard output, or what went wrong.
"""

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
import traceback
from pathlib import Path

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE, MNT_DETACH, PR_SET_PDEATHSIG = 0x4000, 0x40000, 2, 1
CGROUP_MOUNT = "/sys/fs/cgroup"
CGROUP_NAME = "podnet-host-{}-{}"
"""Keeper's process id and start time: whether its host lives can be told from the name."""
RESOLV_CONF = "nameserver 192.0.2.53\nsearch example.test\n"
"""The same on every machine (RFC 5737 and 6761: nobody answers there)."""

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _mount(kind: str, target: str, options: str = "", flags: int = 0, source: str = "") -> None:
    words = [(source or kind).encode(), target.encode(), kind.encode()]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode()), f"{kind} on {target}")


class Cgroups:
    """The machine's hierarchies, v1, v2 or both, and this host's folder in each.

    Inside a cgroup namespace these folders are the roots, so whatever the host's programs make
    lies below them.
    """

    def __init__(self) -> None:
        self.mounts: list[tuple[str, str, str]] = []  # file system, where, its option
        self.folders: list[Path] = []
        own = {}
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            own[controllers] = path.lstrip("/")
        name = CGROUP_NAME.format(os.getpid(), start_time(os.getpid()))
        for kind, where, options in mounted_hierarchies():
            if kind == "cgroup2":
                # Below the top: only there may both processes and controllers be had.
                self.folders.append(Path(where, name))
                self.mounts.append((kind, where, ""))
                continue
            for controllers, path in own.items():
                if controllers and set(controllers.split(",")) <= options:
                    self.folders.append(Path(where, path, name))
                    self.mounts.append((kind, where, controllers))

    def make(self) -> None:
        """Make the folders, and remove those whose keepers were killed."""
        for folder in self.folders:
            for other in folder.parent.glob(CGROUP_NAME.format("*", "*")):
                if not keeper_lives(other.name):
                    remove_cgroup(other)
            folder.mkdir()
            for file in ("cpuset.cpus", "cpuset.mems"):  # v1: empty, and nothing may run there
                if (folder / file).exists() and not (folder / file).read_text().strip():
                    (folder / file).write_text((folder.parent / file).read_text())

    def join(self) -> None:
        """Move the calling process there."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text("0")

    def mount(self) -> None:
        """Show the calling process's cgroup namespace where the machine shows its own."""
        if not any(where == CGROUP_MOUNT for _, where, _ in self.mounts):
            _mount("tmpfs", CGROUP_MOUNT, "mode=755")
        for kind, where, options in self.mounts:
            Path(where).mkdir(parents=True, exist_ok=True)
            _mount(kind, where, options)
            if kind == "cgroup2":
                # As in every v2 group, processes and controllers don't go together.
                inner = Path(where, "init")
                inner.mkdir()
                (inner / "cgroup.procs").write_text("0")
                for controller in Path(where, "cgroup.controllers").read_text().split():
                    Path(where, "cgroup.subtree_control").write_text(f"+{controller}")

    def remove(self) -> None:
        """Remove the folders with all below; their processes are dead."""
        for folder in self.folders:
            remove_cgroup(folder)


def mounted_hierarchies() -> list[tuple[str, str, set[str]]]:
    """(file system, mount point, its options) of every cgroup hierarchy mounted here."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        kind, _, options = after.split(" ", 2)
        where = before.split(" ")[4]
        if kind in ("cgroup", "cgroup2") and where.startswith(CGROUP_MOUNT):
            found.append((kind, where, set(options.split(","))))
    return found


def start_time(pid: int) -> int:
    """Clock ticks after boot at which the process started; 0 when there is none (proc(5))."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def keeper_lives(name: str) -> bool:
    """Whether the keeper that a cgroup folder is named after still runs."""
    match = re.fullmatch(CGROUP_NAME.format(r"(\d+)", r"(\d+)"), name)
    return bool(match) and start_time(int(match[1])) == int(match[2])


def remove_cgroup(folder: Path, seconds: float = 5.0) -> None:
    """Remove a control group and those in it; a killed process leaves its own a little later."""
    end = time.monotonic() + seconds
    while folder.exists():
        with contextlib.suppress(FileNotFoundError):
            for parent, below, _ in os.walk(folder, topdown=False):
                for child in below:
                    with contextlib.suppress(OSError):
                        os.rmdir(Path(parent, child))
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > end:
                return
            time.sleep(0.01)


def furnish(name: str, bridge_nf: str, cgroups: Cgroups) -> None:
    """Make the calling process's new namespaces look like a machine of its own."""
    _mount("none", "/", flags=MS_REC | MS_PRIVATE)
    _mount("proc", "/proc")
    _mount("sysfs", "/sys")
    cgroups.mount()
    # What is written to /etc and /var/lib stays in memory; /run is hidden by the next mount.
    _mount("tmpfs", "/run", "mode=755")
    for place in ("/etc", "/var/lib"):
        upper, work = f"/run{place}/upper", f"/run{place}/work"
        os.makedirs(upper)
        os.mkdir(work)
        _mount("overlay", place, f"lowerdir={place},upperdir={upper},workdir={work}")
    _check(_libc.umount2(b"/run", MNT_DETACH), "/run")
    # An overlay can't lie on an overlay: where podnet keeps layers has to be a tmpfs itself.
    for place in ("/run", "/var/lib/podnet"):
        os.makedirs(place, exist_ok=True)
        _mount("tmpfs", place, "mode=755")
    os.mkdir("/run/lock", mode=0o1777)
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text(RESOLV_CONF)
    _check(_libc.sethostname(name.encode(), len(name.encode())), "hostname")
    for family in ("iptables", "ip6tables", "arptables"):
        switch = Path(f"/proc/sys/net/bridge/bridge-nf-call-{family}")
        if switch.exists():  # a new namespace starts with 1
            switch.write_text(bridge_nf)
    os.spawnlp(os.P_WAIT, "ip", "ip", "link", "set", "lo", "up")


def reap() -> None:
    """What pid 1 is for. Never returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        signal.sigwait({signal.SIGCHLD})


def init(name: str, bridge_nf: str, cgroups: Cgroups, ready: int) -> None:
    """Run pid 1 of the host: tell the keeper `ready` or the mistake, then reap."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        cgroups.join()
        flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
        _check(_libc.unshare(flags), "unshare")
        furnish(name, bridge_nf, cgroups)
        os.write(ready, b"ready")
    except BaseException:
        os.write(ready, traceback.format_exc().encode())
        raise
    # Nothing of the owner stays open in here: a pipe would never end.
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.closerange(3, max(nothing, ready) + 1)
    reap()


def main() -> None:
    """Keep a host until standard input ends."""
    name, bridge_nf = sys.argv[1:]
    os.setsid()  # an interrupt from the terminal is for the owner, who then lets go
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    cgroups = Cgroups()
    pid = 0
    try:
        cgroups.make()
        told, ready = os.pipe()
        _check(_libc.unshare(CLONE_NEWPID), "unshare")
        pid = os.fork()
        if not pid:
            try:
                init(name, bridge_nf, cgroups, ready)
            finally:
                os._exit(1)
        os.close(ready)
        words = os.read(told, 1 << 16).decode()
        print(f"ready {pid}" if words == "ready" else words, flush=True)
        while words == "ready" and os.read(0, 1 << 16):
            pass
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        cgroups.remove()


if __name__ == "__main__":
    main()
