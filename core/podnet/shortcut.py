"""Shortcut: a program where packets enter a link. TCP connections that the rules let begin go past
rules, connection tracking and the stack's routing from then on. Pure.

The first two packets of a connection, SYN and SYN with ACK, go the way of every packet: whoever's
rule drops them, drops the connection. What the client sends next tells whether anything was
translated: a plain connection's packet is the SYN-ACK's turned round, and goes on where that one
said the next byte is. Of a Service or a published port the client writes to another address than
the one that answers, so those never match and stay where they can be translated back.

A packet to a pod of this node goes straight into it: the maps of endpoints have its host end. Where
others go is asked of the routing table then and there (bpf_fib_lookup); what has no way or is too
large goes on to the stack, which tells the sender. So does everything that is not TCP or has IP
options, and any connection that was there before the program.

A connection has an entry for each direction in its family's map of flows. The key is the index of
the link it comes in by, so that nobody behind another one can send in its name, both addresses and
both ports; the value its state, the client's next byte and the link to the server. Both are kept
until others need the room: a new SYN-ACK of the same addresses and ports, which may be of a
translated connection, takes them away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from podnet.bytecode import R0, R1, R2, R3, R4, R6, R7, R8, STACK, Code

MARK = "podnet_"
"""How a program's name begins; the rest is its version."""


class Map(NamedTuple):
    """The shape of a map, as struct bpf_map_info begins with it."""

    kind: int
    key_bytes: int
    value_bytes: int
    entries: int
    flags: int = 0


_FLOWS = 32768
"""Half as many connections; of these maps (LRU) the entry longest unused makes way."""
_PODS = 16384
_HASH, _LRU_HASH, _NO_PREALLOC = 1, 9, 1
MAPS = (
    Map(_LRU_HASH, 16, 12, _FLOWS),
    Map(_LRU_HASH, 40, 12, _FLOWS),
    Map(_HASH, 4, 4, _PODS, _NO_PREALLOC),
    Map(_HASH, 16, 4, _PODS, _NO_PREALLOC),
)
"""Flows of IPv4 and IPv6; endpoints of both: a pod's address, and the index of its host end."""
ENDPOINTS = {4: 2, 6: 3}
"""Which of them, by IP version."""

ANSWERED, OPEN = 1, 2
"""States of an entry: the server has answered; both have spoken."""
_PASS, _AF_INET, _AF_INET6 = 0xFFFFFFFF, 2, 10
_SYN, _ACK = 0x02, 0x10
_LOOKUP, _UPDATE, _DELETE, _SET_TYPE, _FIB = 1, 2, 3, 32, 69
"""bpf_map_lookup_elem, _update_elem, _delete_elem, bpf_skb_change_type, bpf_fib_lookup."""
_REDIRECT, _REDIRECT_PEER = 152, 155
"""bpf_redirect_neigh, bpf_redirect_peer."""
_PACKET_HOST = 0
"""The frame bears the bridge's address: to the pod it would be somebody else's."""
_IFINDEX, _DATA, _DATA_END, _GSO_SIZE = 40, 76, 80, 176
"""Fields of struct __sk_buff."""
_NO_MATTER_WHETHER_KNOWN = 4
"""BPF_FIB_LOOKUP_SKIP_NEIGH: the neighbour is asked for when it is sent to."""
_HERE, _BACK, _VALUE, _WAY, _NEXT = -40, -80, -96, -160, -184
"""On the stack: the packet's key, the one of its answer, a value, struct bpf_fib_lookup (64 bytes)
and struct bpf_redir_neigh (20)."""
_WAY_MTU, _WAY_IFINDEX, _WAY_FROM, _WAY_TO = _WAY + 6, _WAY + 8, _WAY + 16, _WAY + 32


@dataclass(frozen=True)
class _Family:
    """Where things are in a frame: Ethernet, IP without options, TCP."""

    version: int
    number: int  # address family
    size: int  # bytes of an address
    addresses: int
    tcp: int
    flows: int  # descriptors of its maps
    endpoints: int

    def field(self, key: int, name: str) -> int:
        """Where a part of a key is on the stack."""
        parts = {"from": 4, "to": 4 + self.size, "ports": 4 + 2 * self.size}
        return key + parts[name]


def program(maps: Sequence[int], *, neighbours: bool) -> bytes:
    """The bytecode; `maps`: descriptors of MAPS, in that order.

    `neighbours`: connections from the link back to the same one count, as on a bridge of ours. Of
    the uplink's that would be others' connections.
    """
    code = Code()
    code.move(R6, R1)
    code.load(4, R7, R6, _DATA)
    code.load(4, R8, R6, _DATA_END)
    code.move(R2, R7)
    code.add(R2, 54)
    code.if_more(R2, R8, "pass")
    code.load(2, R2, R7, 12)
    code.if_is(R2, 0xDD86, "6")
    code.if_not(R2, 0x0008, "pass")
    code.load(1, R2, R7, 14)
    code.if_not(R2, 0x45, "pass")
    code.load(2, R2, R7, 20)
    code.mask(R2, 0xFF3F)  # a fragment
    code.if_not(R2, 0, "pass")
    code.load(1, R2, R7, 23)
    code.if_not(R2, 6, "pass")
    _tcp(code, _Family(4, _AF_INET, 4, 26, 34, maps[0], maps[ENDPOINTS[4]]), neighbours)
    code.label("6")
    code.move(R2, R7)
    code.add(R2, 74)
    code.if_more(R2, R8, "pass")
    code.load(1, R2, R7, 20)
    code.if_not(R2, 6, "pass")
    _tcp(code, _Family(6, _AF_INET6, 16, 22, 54, maps[1], maps[ENDPOINTS[6]]), neighbours)
    code.label("pass")
    code.set(R0, _PASS)
    code.exit()
    return code.packed()


def _tcp(code: Code, family: _Family, neighbours: bool) -> None:
    """A TCP packet: by the shortcut if its connection has one, else to the stack."""
    begins, goes = f"begins {family.version}", f"goes {family.version}"
    _keys(code, family)
    code.load(1, R2, R7, family.tcp + 13)
    code.mask(R2, _SYN | _ACK)
    code.if_is(R2, _SYN, "pass")
    code.if_is(R2, _SYN | _ACK, begins)
    _flow(code, family, _HERE, _LOOKUP)
    code.if_is(R0, 0, "pass")
    code.load(4, R2, R0, 0)
    code.if_is(R2, OPEN, goes)
    _opens(code, family)
    code.label(goes)
    _goes(code, family)
    code.label(begins)
    _begins(code, family, neighbours)


def _keys(code: Code, family: _Family) -> None:
    """The packet's key, and its answer's but for the link."""
    size = family.size
    code.copy(4, STACK, _HERE, R6, _IFINDEX)
    for at, here, back in (
        (family.addresses, "from", "to"),
        (family.addresses + size, "to", "from"),
    ):
        code.copy(size, STACK, family.field(_HERE, here), R7, at)
        code.copy(size, STACK, family.field(_BACK, back), R7, at)
    for offset in 0, 2:
        code.load(2, R2, R7, family.tcp + offset)
        code.store(2, STACK, family.field(_HERE, "ports") + offset, R2)
        code.store(2, STACK, family.field(_BACK, "ports") + 2 - offset, R2)


def _flow(code: Code, family: _Family, key: int, helper: int) -> None:
    """Look up, update (with what is in _VALUE) or delete the entry with that key."""
    code.map(R1, family.flows)
    code.stack(R2, key)
    if helper == _UPDATE:
        code.stack(R3, _VALUE)
        code.set(R4, 0)
    code.call(helper)


def _begins(code: Code, family: _Family, neighbours: bool) -> None:
    """A SYN-ACK: who may send it is noted as the server, whom it goes to as the client."""
    fresh = f"fresh {family.version}"
    _way(code, family, "to", "from")  # a source has to be routed back where it came from
    code.load(4, R2, STACK, _HERE)
    code.load(4, R3, STACK, _WAY_IFINDEX)
    code.if_other(R2, R3, "pass")
    _way(code, family, "from", "to")
    code.load(4, R2, STACK, _WAY_IFINDEX)
    if not neighbours:
        code.load(4, R3, STACK, _HERE)
        code.if_same(R2, R3, "pass")
    code.store(4, STACK, _BACK, R2)
    _flow(code, family, _BACK, _LOOKUP)
    code.load(4, R8, R7, family.tcp + 8)  # what it acknowledges
    code.if_is(R0, 0, fresh)
    code.load(4, R2, R0, 4)
    code.if_same(R2, R8, "pass")  # sent again
    code.label(fresh)
    code.put(4, STACK, _VALUE, ANSWERED)
    code.store(4, STACK, _VALUE + 4, R8)
    code.copy(4, STACK, _VALUE + 8, STACK, _HERE)
    _flow(code, family, _BACK, _UPDATE)
    _flow(code, family, _HERE, _DELETE)
    code.goto("pass")


def _opens(code: Code, family: _Family) -> None:
    """The client's next packet, if it is one: both directions are open."""
    code.load(4, R2, R0, 4)
    code.load(4, R3, R7, family.tcp + 4)
    code.if_other(R2, R3, "pass")
    code.put(4, R0, 0, OPEN)
    code.copy(4, STACK, _BACK, R0, 8)
    code.put(4, STACK, _VALUE, OPEN)
    code.put(4, STACK, _VALUE + 4, 0)
    code.put(4, STACK, _VALUE + 8, 0)
    _flow(code, family, _BACK, _UPDATE)


def _goes(code: Code, family: _Family) -> None:
    """Into a pod of this node, else to where the routing table says."""
    leaves, sends = f"leaves {family.version}", f"sends {family.version}"
    code.map(R1, family.endpoints)
    code.stack(R2, family.field(_HERE, "to"))
    code.call(_LOOKUP)
    code.if_is(R0, 0, leaves)
    code.load(4, R8, R0, 0)
    code.move(R1, R6)
    code.set(R2, _PACKET_HOST)
    code.call(_SET_TYPE)
    code.move(R1, R8)
    code.set(R2, 0)
    code.call(_REDIRECT_PEER)
    code.exit()
    code.label(leaves)
    _way(code, family, "from", "to")
    code.load(4, R2, R6, _GSO_SIZE)
    code.if_is(R2, 0, sends)
    code.load(1, R3, R7, family.tcp + 12)  # the TCP header's length, in fours, in its upper half
    code.mask(R3, 0xF0)
    code.shift_right(R3, 2)
    code.plus(R2, R3)
    code.add(R2, family.tcp - 14)
    code.load(2, R3, STACK, _WAY_MTU)
    code.if_more(R2, R3, "pass")
    code.label(sends)
    code.load(1, R2, STACK, _WAY)
    code.store(4, STACK, _NEXT, R2)
    code.copy(16, STACK, _NEXT + 4, STACK, _WAY_TO)
    code.load(4, R1, STACK, _WAY_IFINDEX)
    code.stack(R2, _NEXT)
    code.set(R3, 20)
    code.set(R4, 0)
    code.call(_REDIRECT)
    code.exit()


def _way(code: Code, family: _Family, source: str, destination: str) -> None:
    """Ask the routing table; where it knows no way through this machine, pass."""
    for offset in range(0, 64, 8):
        code.put(8, STACK, _WAY + offset, 0)
    code.put(1, STACK, _WAY, family.number)
    code.copy(4, STACK, _WAY_IFINDEX, STACK, _HERE)
    code.copy(family.size, STACK, _WAY_FROM, STACK, family.field(_HERE, source))
    code.copy(family.size, STACK, _WAY_TO, STACK, family.field(_HERE, destination))
    code.move(R1, R6)
    code.stack(R2, _WAY)
    code.set(R3, 64)
    code.set(R4, _NO_MATTER_WHETHER_KNOWN)
    code.call(_FIB)
    code.if_not(R0, 0, "pass")


def _version(neighbours: bool) -> str:
    return sha256(program([0] * len(MAPS), neighbours=neighbours)).hexdigest()[:8]


ON_BRIDGE, ON_UPLINK = _version(True), _version(False)
"""Versions: how a program that is there is told from another release's."""
