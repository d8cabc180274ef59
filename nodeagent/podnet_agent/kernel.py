"""The door to the kernel: carries out operations, for whose turn it is to write."""

import errno as errnos
import os
import socket
import struct
import threading
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from podnet.errors import Conflict, PodNetError, Retryable
from podnet.objects import (
    HOST,
    Element,
    Endpoint,
    ForwardAccept,
    Namespace,
    Netns,
    Ruleset,
    Shortcut,
    Sysctl,
    Veth,
)
from podnet.plan import Operation, Remove
from podnet_agent import namespaces
from podnet_agent.forward import Forward
from podnet_agent.message import Message, batch, delete_trash, messages
from podnet_agent.namespaces import (
    NoSuchInterface,
    Opened,
    interface_index,
    open_own,
    route_socket,
)
from podnet_agent.proc import Proc
from podnet_agent.shortcuts import Shortcuts

GONE = {errnos.ENODEV, errnos.ENOENT, errnos.ESRCH, errnos.EADDRNOTAVAIL}
"""What the kernel says of something that is not there any more: success for a Remove."""
BATCH = 128
"""Messages a send, about. Of the answers to more than 256 a socket's buffer of Linux' default size
(net.core.rmem_default, 212992) loses some."""
_ANSWER = struct.Struct("=IHHIIi")
"""struct nlmsghdr, and the errno that an NLMSG_ERROR begins with (linux/netlink.h)."""


class ApplyError(PodNetError):
    """An operation failed; `done` are those of its plan that made something.

    An operation's first message makes the object, the others finish it: `done` goes by the first.
    """

    def __init__(
        self, failed: Operation, errno: int, done: Sequence[Operation], words: str = ""
    ) -> None:
        kind, netns, name = failed.what.key
        where = f" in {netns}" if netns else ""
        super().__init__(f"{kind} {name}{where}: {words or os.strerror(errno)}")
        self.failed, self.errno, self.done = failed, errno, tuple(done)


class Committer(Protocol):
    """What carries out a run of operations that don't travel by rtnetlink: nft, iptables, bpf."""

    def commit(self, operations: Sequence[Operation]) -> None:
        """All of them or, with a PodNetError, none.

        The error has `errno` where the kernel gave one.
        """


class Kernel:
    """Used by one thread at a time, whose turn it is to write; only `sweep` by any."""

    def __init__(self, table: Committer, forward: Forward) -> None:
        self._host, self.home = route_socket(), open_own("net")
        self._table, self.forward, self._proc = table, forward, Proc()
        self._shortcuts = Shortcuts()
        self._indexes: dict[str, int] = {}  # of our bridges; a stale one is found by its error
        self._sequence = 1
        self.sends = 0
        self.waiting = False  # links wait for `sweep`
        self._sweeping, self._sweeper, self._sweeps = threading.Lock(), route_socket(), 0

    def apply(self, operations: Sequence[Operation]) -> None:
        """Carry out a plan in its order: one send for each run of operations on one channel.

        Raises ApplyError at the first that fails; a Remove of what is gone never does. Where
        nothing but removals failed, the rest of the plan was carried out all the same.
        """
        done: list[Operation] = []
        left: list[ApplyError] = []
        with Opened(self._host, self.home) as opened:
            for (channel, netns), members in groupby(operations, key=_channel):
                run = list(members)
                try:
                    match channel:
                        case "rtnetlink":
                            self._rtnetlink(opened, netns, run, done)
                        case "sysctl":
                            self._sysctls(opened, netns, run, done)
                        case "namespace":
                            self._namespaces(run, done)
                        case "nft":
                            _commit(self._table, run, done)
                        case "shortcut":
                            _commit(self._shortcuts, run, done)
                        case _:
                            _commit(self.forward, run, done)
                except ApplyError as error:
                    if channel not in ("nft", "accept", "shortcut") or not _only_removes(run):
                        raise
                    left.append(error)
                except OSError as error:  # a namespace that is gone, a full buffer
                    if not _only_removes(run):
                        raise ApplyError(run[0], error.errno or 0, done) from error
        if left:
            raise left[0]

    @property
    def trash(self) -> bool:
        """Whether links wait for `sweep`, or are just being deleted by it."""
        return self.waiting or self._sweeping.locked()

    def sweep(self) -> None:
        """What waits in the trash group is gone: one message, one grace period for all of it.

        The kernel takes some 20 ms, most of them without its lock, so others need not wait for it.
        """
        with self._sweeping:
            self.waiting = False
            self._sweeps += 1
            self._sweeper.send(batch([delete_trash()], self._sweeps))
            _acknowledgements(self._sweeper, self._sweeps, 1)

    def index(self, ifname: str) -> int:
        """The index of an interface of the node; NoSuchInterface."""
        return interface_index(self._host, ifname)

    def forget_indexes(self) -> None:
        """A link of ours may have been made anew: look its index up again."""
        self._indexes.clear()

    def _next(self, count: int) -> int:
        first, self._sequence = self._sequence, (self._sequence + count) & 0x7FFFFFFF
        return first

    def _rtnetlink(
        self, opened: Opened, netns: Netns, run: list[Operation], done: list[Operation]
    ) -> None:
        channel = opened.socket(netns)

        def index(where: Netns, ifname: str) -> int:
            if where != HOST:
                return interface_index(opened.socket(where), ifname)
            if ifname not in self._indexes:
                self._indexes[ifname] = interface_index(self._host, ifname)
            return self._indexes[ifname]

        outgoing: list[Message] = []
        senders: list[Operation] = []
        for operation in run:
            try:
                packed = messages(operation, index, opened.fd)
            except NoSuchInterface:  # made earlier in this very batch: send that first
                self._send(channel, outgoing, senders, done)
                outgoing, senders = [], []
                try:
                    packed = messages(operation, index, opened.fd)
                except NoSuchInterface:
                    if isinstance(operation, Remove):
                        continue
                    raise
            outgoing += packed
            senders += [operation] * len(packed)
            if len(outgoing) >= BATCH:
                self._send(channel, outgoing, senders, done)
                outgoing, senders = [], []
        self._send(channel, outgoing, senders, done)

    def _send(
        self,
        channel: socket.socket,
        outgoing: list[Message],
        senders: list[Operation],
        done: list[Operation],
    ) -> None:
        if not outgoing:
            return
        first = self._next(len(outgoing))
        channel.send(batch(outgoing, first))
        # Only now, as `sweep` may have begun meanwhile: what it came too early for waits on.
        if any(isinstance(each, Remove) and isinstance(each.what, Veth) for each in senders):
            self.waiting = True
        self.sends += 1
        failures = _acknowledgements(channel, first, len(outgoing))
        previous = None
        for position, operation in enumerate(senders):
            if operation is not previous and position not in failures:
                done.append(operation)
            previous = operation
        for position in sorted(failures):
            operation, code = senders[position], failures[position]
            if not (isinstance(operation, Remove) and code in GONE):
                raise ApplyError(operation, code, done)

    def _sysctls(
        self, opened: Opened, netns: Netns, run: list[Operation], done: list[Operation]
    ) -> None:
        proc = None if netns == HOST else self._proc.root()
        opened.enter(netns)
        try:
            for operation in run:
                thing = operation.what
                assert isinstance(thing, Sysctl)
                value = thing.before if isinstance(operation, Remove) else thing.value
                if value is None:
                    continue
                try:
                    _write(f"sys/{thing.name}", value, proc)
                except OSError as error:
                    if not isinstance(operation, Remove):
                        raise ApplyError(operation, error.errno or 0, done) from error
                done.append(operation)
        finally:
            opened.leave()

    def _namespaces(self, run: list[Operation], done: list[Operation]) -> None:
        for operation in run:
            thing = operation.what
            assert isinstance(thing, Namespace)
            path = Path(thing.path)
            if isinstance(operation, Remove):
                namespaces.unpin(path)
            else:
                try:
                    namespaces.make(
                        {"net": namespaces.CLONE_NEWNET}, {"net": path}, inside=lambda: None
                    )
                except OSError as error:
                    raise ApplyError(operation, error.errno or 0, done) from error
            done.append(operation)


def _commit(committer: Committer, run: list[Operation], done: list[Operation]) -> None:
    try:
        committer.commit(run)
    except PodNetError as error:
        raise ApplyError(run[0], getattr(error, "errno", 0), done, str(error)) from error
    done += run


def _only_removes(run: Sequence[Operation]) -> bool:
    return all(isinstance(operation, Remove) for operation in run)


def _write(path: str, value: str, proc: int | None) -> None:
    """Below that procfs; None is the machine's."""
    place = path if proc is not None else f"/proc/{path}"
    file = os.open(place, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        os.write(file, value.encode())
    finally:
        os.close(file)


_CHANNELS: dict[type, str] = {
    Ruleset: "nft",
    Element: "nft",
    ForwardAccept: "accept",
    Shortcut: "shortcut",
    Endpoint: "shortcut",
    Sysctl: "sysctl",
    Namespace: "namespace",
}


def _channel(operation: Operation) -> tuple[str, Netns]:
    thing = operation.what
    return (_CHANNELS.get(type(thing), "rtnetlink"), thing.netns)


def _acknowledgements(channel: socket.socket, first: int, count: int) -> dict[int, int]:
    """Read `count` acknowledgements; errno by position for those that failed.

    The kernel has written all of them when `send` returns, so none is waited for. OSError where
    some were lost; those of its send that still lie here are passed over by the next one.
    """
    failures: dict[int, int] = {}
    pending = count
    while pending:
        try:
            data = channel.recv(1 << 16, socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            raise OSError(errnos.ENOBUFS, "the kernel's answers were lost") from error
        at = 0
        while at < len(data):
            size, kind, _, sequence, _, code = _ANSWER.unpack_from(data, at)
            position = (sequence - first) & 0x7FFFFFFF
            if kind == 2 and position < count:  # NLMSG_ERROR; code 0 is success
                pending -= 1
                if code:
                    failures[position] = -code
            at += (size + 3) & ~3
    return failures


REMEDIES = {
    errnos.EROFS: "mount /proc/sys so that it can be written",
    errnos.EMFILE: "raise the limit of open files (ulimit -n) the agent is started with",
    errnos.EPERM: "run podnet as root, on a machine that may change its networks",
}
"""What helps, by error, where the kernel's own sentence does not tell."""


def translate(error: ApplyError) -> PodNetError:
    """Named by who can act: somebody else's object is a Conflict, the rest may pass."""
    thing = error.failed.what
    if error.errno == errnos.EEXIST:
        if isinstance(thing, Veth):
            return Conflict(
                f"{thing.pod_end} exists already in {thing.pod_netns}, or {thing.host_end} on this"
                f" machine; {thing.cause} wants to make it: delete the one that is in the way"
            )
        return Conflict(str(error))
    remedy = REMEDIES.get(error.errno or 0)
    return Retryable(f"{error}: {remedy}" if remedy else str(error))
