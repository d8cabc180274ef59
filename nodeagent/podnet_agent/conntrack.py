"""The kernel's table of flows (ctnetlink): UDP that a published port leads elsewhere now.

A flow is translated as its first datagram was, for as long as datagrams keep coming. Left alone, a
client would go on talking to a pod that is gone, or to nobody though the port is published by now.
"""

import logging
import os
import socket
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

from podnet.objects import Element, KernelObject
from podnet.plan import Add, Change, Operation, Remove

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
CT_GET, CT_DELETE = 0x0101, 0x0102
"""NFNL_SUBSYS_CTNETLINK and IPCTNL_MSG_CT_* (linux/netfilter/nfnetlink_conntrack.h)."""
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NESTED = 0x8000
TUPLE_ORIG, TUPLE_REPLY, STATUS, FILTER = 1, 2, 3, 25
TUPLE_IP, TUPLE_PROTO = 1, 2
PROTO_NUM, PROTO_DESTINATION_PORT, PROTO_SOURCE_PORT = 1, 3, 2
FILTER_ORIG_FLAGS, FILTER_REPLY_FLAGS = 1, 2
F_PROTO_NUM, F_DESTINATION_PORT = 1 << 3, 1 << 5
"""CTA_FILTER_F_CTA_PROTO_NUM and _DST_PORT (net/netfilter/nf_internals.h): the kernel leaves other
flows out of a dump since Linux 5.8; an older one dumps them all."""
NATED = 0x30
"""IPS_SRC_NAT | IPS_DST_NAT (linux/netfilter/nf_conntrack_common.h)."""
_HEADER = struct.Struct("=IHHIIBBH")
"""struct nlmsghdr and struct nfgenmsg."""
_ATTRIBUTE = struct.Struct("=HH")

Attributes = dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Flow:
    """One of UDP. Addresses are packed, ports numbers."""

    family: int
    original: bytes  # the tuple as the kernel gave it, which names the flow
    destination: tuple[bytes, int]  # whom the client asked
    answering: tuple[bytes, int]  # who answers
    translated: bool  # anybody's NAT touched it


@dataclass(frozen=True, slots=True)
class Published:
    """A UDP port of the node that leads, or led, to a pod."""

    host_ip: bytes | None
    host_port: int
    pod: tuple[bytes, int]
    family: int

    def led(self, flow: Flow) -> bool:
        """Whether the flow goes to the pod by this port."""
        return flow.destination[1] == self.host_port and flow.answering == self.pod

    def missed(self, flow: Flow) -> bool:
        """Whether the flow began before the port was published, and so goes past the pod.

        Only flows that nobody translates: what pods and others send out to that port of some
        other machine is masqueraded.
        """
        address, port = flow.destination
        return (
            port == self.host_port
            and not flow.translated
            and self.host_ip in (None, address)
            and flow.family == self.family
        )


@dataclass(frozen=True, slots=True)
class _Change:
    """What an operation does to one published port."""

    new: Published | None
    old: Published | None

    @property
    def concerns(self) -> tuple[Published, ...]:
        return tuple(port for port in (self.new, self.old) if port is not None)

    def makes_stale(self, flow: Flow) -> bool:
        missed = self.new is not None and self.new.missed(flow)
        return missed or (self.old is not None and self.old.led(flow))


class Conntrack:
    """A socket in the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
        )
        self._sequence = 0

    def forget_stale(self, operations: Sequence[Operation]) -> None:
        """After the operations: no flow of UDP goes by a port that is gone or goes past a new one.

        Best effort: what stands in the way is logged, since the ports themselves are as asked.
        """
        changes = [change for operation in operations if (change := _change(operation)).concerns]
        for family in sorted({change.concerns[0].family for change in changes}):
            own = [change for change in changes if change.concerns[0].family == family]
            try:
                for flow in self.flows(family, {change.concerns[0].host_port for change in own}):
                    if any(change.makes_stale(flow) for change in own):
                        self._delete(flow)
            except OSError as error:
                log.warning("flows of published UDP ports were not forgotten: %s", error)

    def flows(self, family: int, host_ports: Collection[int]) -> list[Flow]:
        """The flows of UDP to ports of these numbers, of any machine."""
        proto = _attribute(PROTO_NUM, bytes([socket.IPPROTO_UDP]))
        compare = F_PROTO_NUM
        if len(host_ports) == 1:
            (port,) = host_ports
            proto += _attribute(PROTO_DESTINATION_PORT, struct.pack("!H", port))
            compare |= F_DESTINATION_PORT
        flags = _attribute(FILTER_ORIG_FLAGS, struct.pack("=I", compare))
        flags += _attribute(FILTER_REPLY_FLAGS, struct.pack("=I", 0))
        body = _attribute(NESTED | TUPLE_ORIG, _attribute(NESTED | TUPLE_PROTO, proto))
        body += _attribute(NESTED | FILTER, flags)
        self._ask(CT_GET, REQUEST | DUMP, family, body)
        found = (_flow(family, payload) for payload in self._answers())
        return [flow for flow in found if flow and flow.destination[1] in host_ports]

    def _delete(self, flow: Flow) -> None:
        body = _attribute(NESTED | TUPLE_ORIG, flow.original)
        self._ask(CT_DELETE, REQUEST | ACK, flow.family, body)
        with suppress(FileNotFoundError):  # it ended by itself
            list(self._answers())

    def _ask(self, kind: int, flags: int, family: int, body: bytes) -> None:
        self._sequence += 1
        size = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(size, kind, flags, self._sequence, 0, family, 0, 0) + body)

    def _answers(self) -> Iterator[memoryview]:
        """The payload of each message until the answer's end; OSError with the kernel's errno."""
        while True:
            data = memoryview(self._socket.recv(1 << 18))
            at = 0
            while at < len(data):
                size, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, at)
                payload = data[at + 16 : at + size]
                at += (size + 3) & ~3
                if sequence != self._sequence:
                    continue
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return
                yield payload[4:]


def _change(operation: Operation) -> _Change:
    match operation:
        case Add(what=thing):
            return _Change(published(thing), None)
        case Change(what=thing, was=before):
            return _Change(published(thing), published(before))
        case Remove(what=thing):
            return _Change(None, published(thing))


def published(thing: KernelObject) -> Published | None:
    """The port that an element of the maps publishes, if it is one of UDP."""
    if not isinstance(thing, Element) or not thing.verdict:
        return None
    *host_ip, protocol, host_port = thing.match.split(" . ")
    if protocol != "udp":
        return None
    pod, container_port = thing.verdict.split(" . ")
    address = ip_address(pod)
    return Published(
        host_ip=ip_address(host_ip[0]).packed if host_ip else None,
        host_port=int(host_port),
        pod=(address.packed, int(container_port)),
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
    )


def _attribute(kind: int, data: bytes) -> bytes:
    size = len(data) + 4
    return _ATTRIBUTE.pack(size, kind) + data + bytes(-size & 3)


def _attributes(data: bytes | memoryview) -> Attributes:
    found: Attributes = {}
    at = 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        found[kind & 0x3FFF] = bytes(data[at + 4 : at + size])
        at += max(4, (size + 3) & ~3)
    return found


def _flow(family: int, payload: memoryview) -> Flow | None:
    attributes = _attributes(payload)
    original, reply = attributes[TUPLE_ORIG], attributes[TUPLE_REPLY]
    _, destination, protocol = _tuple(original)
    if protocol != socket.IPPROTO_UDP:
        return None
    answering, _, _ = _tuple(reply)
    (status,) = struct.unpack("!I", attributes[STATUS])
    return Flow(family, original, destination, answering, bool(status & NATED))


def _tuple(data: bytes) -> tuple[tuple[bytes, int], tuple[bytes, int], int]:
    """Source, destination, protocol. Addresses: CTA_IP_V4_SRC 1, V4_DST 2, V6_SRC 3, V6_DST 4."""
    parts = _attributes(data)
    addresses, proto = _attributes(parts[TUPLE_IP]), _attributes(parts[TUPLE_PROTO])
    source, destination = (addresses[kind] for kind in sorted(addresses))
    ports = (
        int.from_bytes(proto.get(kind, b""), "big")
        for kind in (PROTO_SOURCE_PORT, PROTO_DESTINATION_PORT)
    )
    return (source, next(ports)), (destination, next(ports)), proto[PROTO_NUM][0]
