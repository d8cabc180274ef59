"""Operations as rtnetlink messages. Pure: values and interface indexes in, bytes out.

Everything podnet writes to links, addresses and routes is packed here; pyroute2 reads it back in
the tests, so two implementations of the protocol are compared there. One batch of these costs a
hundredth of what a library's message objects do, and it is sent while a pod waits.
Numbers: linux/rtnetlink.h, linux/if_link.h, linux/veth.h, linux/if_bridge.h.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache

from podnet.objects import (
    RTPROT,
    TRASH_GROUP,
    Address,
    Bridge,
    Interface,
    KernelObject,
    Netns,
    Route,
    Veth,
)
from podnet.plan import Change, Operation, Remove

IFINFO = struct.Struct("=BxHiII")  # family, type, index, flags, change mask
_IFADDR = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=BBBBBBBBI")
_NLMSG = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_U32_ATTR = struct.Struct("=HHI")

NEWLINK, DELLINK, SETLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE = 16, 17, 19, 20, 21, 24, 25
REQUEST, ACK, REPLACE, EXCL, CREATE = 0x1, 0x4, 0x100, 0x200, 0x400
IFF_UP = 1
IFA_F_NODAD = 2
NESTED = 0x8000
AF_INET, AF_INET6, AF_BRIDGE = 2, 10, 7
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_IFALIAS, IFLA_AF_SPEC, IFLA_GROUP, IFLA_NET_NS_FD = 20, 26, 27, 28
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
INFO_KIND, INFO_DATA, INFO_SLAVE_KIND, INFO_SLAVE_DATA = 1, 2, 4, 5
BR_MCAST_SNOOPING = 23
BRPORT_HAIRPIN, BRPORT_ISOLATED = 4, 33
VETH_INFO_PEER = 1
ADDR_GEN_MODE, ADDR_GEN_NONE = 8, b"\x01"
RTPROT_KERNEL, IP6_RT_PRIO_ADDRCONF = 2, 256
RT_TABLE_MAIN, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK = 254, 0, 253
RTN_UNICAST, RTN_UNREACHABLE = 1, 7

Message = tuple[int, int, bytes]
"""Type, flags, body."""
IndexOf = Callable[[Netns, str], int]
"""Interface index by namespace and name; raises NoSuchInterface."""


def attr(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    size = len(data) + 4
    return _ATTR.pack(size, kind) + data + b"\0" * (-size & 3)


def u32(kind: int, value: int) -> bytes:
    """One attribute that holds a 32-bit number."""
    return _U32_ATTR.pack(8, kind, value)


_ONE_QUEUE = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
"""Of a veth end, which uses one anyway. Asked for nothing, the kernel allocates a queue for each
CPU and takes them away again, waiting for RCU at both ends (drivers/net/veth.c, veth_init_queues).
"""


@lru_cache(maxsize=1024)
def text(kind: int, value: str) -> bytes:
    """One attribute that holds a zero-terminated string."""
    return attr(kind, value.encode() + b"\0")


def messages(
    operation: Operation, index: IndexOf, netns_fd: Callable[[Netns], int]
) -> tuple[Message, ...]:
    """The operation's messages: the first makes the object, the others finish it."""
    thing = operation.what
    remove = isinstance(operation, Remove)
    match thing:
        case Veth() if remove:
            return (_to_trash(thing),)
        case Veth() if isinstance(operation, Change):
            return (_veth_change(thing, index), _veth_finish(thing))
        case Veth():
            return (_veth_create(thing, index, netns_fd), _veth_finish(thing))
        case Bridge():
            return _bridge(operation, thing)
        case Interface():
            return (_interface(operation, thing),)
        case Address() if isinstance(operation, Change):
            return (_connected(thing, index),)
        case Address():
            return (_address(thing, remove, index),)
        case Route():
            return (_route(thing, remove, index),)
        case _:
            raise TypeError(f"{type(thing).__name__} does not travel by rtnetlink")


def batch(items: Sequence[Message], sequence: int) -> bytes:
    """One buffer for one send: consecutive sequence numbers, each message asks for an ack."""
    return b"".join(
        _NLMSG.pack(16 + len(body), kind, REQUEST | ACK | flags, sequence + n, 0) + body
        for n, (kind, flags, body) in enumerate(items)
    )


def delete_trash() -> Message:
    """Deletes every link of the trash group: one wait for RCU however many there are."""
    return (DELLINK, 0, IFINFO.pack(0, 0, 0, 0, 0) + u32(IFLA_GROUP, TRASH_GROUP))


@lru_cache(maxsize=64)
def _link_data(kind: str, data: bytes = b"") -> bytes:
    nested = attr(INFO_DATA | NESTED, data) if data else b""
    return attr(IFLA_LINKINFO | NESTED, text(INFO_KIND, kind) + nested)


@lru_cache(maxsize=8)
def _port_flags(hairpin: bool, isolated: bool) -> bytes:
    flags = attr(BRPORT_HAIRPIN, bytes([hairpin])) + attr(BRPORT_ISOLATED, bytes([isolated]))
    no_address = attr(AF_INET6 | NESTED, attr(ADDR_GEN_MODE, ADDR_GEN_NONE))
    return attr(IFLA_AF_SPEC | NESTED, no_address) + attr(
        IFLA_LINKINFO | NESTED,
        text(INFO_SLAVE_KIND, "bridge") + attr(INFO_SLAVE_DATA | NESTED, flags),
    )


def _hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _veth_create(thing: Veth, index: IndexOf, netns_fd: Callable[[Netns], int]) -> Message:
    """Name, MAC, MTU, master and the peer's namespace at once: nothing is ever renamed or moved.

    The peer can't be up here (ENOTCONN: its own peer is not there yet); its Interface does that.
    """
    peer = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + text(IFLA_IFNAME, thing.pod_end)
        + attr(IFLA_ADDRESS, _hardware(thing.pod_mac))
        + u32(IFLA_MTU, thing.mtu)
        + u32(IFLA_NET_NS_FD, netns_fd(thing.pod_netns))
        + _ONE_QUEUE
    )
    body = (
        IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP)
        + attr(IFLA_IFNAME, thing.host_end.encode() + b"\0")
        + u32(IFLA_MTU, thing.mtu)
        + u32(IFLA_MASTER, index(thing.netns, thing.bridge))
        + _ONE_QUEUE
        + attr(
            IFLA_LINKINFO | NESTED,
            text(INFO_KIND, "veth") + attr(INFO_DATA | NESTED, attr(VETH_INFO_PEER | NESTED, peer)),
        )
    )
    return (NEWLINK, CREATE | EXCL, body)


def _veth_change(thing: Veth, index: IndexOf) -> Message:
    body = (
        IFINFO.pack(0, 0, 0, IFF_UP if thing.up else 0, IFF_UP)
        + attr(IFLA_IFNAME, thing.host_end.encode() + b"\0")
        + u32(IFLA_MTU, thing.mtu)
        + u32(IFLA_MASTER, index(thing.netns, thing.bridge))
    )
    return (SETLINK, 0, body)


def _veth_finish(thing: Veth) -> Message:
    """What rtnetlink takes only from a link that exists: alias, addrgenmode, port flags."""
    body = (
        IFINFO.pack(0, 0, 0, 0, 0)
        + attr(IFLA_IFNAME, thing.host_end.encode() + b"\0")
        + attr(IFLA_IFALIAS, thing.alias.encode())
        + _port_flags(thing.hairpin, thing.isolated)
    )
    return (NEWLINK, 0, body)


def _to_trash(thing: Veth) -> Message:
    """Down, out of the bridge, into the trash group: silent at once, deleted with others later.

    One DELLINK waits 16 to 20 ms for RCU; a group of hundreds waits once.
    """
    body = IFINFO.pack(0, 0, 0, 0, IFF_UP) + attr(IFLA_IFNAME, thing.host_end.encode() + b"\0")
    return (SETLINK, 0, body + u32(IFLA_MASTER, 0) + u32(IFLA_GROUP, TRASH_GROUP))


def _bridge(operation: Operation, thing: Bridge) -> tuple[Message, ...]:
    """The MTU is set by itself: one given at creation would follow the ports' (br_set_mtu)."""
    name = text(IFLA_IFNAME, thing.name)
    head = IFINFO.pack(0, 0, 0, 0, 0) + name
    if isinstance(operation, Remove):
        return ((DELLINK, 0, head),)
    mac = attr(IFLA_ADDRESS, _hardware(thing.mac))
    facts = u32(IFLA_MTU, thing.mtu) + attr(IFLA_IFALIAS, thing.alias.encode())
    kind = _link_data("bridge", attr(BR_MCAST_SNOOPING, bytes([thing.snooping])))
    if isinstance(operation, Change):
        return ((NEWLINK, 0, head + mac + kind), (SETLINK, 0, head + facts))
    return (
        (NEWLINK, CREATE | EXCL, head + mac + kind),
        (SETLINK, 0, head + facts),
    )


def _interface(operation: Operation, thing: Interface) -> Message:
    """Up; after a change also with the MAC and MTU it should have had."""
    up = 0 if isinstance(operation, Remove) else IFF_UP
    body = IFINFO.pack(0, 0, 0, up, IFF_UP) + text(IFLA_IFNAME, thing.ifname)
    if isinstance(operation, Change):
        if thing.mac:
            body += attr(IFLA_ADDRESS, _hardware(thing.mac))
        if thing.mtu:
            body += u32(IFLA_MTU, thing.mtu)
    return (SETLINK, 0, body)


def _address(thing: Address, remove: bool, index: IndexOf) -> Message:
    ip = thing.interface
    v4 = ip.version == 4
    family, flags = (AF_INET, 0) if v4 else (AF_INET6, IFA_F_NODAD)
    body = _IFADDR.pack(
        family, ip.network.prefixlen, flags, 0, index(thing.netns, thing.ifname)
    ) + attr(2, ip.packed)  # IFA_LOCAL
    if v4 and ip.network.prefixlen < 31:
        body += attr(4, ip.network.broadcast_address.packed)  # IFA_BROADCAST
    return (DELADDR, 0, body) if remove else (NEWADDR, CREATE | REPLACE, body)


def _connected(thing: Address, index: IndexOf) -> Message:
    """The route to the address's own network, as the kernel makes it with the address."""
    network = thing.interface.network
    family, scope = (AF_INET, RT_SCOPE_LINK) if network.version == 4 else (AF_INET6, 0)
    body = _RTMSG.pack(
        family, network.prefixlen, 0, 0, RT_TABLE_MAIN, RTPROT_KERNEL, scope, RTN_UNICAST, 0
    )
    body += attr(1, network.network_address.packed)  # RTA_DST
    if network.version == 4:
        body += attr(7, thing.interface.ip.packed)  # RTA_PREFSRC
    else:
        body += u32(6, IP6_RT_PRIO_ADDRCONF)  # RTA_PRIORITY
    return (NEWROUTE, CREATE | REPLACE, body + u32(4, index(thing.netns, thing.ifname)))


def _route(thing: Route, remove: bool, index: IndexOf) -> Message:
    family = AF_INET if thing.destination.version == 4 else AF_INET6
    size = thing.destination.prefixlen
    scope = RT_SCOPE_UNIVERSE if thing.gateway or thing.unreachable else RT_SCOPE_LINK
    kind = RTN_UNREACHABLE if thing.unreachable else RTN_UNICAST
    body = _RTMSG.pack(family, size, 0, 0, RT_TABLE_MAIN, RTPROT, scope, kind, 0)
    if size:
        body += attr(1, thing.destination.network_address.packed)  # RTA_DST
    if thing.gateway:
        body += attr(5, thing.gateway.packed)  # RTA_GATEWAY
    if not thing.unreachable:
        body += u32(4, index(thing.netns, thing.ifname))  # RTA_OIF
    return (DELROUTE, 0, body) if remove else (NEWROUTE, CREATE | REPLACE, body)


def by_rtnetlink(thing: KernelObject) -> bool:
    """Whether `messages` knows the kind."""
    return isinstance(thing, Veth | Bridge | Interface | Address | Route)
