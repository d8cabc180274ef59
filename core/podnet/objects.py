"""Kernel objects as values: what `desired` asks for and what is observed.

An object compares by what the kernel can be asked about. `cause` (the field of the API object that
wants it), `within` (the object whose removal takes this one along) and `needs` (links that it uses,
which have to be ours) ride along uncompared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NewType

from podnet.addresses import IPAddress, IPInterface, IPNetwork

Netns = NewType("Netns", str)
"""A path that setns(2) takes, or HOST."""
HOST = Netns("")
"""The network namespace the agent runs in."""

Key = tuple[str, Netns, str]
"""Kind, namespace, name: no two objects of a node share one."""

MARK = "podnet"
"""First word of the alias of every link of ours; also the name of our nftables table."""
ALIAS_BYTES = 255
"""Of an alias, at most (linux/if.h: IFALIASZ less one): two names of an object may be longer."""
RTPROT = 142
"""Our mark on routes. The kernel keeps values above RTPROT_STATIC (4) as they are given
(linux/rtnetlink.h); 142 is not in iproute2's rt_protos."""
TRASH_GROUP = 0x706E
"""Link group of host ends that wait to be deleted together ('pn')."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owned:
    netns: Netns = HOST
    cause: str = field(default="", compare=False)
    within: Key | None = field(default=None, compare=False)
    needs: tuple[Key, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(_Owned):
    """A network namespace of ours, pinned under /run/netns so that `ip -n` knows it."""

    rank: ClassVar[int] = 0
    path: Netns

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("namespace", HOST, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(_Owned):
    """A value below /proc/sys, `name` with slashes: net/ipv4/ip_forward.

    `before` is what stood there when we came, None when nobody needs it back.
    """

    name: str
    value: str
    before: str | None = field(default=None, compare=False)

    @property
    def rank(self) -> int:
        """A link's own values can only be set once the link exists.

        Forwarding comes behind the uplink's accept_ra=2: as it goes on, the kernel drops the routes
        of routers whose advertisements are not accepted then (net/ipv6/addrconf.c).
        """
        if self.within is not None:
            return 3
        return 1 if self.name.endswith("/accept_ra") else 2

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("sysctl", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge(_Owned):
    """The switch of one network on this node.

    `snooping`: it listens to who joins which multicast group (IGMP, MLD), as the kernel's do.
    """

    rank: ClassVar[int] = 2
    name: str
    mac: str
    mtu: int
    alias: str
    snooping: bool = False

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("link", self.netns, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Veth(_Owned):
    """A veth pair, seen from its host end; what the pod end must be is an Interface."""

    rank: ClassVar[int] = 4
    host_end: str
    bridge: str
    mtu: int
    hairpin: bool
    isolated: bool
    up: bool = True
    pod_netns: Netns = field(compare=False)
    pod_end: str = field(compare=False)
    pod_mac: str = field(compare=False)
    alias: str

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("link", self.netns, self.host_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address(_Owned):
    """An address of an interface, with its prefix length.

    `routed`: the route to its network is there, which the kernel makes with the address and as
    the link goes up, and which anyone may delete.
    """

    rank: ClassVar[int] = 5
    ifname: str
    interface: IPInterface
    routed: bool = True

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("address", self.netns, f"{self.ifname} {self.interface}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface(_Owned):
    """An interface that another object makes (lo, a bridge, a pod end), and that is up.

    It goes up after its addresses: with arp_notify, set where a MAC is fixed by hand, the kernel
    announces them then. Not by default: such a broadcast visits every port of the bridge.
    """

    rank: ClassVar[int] = 6
    ifname: str
    mac: str | None = None
    mtu: int | None = None

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("interface", self.netns, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route(_Owned):
    """A route of ours; without a gateway the destination is on the link.

    `unreachable`: it leads nowhere (and has no interface), so that what no longer route knows does
    not leave by a shorter one.
    """

    destination: IPNetwork
    gateway: IPAddress | None
    ifname: str
    unreachable: bool = False

    @property
    def rank(self) -> int:
        """The kernel takes a gateway only where a route leads to it already."""
        return 7 if self.gateway is None else 8

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("route", self.netns, str(self.destination))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset(_Owned):
    """Our nftables table without its elements: the same text on every node of a release."""

    rank: ClassVar[int] = 9
    version: str

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("ruleset", self.netns, "inet podnet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Element(_Owned):
    """One element of a set or map of our table: all that changes in nftables at run time."""

    rank: ClassVar[int] = 10
    container: str
    match: str
    verdict: str = ""

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("element", self.netns, f"{self.container} {self.match}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardAccept(_Owned):
    """An ACCEPT for one bridge in a foreign chain whose policy drops what is forwarded.

    The only thing of ours outside our own table: an accept in our table cannot overrule a drop in
    another one. `direction` is iptables' own option: `-i` (from the bridge) or `-o` (to it).
    """

    rank: ClassVar[int] = 11
    command: str  # iptables or ip6tables, as the host has it
    chain: str
    direction: str
    bridge: str

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("accept", self.netns, f"{self.command} {self.chain} {self.direction} {self.bridge}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut(_Owned):
    """The program at a link that takes begun TCP connections past the rules (shortcut.py)."""

    rank: ClassVar[int] = 12
    ifname: str
    version: str

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("shortcut", self.netns, self.ifname)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(_Owned):
    """Where the shortcut finds a pod: an entry of its map, from an address to a host end."""

    rank: ClassVar[int] = 13
    address: IPAddress
    host_end: str
    bridge: str = field(default="", compare=False)  # whose program has the map; "": any

    @property
    def key(self) -> Key:
        """Its identity on the node."""
        return ("endpoint", self.netns, str(self.address))


KernelObject = (
    Namespace
    | Sysctl
    | Bridge
    | Veth
    | Address
    | Interface
    | Route
    | Ruleset
    | Element
    | ForwardAccept
    | Shortcut
    | Endpoint
)


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it was found, with what only the kernel knows."""

    what: KernelObject | str  # a sentence where it is no kind of ours: "a veth"
    ours: bool
    ifindex: int | None = None
    peer_ifindex: int | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What was read, at one moment, of the namespaces in `scope` (None: of all there are).

    `newest` is the highest attachment number when reading began: a look never judges attachments
    younger than itself, so a slow look cannot undo a fast attach.
    """

    seen: Mapping[Key, Seen]
    newest: int = 0
    scope: frozenset[Netns] | None = None


NOTHING = Observed({})
"""Observed of what cannot exist yet: nothing is read, EEXIST in an answer is a Conflict."""
