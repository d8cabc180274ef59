"""Published ports held by sockets: nobody else on the machine can take them. The writer's.

A held TCP port is bound and does not listen, so what is not led to a pod is refused; a UDP socket
would swallow it, so it has a mark by which the table refuses instead. What is led to a pod never
meets the socket: its destination is changed before one is looked for.
"""

import errno
import os
import resource
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from podnet.addresses import IPAddress
from podnet.attachment import PublishedPort
from podnet.errors import Conflict, PodNetError, Retryable
from podnet.ruleset import HELD_MARK

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_TIME_WAIT = "06"
"""TCP_TIME_WAIT as /proc/net/tcp has it (net/tcp_states.h)."""
RESERVED_DESCRIPTORS = 64
"""So many open files are left for all that is not a port: without any, an agent can do nothing."""
_WILDCARDS: tuple[IPAddress, ...] = (IPv4Address(0), IPv6Address(0))


class Ports:
    """The sockets, by attachment number, in the network namespace of the thread that holds."""

    def __init__(self) -> None:
        self._held: dict[int, ExitStack] = {}

    def hold(self, number: int, ports: Sequence[PublishedPort]) -> None:
        """All ports are the attachment's until `release`, or none is and an error says why.

        Conflict names who has a port; Retryable where that passes by itself.
        """
        if not ports or number in self._held:
            return
        with ExitStack() as sockets:
            for port in ports:
                for address in (port.host_ip,) if port.host_ip else _WILDCARDS:
                    held = _bound(port, address)
                    if held is not None:
                        sockets.enter_context(held)
            self._held[number] = sockets.pop_all()

    def release(self, number: int) -> None:
        """Its ports are free; none held is success."""
        sockets = self._held.pop(number, None)
        if sockets is not None:
            sockets.close()


def _bound(port: PublishedPort, address: IPAddress) -> socket.socket | None:
    """A socket on the port; None where the machine has no IPv6 and none was asked for."""
    try:
        held = socket.socket(_FAMILIES[address.version], _KINDS[port.protocol])
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT and port.host_ip is None:
            return None
        raise PodNetError(f"{_said(port)} cannot be held: {error.strerror}") from error
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if held.fileno() >= limit - RESERVED_DESCRIPTORS:  # the kernel gives the lowest that is free
        held.close()
        raise Retryable(
            f"{_said(port)} cannot be held: the agent may have no more than {limit} files open, and"
            f" each published port is one or two: start it with a higher limit (ulimit -n)"
        )
    try:
        if address.version == 6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if port.protocol == "udp":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, HELD_MARK)
        held.bind((str(address), port.host_port))
    except OSError as error:
        held.close()
        raise _refused(port, address, error) from error
    return held


def _said(port: PublishedPort) -> str:
    where = f" of {port.host_ip}" if port.host_ip else ""
    return f"port {port.host_port}/{port.protocol}{where}"


def _refused(port: PublishedPort, address: IPAddress, error: OSError) -> PodNetError:
    if error.errno == errno.EADDRNOTAVAIL:
        return Retryable(
            f"{_said(port)} cannot be published: no interface of this machine has the address"
            f" {address}: add it or choose another hostIP"
        )
    if error.errno != errno.EADDRINUSE:
        return PodNetError(f"{_said(port)} cannot be held: {error.strerror}")
    users = [user for user in _users(port.protocol) if user.overlaps(port.host_port, address)]
    if users and all(user.ended for user in users):
        return Retryable(
            f"{_said(port)} is still in use by connections of a program that ended: it is free"
            f" within a minute"
        )
    names = (
        ", ".join(sorted({_process(user.inode) for user in users if not user.ended}))
        or "another process"
    )
    return Conflict(
        f"{_said(port)} of this machine is taken by {names}: end that or choose another hostPort"
    )


@dataclass(frozen=True, slots=True)
class _User:
    """A socket of this network namespace, as a line of /proc/net/{tcp,udp} tells."""

    address: IPAddress
    port: int
    inode: str
    ended: bool

    def overlaps(self, port: int, address: IPAddress) -> bool:
        """Whether the two cannot both be bound. An IPv6 wildcard may have taken IPv4 as well."""
        if port != self.port:
            return False
        if self.address.version == address.version:
            return self.address == address or 0 in (int(self.address), int(address))
        return self.address == IPv6Address(0)


def _users(protocol: str) -> Iterator[_User]:
    for file in (protocol, f"{protocol}6"):
        try:
            lines = Path("/proc/thread-self/net", file).read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            words = line.split()
            address, port = words[1].split(":")
            ended = protocol == "tcp" and words[3] == _TIME_WAIT
            yield _User(_address(address), int(port, 16), words[9], ended)


def _address(text: str) -> IPAddress:
    """The kernel prints addresses as 32-bit words in its own byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    address = ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def _process(inode: str) -> str:
    """Who has the socket, by name; a look through /proc, so only once something has failed."""
    wanted = f"socket:[{inode}]"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == wanted for fd in (folder / "fd").iterdir()):
                name = (folder / "comm").read_text().strip()
                return f"{name} (process {folder.name})"
        except OSError:  # ended meanwhile
            continue
    return "another process"
