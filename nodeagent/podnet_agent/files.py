"""What the containers of a sandbox share: hosts, hostname and resolv.conf, ipc, hostname, memory.

They lie in the sandbox's folder: three files, two pinned namespaces and a tmpfs for /dev/shm. There
is no process that holds them.
"""

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from podnet.addresses import IPAddress
from podnet.errors import PodNetError
from podnet.sandbox import (
    Sandbox,
    as_of_namespace,
    hosts_text,
    resolv_text,
    with_aliases,
)
from podnet_agent import namespaces
from podnet_agent.paths import ACCOUNT
from podnet_agent.runtime import rootfs
from podnet_agent.runtime.bundle import SHARED_FILES

IPV6_INTERFACES = Path("/proc/net/if_inet6")
"""There only where the kernel has IPv6."""
NAMESPACES = {"ipc": namespaces.CLONE_NEWIPC, "uts": namespaces.CLONE_NEWUTS}


def is_prepared(folder: Path) -> bool:
    """Whether all that is shared is there; the last thing made tells."""
    return os.path.ismount(folder / "uts")


def prepare(folder: Path) -> None:
    """The folder has the memory and the namespaces, with the hostname of the file that is there.

    In the writer thread, which alone may unshare.
    """
    hostname = read_hostname(folder)
    try:
        if not os.path.ismount(folder / "shm"):
            rootfs.mount_shm(folder / "shm")
        pins = {name: folder / name for name in NAMESPACES}
        for pin in pins.values():  # an agent that was killed may have made one of them
            namespaces.unpin(pin)
        namespaces.make(NAMESPACES, pins, lambda: socket.sethostname(hostname))
    except OSError as error:
        raise PodNetError(
            f"the namespaces of {folder.name} can't be made: {error.strerror}: `podnet doctor` says"
            f" what this machine lacks"
        ) from error


def remove(folder: Path) -> None:
    """Nothing is left of what was shared; nothing there is success."""
    try:
        for name in NAMESPACES:
            namespaces.unpin(folder / name)
        rootfs.remove_tree(folder, mounted="shm")
    except OSError as error:  # EBUSY: it is mounted once more where only we see it
        raise PodNetError(
            f"{error.filename or folder} can't be removed: {error.strerror}: `grep {folder}"
            f" /proc/self/mountinfo` in the agent's Pod says what holds it"
        ) from error


def write_files(folder: Path, sandbox: Sandbox, addresses: Sequence[IPAddress]) -> None:
    """The folder has the three files, each written where it was missing.

    What a container has changed in one of them stays, as with Docker.
    """
    missing = [name for name in SHARED_FILES if not (folder / name).exists()]
    if not missing:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    families = tuple(address.version for address in addresses)
    texts = {
        "hosts": _hosts(sandbox, addresses),
        "hostname": f"{_hostname(sandbox)}\n",
        "resolv.conf": resolv_text(
            _resolv(sandbox.namespace), sandbox.dns, families, loopback=sandbox.mode == "Host"
        ),
    }
    for name in missing:
        (folder / name).write_text(texts[name])
        (folder / name).chmod(0o644)


def join_files(folder: Path, owner: Path) -> None:
    """The folder has the three files of another sandbox: the same ones, not copies."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in SHARED_FILES:
        if not (folder / name).exists():
            os.link(owner / name, folder / name)


def read_hostname(folder: Path) -> str:
    """The hostname of the sandbox whose folder that is."""
    return (folder / "hostname").read_text().strip()


def _hostname(sandbox: Sandbox) -> str:
    """In host mode the machine's own."""
    return sandbox.hostname or socket.gethostname()


def _hosts(sandbox: Sandbox, addresses: Sequence[IPAddress]) -> str:
    if sandbox.mode == "Host":
        return with_aliases(_read("/etc/hosts"), sandbox.host_aliases)
    ipv6 = IPV6_INTERFACES.exists()
    return hosts_text(sandbox.host_aliases, addresses, _hostname(sandbox), ipv6=ipv6)


def _resolv(namespace: str) -> str:
    """The machine's; where the agent is a Pod the cluster's, as for a Pod of that namespace."""
    own = _read(ACCOUNT / "namespace")
    text = _read("/etc/resolv.conf")
    return as_of_namespace(text, own, namespace) if own else text


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
