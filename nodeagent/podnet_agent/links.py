"""Links: the few fields of an RTM_NEWLINK that podnet compares, decoded by hand.

A node has a link for every pod, and each is told of in some 50 attributes. Decoding these
fields takes 20 µs a link, where a library that decodes all takes 0.8 ms and the interpreter's lock.
Numbers: linux/if_link.h, linux/rtnetlink.h, linux/net_namespace.h.
"""

import re
import socket
import struct
from typing import NamedTuple

from podnet_agent.dumps import (
    ATTRIBUTE,
    HEADER,
    REQUEST,
    TYPE_MASK,
    Message,
    attributes,
    dump,
    messages,
)

NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWNSID, GETNSID, NETNSA_NSID, NETNSA_FD = 88, 90, 1, 3
IFF_UP = 1
AF_BRIDGE = 7
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_MASTER, IFLA_PROTINFO = 1, 3, 4, 5, 10, 12
IFLA_LINKINFO, IFLA_IFALIAS, IFLA_GROUP, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 18, 20, 27, 29, 37
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
BR_MCAST_SNOOPING = 23
BRPORT_MODE, BRPORT_ISOLATED = 4, 33
"""BRPORT_MODE is what iproute2 calls hairpin."""
RTEXT_FILTER_SKIP_STATS = 8

HOST_END = re.compile(r"vethpn([0-9a-f]{1,9})")
"""How the host ends of pods' pairs are called, by the number of the attachment."""
_IFINFO = struct.Struct("=BxHIII")  # family, type, index, flags, change mask
_U32 = struct.Struct("=I")
_SKIP_STATS = struct.pack("=HHI", 8, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
_WANTED = frozenset(
    {
        IFLA_ADDRESS,
        IFLA_IFNAME,
        IFLA_MTU,
        IFLA_LINK,
        IFLA_MASTER,
        IFLA_PROTINFO,
        IFLA_LINKINFO,
        IFLA_IFALIAS,
        IFLA_GROUP,
        IFLA_LINK_NETNSID,
    }
)


class Link(NamedTuple):
    """What podnet asks about a link."""

    ifindex: int
    name: str
    up: bool  # as set, whatever the carrier
    mtu: int  # bytes
    mac: str  # "" where the link has none
    master: int | None  # index of the bridge it is a port of
    peer: int | None  # index, in the peer's namespace, of a veth's other end
    peer_nsid: int | None  # `namespace_id` of the peer's namespace; None: this one
    group: int
    alias: str
    kind: str  # veth, bridge, ...; "" of lo and of hardware
    hairpin: bool
    isolated: bool
    snooping: bool  # of a bridge


def number_of(link: Link) -> int:
    """The attachment's number in the name of a host end; 0 of any other link."""
    match = HOST_END.fullmatch(link.name)
    return int(match[1], 16) if match else 0


def links(route: socket.socket) -> list[Link]:
    """Every link of the socket's namespace."""
    request = _IFINFO.pack(0, 0, 0, 0, 0) + _SKIP_STATS
    return [decode(message) for message in dump(route, GETLINK, request)]


def link(route: socket.socket, index: int) -> Link | None:
    """The link with that index, if there is one."""
    body = _IFINFO.pack(0, 0, index, 0, 0) + _SKIP_STATS
    route.send(HEADER.pack(HEADER.size + len(body), GETLINK, REQUEST, 0, 0) + body)
    data = route.recv(1 << 16)
    answer = next(messages(data, len(data)))
    return decode(answer) if answer.kind == NEWLINK else None


def namespace_id(route: socket.socket, netns: int) -> int | None:
    """What the socket's namespace calls another one, given as a file descriptor.

    None while no link leads there. With it a pair's two ends are told for sure: an index alone
    means something in each namespace.
    """
    body = struct.pack("=BxxxHHI", 0, 8, NETNSA_FD, netns)
    route.send(HEADER.pack(HEADER.size + len(body), GETNSID, REQUEST, 0, 0) + body)
    data = route.recv(1 << 16)
    answer = next(messages(data, len(data)))
    if answer.kind != NEWNSID:
        return None
    found = attributes(data, answer.at + 4, answer.end)
    number: int = struct.unpack("=i", found[NETNSA_NSID])[0]
    return None if number < 0 else number


def decode(message: Message) -> Link:
    """The link a message is about."""
    data, at, end = message.data, message.at, message.end
    _, _, index, flags, _ = _IFINFO.unpack_from(data, at)
    found = _spans(data, at + _IFINFO.size, end, _WANTED)
    kind, hairpin, isolated, snooping = "", False, False, False
    if IFLA_LINKINFO in found:
        info = _spans(data, *found[IFLA_LINKINFO])
        if INFO_KIND in info:
            kind = _text(data, info[INFO_KIND])
        if kind == "bridge" and INFO_DATA in info:
            span = _spans(data, *info[INFO_DATA]).get(BR_MCAST_SNOOPING)
            snooping = span is not None and bool(data[span[0]])  # a kernel may be without it
        if INFO_SLAVE_DATA in info and _text(data, info[INFO_SLAVE_KIND]) == "bridge":
            hairpin, isolated = _port(data, info[INFO_SLAVE_DATA])
    elif IFLA_PROTINFO in found:  # of a bridge's own message about its port
        hairpin, isolated = _port(data, found[IFLA_PROTINFO])
    return Link(
        index,
        _text(data, found[IFLA_IFNAME]),
        bool(flags & IFF_UP),
        _number(data, found.get(IFLA_MTU)) or 0,
        data[slice(*found[IFLA_ADDRESS])].hex(":") if IFLA_ADDRESS in found else "",
        _number(data, found.get(IFLA_MASTER)),
        _number(data, found.get(IFLA_LINK)),
        _number(data, found.get(IFLA_LINK_NETNSID)),
        _number(data, found.get(IFLA_GROUP)) or 0,
        _text(data, found[IFLA_IFALIAS]) if IFLA_IFALIAS in found else "",
        kind,
        hairpin,
        isolated,
        snooping,
    )


def family(message: Message) -> int:
    """AF_BRIDGE where a bridge speaks of its port; a link of itself says 0."""
    return message.data[message.at]


Span = tuple[int, int]
"""Where an attribute's value begins and ends in the buffer."""


def _spans(
    data: bytes | memoryview, at: int, end: int, wanted: frozenset[int] | None = None
) -> dict[int, Span]:
    found = {}
    unpack = ATTRIBUTE.unpack_from
    while at < end:
        length, kind = unpack(data, at)
        kind &= TYPE_MASK
        if wanted is None or kind in wanted:
            found[kind] = (at + 4, at + length)
        at += (length + 3) & ~3
    return found


def _text(data: bytes | memoryview, span: Span) -> str:
    """A name, with the zero that ends it or, as an alias, without."""
    return bytes(data[slice(*span)]).rstrip(b"\0").decode(errors="replace")


def _number(data: bytes | memoryview, span: Span | None) -> int | None:
    if span is None:
        return None
    value: int = _U32.unpack_from(data, span[0])[0]
    return value


def _port(data: bytes | memoryview, span: Span) -> tuple[bool, bool]:
    port = _spans(data, *span)
    return tuple(  # type: ignore[return-value]
        kind in port and bool(data[port[kind][0]]) for kind in (BRPORT_MODE, BRPORT_ISOLATED)
    )
