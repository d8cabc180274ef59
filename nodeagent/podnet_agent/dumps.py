"""Reading rtnetlink: a dump and its messages, and the few fields of addresses and routes.

pyroute2 reads the same and more, for 5 ms of the interpreter a pod (socket, links, addresses,
routes; a twentieth of that here), 24 MiB and 0.3 s at start: so the tests compare with it, and the
agent does without. Numbers: linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h.
"""

import os
import socket
import struct
import time
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import NamedTuple

from podnet.addresses import IPAddress, IPInterface, IPNetwork
from podnet.errors import Retryable
from podnet_agent.namespaces import SOL_NETLINK

NLMSG_ERROR, NLMSG_DONE = 2, 3
REQUEST, DUMP_INTR, DUMP = 0x1, 0x10, 0x300
NETLINK_GET_STRICT_CHK = 12
NEWADDR, DELADDR, GETADDR, NEWROUTE, DELROUTE, GETROUTE = 20, 21, 22, 24, 25, 26
AF_INET, AF_INET6 = 2, 10
RT_TABLE_MAIN, RT_SCOPE_LINK = 254, 253
RTN_UNICAST, RTN_UNREACHABLE = 1, 7
RTPROT_KERNEL = 2
HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
ATTRIBUTE = struct.Struct("=HH")
TYPE_MASK = 0x3FFF
"""An attribute's type without the flags 'nested' and 'network byte order'."""
CHUNK = 1 << 16
"""Bytes a receive, at most; the kernel hands out a dump in pieces of 32 KiB."""
TRIES = 8
FIRST_PAUSE_SECONDS = 0.002
"""Doubled each time: half a second in all, which outlasts a burst of attaches."""

_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, sizes, tos, table, protocol, scope, type, flags
_ROUTE_PROTOCOL_AT, _ROUTE_TABLE_AT = 5, 4
_U32 = struct.Struct("=I")
_ERRNO = struct.Struct("=i")


class Message(NamedTuple):
    """One message inside what was received: `data[at:end]` is its body."""

    kind: int
    flags: int
    port: int  # whose request brought it about; 0 where the kernel does not say
    data: bytes | memoryview
    at: int
    end: int


class AddressFacts(NamedTuple):
    """What podnet asks about an address."""

    ifindex: int  # of its interface
    interface: IPInterface
    scope: int  # RT_SCOPE_LINK: of this link alone (fe80::/10)
    flags: int  # IFA_F_*


class RouteFacts(NamedTuple):
    """What podnet asks about a route of the main table."""

    destination: IPNetwork
    gateway: IPAddress | None
    ifindex: int | None  # of its interface, of the first where it has several; None without one
    protocol: int
    kind: int  # RTN_UNICAST and others
    metric: int


def messages(data: bytes | memoryview, size: int) -> Iterator[Message]:
    """The messages in the first `size` bytes of a buffer."""
    at = 0
    while at < size:
        length, kind, flags, _, port = HEADER.unpack_from(data, at)
        yield Message(kind, flags, port, data, at + HEADER.size, at + length)
        at += (length + 3) & ~3


def attributes(data: bytes | memoryview, at: int, end: int) -> dict[int, bytes]:
    """The attributes between two offsets, by type; nested ones as they are."""
    found = {}
    while at < end:
        length, kind = ATTRIBUTE.unpack_from(data, at)
        found[kind & TYPE_MASK] = bytes(data[at + 4 : at + length])
        at += (length + 3) & ~3
    return found


def dump(route: socket.socket, kind: int, body: bytes) -> list[Message]:
    """All answers to a request for a dump; OSError with the kernel's errno.

    A dump that a change interrupted is asked for again, since it may lack what was there all the
    time; Retryable when every one of `TRIES` was interrupted.
    """
    pause = FIRST_PAUSE_SECONDS
    for _ in range(TRIES):
        found = _once(route, kind, body)
        if found is not None:
            return found
        time.sleep(pause)
        pause *= 2
    raise Retryable(f"the kernel's answer to request {kind} changed while it was read, {TRIES}x")


def addresses(route: socket.socket, ifindex: int = 0) -> list[AddressFacts]:
    """Every address of the socket's namespace, or of one of its interfaces."""
    route.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)  # else the kernel ignores the index
    return [
        found
        for message in dump(route, GETADDR, _IFADDRMSG.pack(0, 0, 0, 0, ifindex))
        if (found := address_of(message)) is not None
    ]


def routes(route: socket.socket) -> list[RouteFacts]:
    """Every route of the main table of the socket's namespace, both families."""
    # Else the kernel ignores the table and tells of one multicast route a link and family too.
    route.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
    request = _RTMSG.pack(0, 0, 0, 0, RT_TABLE_MAIN, 0, 0, 0, 0)
    return [
        found
        for message in dump(route, GETROUTE, request)
        if (found := route_of(message)) is not None
    ]


def address_of(message: Message) -> AddressFacts | None:
    """The address a message is about; None of another family than IP."""
    data, at = message.data, message.at
    family, size, flags, scope, index = _IFADDRMSG.unpack_from(data, at)
    if family not in (AF_INET, AF_INET6):
        return None
    found = attributes(data, at + _IFADDRMSG.size, message.end)
    packed = found.get(2) or found[1]  # IFA_LOCAL; IFA_ADDRESS, which is the peer's if both are
    return AddressFacts(index, _interface(packed, size), scope, flags)


def route_of(message: Message) -> RouteFacts | None:
    """The route a message is about; None of another table than main, or family than IP."""
    data, at = message.data, message.at
    family, size, _, _, table, protocol, _, kind, _ = _RTMSG.unpack_from(data, at)
    if table != RT_TABLE_MAIN or family not in (AF_INET, AF_INET6):
        return None
    found = attributes(data, at + _RTMSG.size, message.end)
    gateway = found.get(5)  # RTA_GATEWAY
    index = found.get(4) or found.get(9, b"")[4:8]  # RTA_OIF; the first of RTA_MULTIPATH
    metric = found.get(6)  # RTA_PRIORITY
    return RouteFacts(
        _network(family, found.get(1, b""), size),  # RTA_DST
        _address(gateway) if gateway else None,
        _U32.unpack(index)[0] if index else None,
        protocol,
        kind,
        _U32.unpack(metric)[0] if metric else 0,
    )


def _once(route: socket.socket, kind: int, body: bytes) -> list[Message] | None:
    """One dump, or None if it was interrupted. Read to its end either way, then decoded."""
    sequence = time.monotonic_ns() & 0x7FFFFFFF
    length = HEADER.size + len(body)
    route.send(HEADER.pack(length, kind, REQUEST | DUMP, sequence, 0) + body)
    found: list[Message] = []
    interrupted = False
    while True:
        data = route.recv(CHUNK)
        for message in messages(data, len(data)):
            if HEADER.unpack_from(data, message.at - HEADER.size)[3] != sequence:
                continue  # what is left of a dump that ended with an error
            interrupted |= bool(message.flags & DUMP_INTR)
            if message.kind in (NLMSG_DONE, NLMSG_ERROR):
                code = _ERRNO.unpack_from(data, message.at)[0]
                if code:
                    raise OSError(-code, os.strerror(-code), f"rtnetlink request {kind}")
                return None if interrupted else found
            found.append(message)


@lru_cache(maxsize=4096)
def _interface(packed: bytes, size: int) -> IPInterface:
    kind = IPv4Interface if len(packed) == 4 else IPv6Interface
    return kind((packed, size))


@lru_cache(maxsize=1024)
def _address(packed: bytes) -> IPAddress:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


@lru_cache(maxsize=1024)
def _network(family: int, packed: bytes, size: int) -> IPNetwork:
    if family == AF_INET:
        return IPv4Network((packed or bytes(4), size))
    return IPv6Network((packed or bytes(16), size))
