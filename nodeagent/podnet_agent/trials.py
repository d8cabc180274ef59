"""What this machine's kernel can do, found out by doing it.

Each trial runs in a process with network, mount, uts and ipc namespaces of its own. They end with
the process, and everything that was made goes with them.
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from podnet.errors import PodNetError
from podnet.objects import MARK, NOTHING, Bridge, KernelObject, Netns, Ruleset, Veth
from podnet.plan import plan
from podnet.ruleset import VERSION
from podnet_agent import namespaces
from podnet_agent.checks import Check
from podnet_agent.forward import Forward
from podnet_agent.kernel import Kernel
from podnet_agent.nft import Table
from podnet_agent.runtime import rootfs

CLONE_NEWNS = 0x20000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
SPACE = Path("/tmp")
"""A folder that is on every machine; in the process a tmpfs of its own lies on it."""
OWN = Netns("/proc/thread-self/ns/net")
BRIDGE = Bridge(name="podnet-trial", mac="02:42:0a:00:00:01", mtu=1500, alias=f"{MARK} trial")
VETH = Veth(
    host_end="vethpntrial",
    bridge=BRIDGE.name,
    mtu=1500,
    hairpin=True,
    isolated=True,
    pod_netns=OWN,
    pod_end="podnet-pod",
    pod_mac="02:42:0a:00:00:02",
    alias=f"{MARK} trial",
)


class Trial(NamedTuple):
    """What is tried; how it is called where it works; what helps where it does not."""

    name: str
    attempt: Callable[[], None]
    works: str
    lacking: str
    command: str


def _make(*objects: KernelObject) -> None:
    Kernel(Table(), Forward()).apply(plan(objects, NOTHING).operations)


def _pins() -> None:
    folder = SPACE / "netns"
    namespaces.shared_folder(folder)
    pins = {"net": folder / "net", "uts": folder / "uts", "ipc": folder / "ipc"}
    flags = {
        "net": namespaces.CLONE_NEWNET,
        "uts": namespaces.CLONE_NEWUTS,
        "ipc": namespaces.CLONE_NEWIPC,
    }
    namespaces.make(flags, pins, inside=lambda: None)


def _overlay() -> None:
    folder = SPACE / "container"
    folder.mkdir()
    rootfs.mount(folder, Path("/"))


NAMESPACES = Trial(
    "namespaces",
    _pins,
    "network namespaces can be made and pinned",
    "network namespaces can't be made and pinned",
    "",
)
OVERLAYS = Trial(
    "overlays",
    _overlay,
    "a writable layer can be laid over this machine's files",
    "no writable layer can be laid over this machine's files",
    "modprobe overlay",
)
WIRES = (
    Trial("bridges", lambda: _make(BRIDGE), "bridges work", "no bridge", "modprobe bridge"),
    Trial("pairs", lambda: _make(BRIDGE, VETH), "veth pairs work", "no veth", "modprobe veth"),
    Trial(
        "rules",
        lambda: _make(Ruleset(version=VERSION)),
        "the nftables table loads",
        "the nftables table does not load",
        "modprobe -a nf_tables nft_chain_nat nft_masq nft_fib_inet nft_ct",
    ),
)
"""These need libnftables, as everything does that writes to the kernel."""


def tried(trial: Trial) -> Check:
    """What came of it."""
    words = _words_of(trial.attempt)
    if not words:
        return Check(trial.name, "ok", trial.works)
    return Check(trial.name, "missing", f"{trial.lacking}: {words}", trial.command)


def _words_of(attempt: Callable[[], None]) -> str:
    """What an attempt failed with, in a process of its own; empty where it did not."""
    sys.stdout.flush()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        words = "it ended before it was done"
        try:
            _alone()
            attempt()
            words = ""
        except (OSError, PodNetError) as error:
            words = str(error)
        finally:
            os.write(tell, json.dumps(words).encode())
            os._exit(0)
    os.close(tell)
    with open(told, "rb") as file:
        answer = file.read()
    os.waitpid(pid, 0)
    text: str = json.loads(answer or b'"it was killed"')
    return text


def _alone() -> None:
    """The calling process is in namespaces of its own, with a tmpfs of its own on SPACE."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = CLONE_NEWNS | namespaces.CLONE_NEWNET
    nothing = ctypes.c_ulong(MS_REC | MS_PRIVATE)
    if libc.unshare(flags) < 0 or libc.mount(b"none", b"/", None, nothing, None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "namespaces of its own")
    namespaces.mount_tmpfs(SPACE)
