"""A private machine: own networks, mounts, processes, names and control groups, nothing left over.

It shares the machine's files: /usr and the checkout as they are; what is written to /etc and
/var/lib stays inside, and /run and /var/lib/podnet start empty. See keeper.py for how it ends.
"""

import contextlib
import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

KEEPER = Path(__file__).with_name("keeper.py")
CLONE_NEWPID = 0x20000000

_libc = ctypes.CDLL(None, use_errno=True)
Argv = Sequence[str | os.PathLike[str]]


class HostError(Exception):
    """A private host could not be made or used; says what the machine lacks."""


@contextlib.contextmanager
def _children_in(pid: int) -> Iterator[None]:
    """What the calling thread starts lands in that process's pid namespace.

    So a command is a plain child of ours, with a pid we can wait for and kill: nsenter's own way
    puts itself between, and a kill would end nsenter alone. No thread can be started meanwhile.
    """
    home = os.open("/proc/thread-self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(inside)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(inside)
    finally:
        os.close(home)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWPID) < 0:
        code = ctypes.get_errno()
        raise HostError(f"cannot enter a pid namespace: {os.strerror(code)}; are you root?")


class Host:
    """A private machine, up from construction until `close`.

    Use as a context manager. `bridge_nf` says whether bridged frames pass the firewall
    (net.bridge.bridge-nf-call-*), which a new namespace starts with and a plain Debian has not.
    """

    def __init__(self, name: str = "host", *, bridge_nf: bool = False) -> None:
        self.name = name
        self._started: list[subprocess.Popen[Any]] = []
        self._lock = threading.Lock()
        self._keeper = subprocess.Popen(
            [sys.executable, "-IS", KEEPER, name, str(int(bridge_nf))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._keeper.stdout is not None
        answer = self._keeper.stdout.readline()
        if not answer.startswith("ready "):
            answer += self._keeper.stdout.read()
            self.close()
            raise HostError(f"host {name} was not made: {answer.strip()}")
        self.pid = int(answer.removeprefix("ready "))
        """Its first process, as the machine counts."""
        self.keeper_pid = self._keeper.pid
        """The process outside whose end is the host's, see keeper.py."""

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Host {self.name} {getattr(self, 'pid', 'unmade')}>"

    def close(self) -> None:
        """End every process in it, and with them all there is. Twice is once."""
        for process in self._started:
            # Ours to reap: a pid namespace only ends when none of its dead are left.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._started.clear()
        assert self._keeper.stdin is not None and self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    def wipe(self, *folders: str) -> None:
        """What a reboot takes: processes, rules, links but for eth0, and these folders.

        Other files stay, as on a disk.
        """
        script = (
            "kill -KILL $(ps -eo pid= | grep -vwE '1|'$$);"
            "for folder; do"
            '  for mount in $(grep -oE " $folder(/[^ ]*)? " /proc/mounts | tac); do'
            "    umount -l $mount; done; rm -rf $folder; done;"
            "nft flush ruleset;"
            "for link in $(ls /sys/class/net | grep -vwE 'lo|eth0'); do ip link del $link; done;"
            "for family in -4 -6; do ip $family route flush proto 142; done;"
            "sysctl -qw net.ipv4.ip_forward=0"
        )
        self.run(["sh", "-c", script, "sh", *folders], check=False)

    @property
    def netns_path(self) -> Path:
        """Its network namespace, as a file of the machine."""
        return self.namespace("net")

    def namespace(self, kind: str) -> Path:
        """One of its namespaces (net, mnt, pid, uts, ipc, cgroup), as a file of the machine."""
        return Path(f"/proc/{self.pid}/ns/{kind}")

    def path(self, inside: str | os.PathLike[str]) -> Path:
        """A file of the host, reachable from the machine."""
        return Path(f"/proc/{self.pid}/root", os.fspath(inside).lstrip("/"))

    # --- commands ---

    def popen(
        self,
        argv: Argv,
        *,
        netns: str | os.PathLike[str] | None = None,
        cwd: str | os.PathLike[str] = "/",
        env: Mapping[str, str] | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a command in the host, as a child of ours; `close` kills it.

        `netns`: a file of the host, another network namespace to run it in.
        """
        nsenter: list[str | os.PathLike[str]] = ["nsenter"]
        for kind, option in ("net", "net"), ("mnt", "mount"), ("uts", "uts"), ("ipc", "ipc"):
            nsenter.append(f"--{option}={self.namespace(kind)}")
        nsenter += [f"--cgroup={self.namespace('cgroup')}", f"--wdns={os.fspath(cwd)}", "--"]
        if netns is not None:
            nsenter += ["nsenter", f"--net={os.fspath(netns)}", "--"]
        with self._lock, _children_in(self.pid):
            process = subprocess.Popen([*nsenter, *argv], env=env, **options)
        self._started = [one for one in self._started if one.returncode is None]
        self._started.append(process)
        return process

    def run(
        self,
        argv: Argv,
        *,
        check: bool = True,
        input: str | None = None,
        timeout: float = 20.0,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host to its end; text in and out.

        With `check`, HostError quotes what a failing command said. After `timeout` seconds the
        command is killed and subprocess.TimeoutExpired raised.
        """
        stdin = subprocess.PIPE if input is not None else subprocess.DEVNULL
        pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = self.popen(argv, text=True, **{**pipes, **options})
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        if check and process.returncode:
            words = " ".join(os.fspath(word) for word in argv)
            raise HostError(f"{self.name}: {words}: exit {process.returncode}: {err or out}")
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def python(
        self, code: str, *argv: str, check: bool = True, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run Python code in the host, standard library only: some 20 ms."""
        return self.run([sys.executable, "-IS", "-c", code, *argv], check=check, **options)

    # --- what it looks like ---

    def ip_json(self, *args: str, netns: str | os.PathLike[str] | None = None) -> Any:
        """What `ip -j -d ARGS` says, parsed; an empty answer is an empty list."""
        return json.loads(self.run(["ip", "-j", "-d", *args], netns=netns).stdout or "[]")

    def nft_json(self, *args: str, netns: str | os.PathLike[str] | None = None) -> list[Any]:
        """The objects that `nft -j ARGS` lists (`list ruleset` when left out), without metainfo."""
        answer = self.run(["nft", "-j", *(args or ("list", "ruleset"))], netns=netns).stdout
        objects = json.loads(answer)["nftables"] if answer.strip() else []
        return [one for one in objects if "metainfo" not in one]

    def links(self) -> dict[str, dict[str, Any]]:
        """Its interfaces by name, as `ip -j -d link` shows them."""
        return {link["ifname"]: link for link in self.ip_json("link")}

    def sysctl(self, name: str, value: int | str | None = None) -> str:
        """A kernel setting as it is, after writing `value` if one is given.

        Path-like names (net/ipv4/conf/eth0.1/forwarding) and dotted ones both do.
        """
        file = "/proc/sys/" + (name if "/" in name else name.replace(".", "/"))
        if value is not None:
            self.run(["tee", file], input=f"{value}\n")
        return self.run(["cat", file]).stdout.strip()


def until(condition: Callable[[], Any], what: str, seconds: float = 5.0) -> Any:
    """Wait until `condition()` is truthy and return that; after `seconds` fail, saying `what`."""
    end = time.monotonic() + seconds
    while True:
        if result := condition():
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
