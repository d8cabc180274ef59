"""Keeps one private host alive, and takes it away whole. A script: `python -IS keeper.py NAME NF`.

    whoever asks ──stdin──► keeper ──fork──► init, pid 1 of namespaces of its own
                                             └─ all that runs in the host

The keeper stays outside. When its standard input ends (closed, or its owner was killed) it kills
init, with which every process, mount and link of the host goes, and removes the control groups.
When the keeper itself is killed, init dies too, and the next keeper removes the control groups.

It says `ready PID` on standard output, or what went wrong. Few imports: they are half its time.
"""

import ctypes
import os
import signal
import struct
import sys
import time

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x20000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE, MNT_DETACH, PR_SET_PDEATHSIG = 0x4000, 0x40000, 2, 1
AF_INET, SOCK_DGRAM, SIOCSIFFLAGS, IFF_UP = 2, 2, 0x8914, 1
CGROUP_MOUNT = "/sys/fs/cgroup"
CGROUP_PREFIX = "podnet-host-"
"""Before the keeper's process id and start time, which tell whether its host still lives."""
RESOLV_CONF = "nameserver 192.0.2.53\nsearch example.test\n"
"""The same on every machine (RFC 5737 and 6761: nobody answers there)."""

_libc = ctypes.CDLL(None, use_errno=True)


def read(path: str) -> str:
    """Return a file's text."""
    with open(path) as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Write a file in one piece, as the kernel's files want it."""
    with open(path, "w") as file:
        file.write(text)


def _check(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def _mount(kind: str, target: str, options: str = "", flags: int = 0) -> None:
    result = _libc.mount(
        kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    _check(result, f"{kind} on {target}")


class Cgroups:
    """The machine's hierarchies, v1, v2 or both, and this host's folder in each.

    Inside a cgroup namespace these folders are the roots, so whatever the host's programs make
    lies below them.
    """

    def __init__(self) -> None:
        self.mounts: list[tuple[str, str, str]] = []  # file system, where, its option
        self.folders: list[str] = []
        own = dict(line.split(":", 2)[1:] for line in read("/proc/self/cgroup").splitlines())
        name = f"{CGROUP_PREFIX}{os.getpid()}-{start_time(os.getpid())}"
        for kind, root, where, options in mounted_hierarchies():
            if kind == "cgroup2":
                # Below the top: only there may both processes and controllers be had.
                self.folders.append(f"{where}/{name}")
                self.mounts.append((kind, where, ""))
                continue
            for controllers, path in own.items():
                if controllers and set(controllers.split(",")) <= options:
                    below = path.removeprefix(root).strip("/")
                    self.folders.append(os.path.join(where, below, name))
                    self.mounts.append((kind, where, controllers))

    def make(self) -> None:
        """Make the folders, and remove those whose keepers were killed."""
        remove_remains()
        for folder in self.folders:
            parent = os.path.dirname(folder)
            os.mkdir(folder)
            for file in ("cpuset.cpus", "cpuset.mems"):  # v1: empty, and nothing may run there
                if os.path.exists(f"{folder}/{file}") and not read(f"{folder}/{file}").strip():
                    write(f"{folder}/{file}", read(f"{parent}/{file}"))

    def join(self) -> None:
        """Move the calling process there."""
        for folder in self.folders:
            write(f"{folder}/cgroup.procs", "0")

    def mount(self) -> None:
        """Show the calling process's cgroup namespace where the machine shows its own."""
        if not any(where == CGROUP_MOUNT for _, where, _ in self.mounts):
            _mount("tmpfs", CGROUP_MOUNT, "mode=755")
        for kind, where, options in self.mounts:
            os.makedirs(where, exist_ok=True)
            _mount(kind, where, options)
            if kind == "cgroup2":
                # As in every v2 group, processes and controllers don't go together.
                os.mkdir(f"{where}/init")
                write(f"{where}/init/cgroup.procs", "0")
                for controller in read(f"{where}/cgroup.controllers").split():
                    write(f"{where}/cgroup.subtree_control", f"+{controller}")

    def remove(self) -> None:
        """Remove the folders with all below; their processes are dead."""
        for folder in self.folders:
            remove_cgroup(folder)


def mounted_hierarchies() -> list[tuple[str, str, str, set[str]]]:
    """(file system, root, mount point, its options) of every cgroup hierarchy mounted here."""
    found = []
    for line in read("/proc/self/mountinfo").splitlines():
        before, after = line.split(" - ", 1)
        kind, _, options = after.split(" ", 2)
        root, where = before.split(" ")[3:5]
        if kind in ("cgroup", "cgroup2") and where.startswith(CGROUP_MOUNT):
            found.append((kind, root, where, set(options.split(","))))
    return found


def start_time(pid: int) -> int:
    """Clock ticks after boot at which the process started; 0 when it is dead (proc(5))."""
    try:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def keeper_lives(folder_name: str) -> bool:
    """Whether the keeper that a cgroup folder is named after still runs."""
    pid, started = folder_name.removeprefix(CGROUP_PREFIX).split("-")
    return start_time(int(pid)) == int(started)


def remove_remains() -> None:
    """Remove the control groups of killed keepers, wherever in the hierarchies they were made."""
    for *_, where, _ in mounted_hierarchies():
        for parent, below, _ in os.walk(where):
            for name in [name for name in below if name.startswith(CGROUP_PREFIX)]:
                below.remove(name)
                if not keeper_lives(name):
                    remove_cgroup(f"{parent}/{name}", 0)  # in use still: the next one's job


def remove_cgroup(folder: str, seconds: float = 5.0) -> None:
    """Remove a control group and those in it; a killed process leaves its own a little later."""
    end = time.monotonic() + seconds
    while os.path.exists(folder):
        try:
            for parent, below, _ in os.walk(folder, topdown=False):
                for child in below:
                    os.rmdir(f"{parent}/{child}")
            os.rmdir(folder)
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
    os.mkdir("/run/lock")
    os.chmod("/run/lock", 0o1777)
    if os.path.lexists("/etc/resolv.conf"):  # may be a link into the machine's /run
        os.unlink("/etc/resolv.conf")
    write("/etc/resolv.conf", RESOLV_CONF)
    _check(_libc.sethostname(name.encode(), len(name.encode())), "hostname")
    # A new namespace starts as the machine is, which may route: Docker has other rules there.
    write("/proc/sys/net/ipv4/ip_forward", "0")
    for family in ("iptables", "ip6tables", "arptables"):
        switch = f"/proc/sys/net/bridge/bridge-nf-call-{family}"
        if os.path.exists(switch):  # a new namespace starts with 1
            write(switch, bridge_nf)
    inside = _libc.socket(AF_INET, SOCK_DGRAM, 0)
    _check(_libc.ioctl(inside, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP)), "lo")
    os.close(inside)


def init(name: str, bridge_nf: str, cgroups: Cgroups, ready: int) -> None:
    """Run pid 1 of the host: say `ready` or what went wrong, then reap. Never returns."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        cgroups.join()
        flags = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
        _check(_libc.unshare(flags), "unshare")
        furnish(name, bridge_nf, cgroups)
    except OSError as error:
        os.write(ready, str(error).encode())
        return
    # Nothing of the owner stays open in here, its pipes would never end.
    nothing = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.write(ready, b"ready")
    os.closerange(3, max(nothing, ready) + 1)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigwait({signal.SIGCHLD})


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
        answer = os.read(told, 1 << 16).decode()
        print(f"ready {pid}" if answer == "ready" else answer, flush=True)
        while answer == "ready" and os.read(0, 1 << 16):
            pass
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        cgroups.remove()


if __name__ == "__main__":
    main()
