"""Foreign firewalls: what drops the pods' traffic, and our exceptions where its owner wants them.

A drop in anybody's chain is final, whatever our own table accepts. Where the filter table of
iptables drops what is forwarded (Docker sets that), each bridge gets two marked ACCEPTs by the
host's own iptables. An agent in a pod enters the node's mounts for that: another version may write
what the node's can't read, and all take turns by one lock file. The rest, native rules and
firewalld, only a person can open: `obstacles`.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from podnet.commands import commands
from podnet.desired import DroppingChain
from podnet.errors import PodNetError, Retryable
from podnet.objects import MARK, ForwardAccept, Key, Seen
from podnet.plan import Add, Operation, Remove
from podnet_agent.nft import Context, Listed, NftError

DOCKERS = "DOCKER-USER"
"""Where Docker wants other people's rules: it comes first in FORWARD and is never flushed."""
CHAINS = ("FORWARD", DOCKERS)
UFWS = "ufw-user-input"
PROGRAMS = ("usr/sbin", "sbin", "usr/bin", "bin", "usr/local/sbin")
FAMILIES = {"ip": "iptables", "ip6": "ip6tables"}
LEGACY_TABLES = {"ip": "ip_tables_names", "ip6": "ip6_tables_names"}
"""Files of /proc/net: the tables that are loaded through the older interface of iptables."""
MISSING = 1
"""What iptables -C exits with when there is no such rule, or no such chain."""
NOT_THERE = 127
"""What nsenter exits with when the machine has no such program."""
FIRST = Path("/proc/1")
"""The machine's first process, whose mounts are the machine's."""
LOCK_SECONDS = 1
"""How long a look may wait for the lock of iptables, which another process may hold: Pods that are
attached meanwhile wait too. It is tried again."""
RUN_SECONDS = 20
"""How long a command may take: there may be thousands of rules, or the lock to be had."""
LOCKED = 4
"""What iptables exits with when it did not get the lock (xtables.h, RESOURCE_PROBLEM)."""
_LOOK = ("-w", str(LOCK_SECONDS), "-S")
MARKED = ["-m", "comment", "--comment", MARK, "-j", "ACCEPT"]
"""How a rule of ours ends in what iptables -S prints."""


@dataclass(frozen=True, slots=True)
class _Chain:
    """A chain of a filter table, and the command that sees it."""

    command: str
    family: str
    name: str
    policy: str | None  # of a chain that is hooked
    legacy: bool = False


class Forward:
    """The forward chains in the network namespace of the thread that made this."""

    def __init__(self) -> None:
        self._context = Context()

    def commit(self, operations: Sequence[Operation]) -> None:
        """All of them or, with a PodNetError, no new rule; what is gone needs no removal."""
        made: list[Operation] = []
        for operation in operations:
            accept = operation.what
            assert isinstance(accept, ForwardAccept)
            if isinstance(operation, Remove):
                while _is_there(accept):
                    _run(_words(operation))
            elif not _is_there(accept):
                try:
                    _run(_words(operation))
                except PodNetError:
                    for other in made:
                        with suppress(PodNetError):
                            _run(_words(Remove(other.what)))
                    raise
                made.append(operation)

    def dropping(self) -> tuple[DroppingChain, ...]:
        """Where exceptions are needed: a family whose FORWARD drops what no rule accepts.

        Starts a process only where tables of the older interface are loaded.
        """
        chains = list(self._chains())
        dropping = {chain.command for chain in chains if chain.policy == "drop"}
        found = []
        for command in sorted(dropping):
            names = {chain.name for chain in chains if chain.command == command}
            found.append(DroppingChain(command, DOCKERS if DOCKERS in names else "FORWARD"))
        return tuple(found)

    def listing(self) -> Mapping[Key, Seen]:
        """Our exceptions, wherever they are: in chains that drop no more as well."""
        accepts = (
            accept
            for chain in self._chains()
            if self._may_hold_accepts(chain)
            for accept in _accepts(chain)
        )
        return {accept.key: Seen(accept, ours=True) for accept in accepts}

    def obstacles(self, bridges: Sequence[str]) -> tuple[str, ...]:
        """What else keeps traffic from these bridges, a sentence each with what helps.

        Of firewalld and ufw it is only asked whether they know the bridge at all.
        """
        chains = self._listed("chains")
        return tuple(sentence for bridge in bridges for sentence in self._help(chains, bridge))

    def _help(self, chains: Sequence[Listed], bridge: str) -> Iterator[str]:
        for chain in chains:
            where = f"{chain['family']} {chain['table']} {chain['name']}"
            drops = chain.get("hook") == "forward" and chain.get("policy") == "drop"
            if drops and not _is_of_iptables(chain) and not self._named(f"chain {where}", bridge):
                yield (
                    f"the nftables chain {where} drops what {bridge} forwards:"
                    f" nft insert rule {where} iifname {bridge} accept &&"
                    f" nft insert rule {where} oifname {bridge} accept"
                )
        firewalld = any(chain["table"] == "firewalld" for chain in chains)
        if firewalld and not self._named("table inet firewalld", bridge):
            yield (
                f"firewalld rejects what {bridge} forwards: firewall-cmd --permanent"
                f" --zone=trusted --add-interface={bridge} && firewall-cmd --reload"
            )
        ufw = any(chain["name"] == UFWS for chain in chains)
        if ufw and not self._named(f"chain ip filter {UFWS}", bridge):
            yield (
                f"ufw keeps pods on {bridge} from this machine's own services (not from each"
                f" other, not from outside): ufw allow in on {bridge}"
            )

    def _named(self, what: str, bridge: str) -> bool:
        """Whether a rule there names the bridge."""
        return any(bridge in str(rule["expr"]) for rule in self._listed(what, "rule"))

    def _chains(self) -> Iterator[_Chain]:
        """FORWARD and Docker's chain in the filter tables of both interfaces of iptables."""
        for chain in self._listed("chains"):
            if _is_of_iptables(chain):
                command = _command(FAMILIES[chain["family"]], "nft")
                yield _Chain(command, chain["family"], chain["name"], chain.get("policy"))
        for family, file in LEGACY_TABLES.items():
            with suppress(OSError):
                if "filter" in Path("/proc/thread-self/net", file).read_text().split():
                    yield from _legacy_chains(family)

    def _may_hold_accepts(self, chain: _Chain) -> bool:
        """Whether one of its rules could be ours; a comment only iptables itself can read."""
        if chain.legacy:
            return True
        rules = self._listed(f"chain {chain.family} filter {chain.name}", "rule")
        return any({"accept": None} in rule["expr"] for rule in rules)

    def _listed(self, what: str, kind: str = "chain") -> list[Listed]:
        try:
            return [thing[kind] for thing in self._context.listed(what) if kind in thing]
        except NftError:  # gone meanwhile
            return []


def _is_of_iptables(chain: Listed) -> bool:
    """Whether iptables-nft sees it as FORWARD or Docker's chain of the filter table."""
    return chain["family"] in FAMILIES and chain["table"] == "filter" and chain["name"] in CHAINS


def _command(name: str, kind: Literal["nft", "legacy"]) -> str:
    """The command of that interface: the plain name where it is that one, as Debian links it."""
    special = name.replace("tables", f"tables-{kind}")
    if _elsewhere():
        places = (FIRST / "root" / folder / special for folder in PROGRAMS)
        return special if any(map(os.path.lexists, places)) else name
    program = shutil.which(name)
    if program is None or ("nft" in os.path.realpath(program)) == (kind == "nft"):
        return name
    return special


def _elsewhere() -> bool:
    """Whether the machine's programs are in another mount namespace: the agent runs as a pod."""
    try:
        return os.stat(FIRST / "ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino
    except OSError:
        return False


def is_there(command: str) -> bool:
    """Whether the machine has that program."""
    if _elsewhere():
        return any(os.path.lexists(FIRST / "root" / folder / command) for folder in PROGRAMS)
    return shutil.which(command) is not None


def _legacy_chains(family: str) -> Iterator[_Chain]:
    command = _command(FAMILIES[family], "legacy")
    for line in _run([command, *_LOOK])[1].splitlines():
        match line.split():
            case ["-P", "FORWARD" as name, policy]:
                yield _Chain(command, family, name, policy.lower(), legacy=True)
            case ["-N", name] if name == DOCKERS:
                yield _Chain(command, family, name, None, legacy=True)


def _accepts(chain: _Chain) -> Iterator[ForwardAccept]:
    """Those with our mark among the rules of a chain."""
    for line in _run([chain.command, *_LOOK, chain.name])[1].splitlines():
        match line.split():
            case ["-A", _, "-i" | "-o" as direction, bridge, *rest] if rest == MARKED:
                yield ForwardAccept(
                    command=chain.command, chain=chain.name, direction=direction, bridge=bridge
                )


def _words(operation: Operation) -> list[str]:
    """Exactly what is printed for it."""
    (line,) = commands(operation)
    return shlex.split(line)


def _is_there(accept: ForwardAccept) -> bool:
    words = ["-C" if word == "-I" else word for word in _words(Add(accept))]
    return _run(words, accepted=(0, MISSING))[0] == 0


def _run(argv: Sequence[str], accepted: Sequence[int] = (0,)) -> tuple[int, str]:
    """Exit code and output of a command; PodNetError when it cannot do it."""
    enter = ["nsenter", f"--mount={FIRST}/ns/mnt", "--"] if _elsewhere() else []
    try:
        ended = subprocess.run(
            [*enter, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        if enter and ended.returncode == NOT_THERE:
            raise FileNotFoundError(argv[0])
    except FileNotFoundError as error:
        raise PodNetError(
            f"a firewall of this machine drops what is forwarded, and {argv[0]}, which could"
            f" make an exception, is not there: apt-get install iptables"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise Retryable(f"{shlex.join(argv)} did not end within {RUN_SECONDS} s") from error
    if ended.returncode == LOCKED:
        raise Retryable(f"{shlex.join(argv)}: {ended.stderr.strip()}")
    if ended.returncode not in accepted:
        raise PodNetError(f"{shlex.join(argv)}: {ended.stderr.strip()}")
    return ended.returncode, ended.stdout
