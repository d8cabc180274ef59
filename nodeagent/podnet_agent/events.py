"""The kernel's own news of this machine: whether what podnet built, or built upon, has changed.

A look follows each that concerns us, so most are sorted out here: other programs' links, and what
the agent's own threads did. For addresses, routes and rules the kernel says whose request it was;
for links it does not, so the last known state of ours is kept, and only a link that got worse
concerns us. Numbers: linux/rtnetlink.h, linux/netconf.h, linux/netfilter/nf_tables.h.
"""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterable

from podnet.errors import Retryable
from podnet.objects import MARK, RTPROT, TRASH_GROUP
from podnet_agent import dumps
from podnet_agent.dumps import (
    AF_INET,
    AF_INET6,
    DELADDR,
    DELROUTE,
    NEWADDR,
    NEWROUTE,
    RT_SCOPE_LINK,
    RTPROT_KERNEL,
    Message,
    RouteFacts,
    attributes,
    messages,
)
from podnet_agent.links import AF_BRIDGE, DELLINK, NEWLINK, Link, decode, family, link, links
from podnet_agent.machine import is_default
from podnet_agent.namespaces import RECEIVE_BUFFER, SO_RCVBUFFORCE, route_socket
from podnet_agent.observe import is_marked
from podnet_agent.uplinks import Uplinks

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV6_ADDRESS, IPV6_ROUTE = 1, 5, 7, 9, 11
IPV4_NETCONF, IPV6_NETCONF, NFTABLES = 24, 25, 7
"""Multicast groups; a group's bit in the address to bind to is its number less one."""
ROUTE_GROUPS = (
    LINK,
    IPV4_ADDRESS,
    IPV4_ROUTE,
    IPV6_ADDRESS,
    IPV6_ROUTE,
    IPV4_NETCONF,
    IPV6_NETCONF,
)
NEWNETCONF, NETCONF_ALL = 80, -1
NETCONFA_IFINDEX, NETCONFA_FORWARDING = 1, 2
NFT_SUBSYSTEM, NFT_NEWGEN = 10, 15
NFT_CHAIN_NAME = {3: 3, 5: 3, 6: 2, 8: 2}
"""The attribute that names the chain, by message: NEWCHAIN, DELCHAIN, NEWRULE, DELRULE."""
FORWARD_CHAINS = (b"FORWARD\0", b"DOCKER-USER\0")
"""Of iptables' table `filter`: where others drop what is forwarded, see forward.py."""
RECEIVES = 256
"""At one call, at most: the loop has others to serve, and calls again while there is more."""

_I32 = struct.Struct("=i")


class Events:
    """Hears from its construction on. Lives in the asyncio loop, which reads when there is news."""

    def __init__(self) -> None:
        self._route = _listener(NETLINK_ROUTE, ROUTE_GROUPS)
        self._nft = _listener(NETLINK_NETFILTER, [NFTABLES])
        self._either = select.epoll()
        for each in (self._route, self._nft):
            self._either.register(each, select.EPOLLIN)
        self._own = _OwnPorts()
        self._links: dict[int, Link] = {}  # ours, and the uplinks
        self._unread: dict[int, Message] = {}  # what was told of links first, and is of no news yet
        self._uplinks = Uplinks((), ())
        self._learn()
        self._lost = False

    def fileno(self) -> int:
        """Readable while there is something to read."""
        return self._either.fileno()

    def read(self) -> bool:
        """Whether something that concerns us changed; also when the kernel had to drop news."""
        concerned = self._lost
        try:
            if self._lost:
                self._learn()
                self._lost = False
            concerned |= self._hear_route(_received(self._route))
            concerned |= self._hear_nft(_received(self._nft))
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # more came than the buffer holds
                raise
            self._lost = True
        except Retryable:  # too busy to be learned now; the next message is another occasion
            self._lost = True
        return concerned or self._lost

    def close(self) -> None:
        """Hear no more."""
        self._either.close()
        self._route.close()
        self._nft.close()

    def _learn(self) -> None:
        with route_socket() as route:
            self._uplinks = Uplinks(dumps.routes(route), dumps.addresses(route))
            self._unread.clear()
            self._links = {
                each.ifindex: each
                for each in links(route)
                if is_marked(each) or self._uplinks.lead_to(each.ifindex)
            }

    def _hear_route(self, received: Iterable[Message]) -> bool:
        concerned = False
        latest: dict[int, Message] = {}  # of several about one link, the last says it all
        for message in received:
            match message.kind:
                case k if k == NEWLINK and family(message) != AF_BRIDGE:
                    latest[_index(message)] = message
                case k if k == NEWLINK:
                    latest[-_index(message)] = message
                case k if k == DELLINK and family(message) != AF_BRIDGE:
                    latest.pop(_index(message), None)
                    concerned |= self._link_gone(message)
                case k if k in (NEWADDR, DELADDR):
                    concerned |= self._address(message)
                case k if k in (NEWROUTE, DELROUTE):
                    concerned |= self._route_changed(message)
                case k if k == NEWNETCONF:
                    concerned |= _stopped_forwarding(message)
        for message in latest.values():
            concerned |= self._link(message)
        return concerned

    def _link(self, message: Message) -> bool:
        """A link that is new is not looked at before something else happens to it."""
        index = _index(message)
        bridge_speaks = family(message) == AF_BRIDGE
        if index not in self._links and index not in self._unread:
            if not bridge_speaks:
                self._unread[index] = message
            return False
        was, now = self._known(index), decode(message)
        if bridge_speaks:
            return was is not None and (was.hairpin, was.isolated) != (now.hairpin, now.isolated)
        if now.group == TRASH_GROUP:  # where only we put a link
            self._links.pop(index, None)
            return False
        if not now.up:
            self._uplinks.forget(index)
        if is_marked(now) or self._uplinks.lead_to(index):
            self._links[index] = now
        else:
            self._links.pop(index, None)
        return was is not None and _worse(was, now)

    def _known(self, index: int) -> Link | None:
        """The link of that index, if it is ours or an uplink."""
        unread = self._unread.pop(index, None)
        if unread is not None:
            link = decode(unread)
            if is_marked(link) or self._uplinks.lead_to(index):
                self._links[index] = link
        return self._links.get(index)

    def _link_gone(self, message: Message) -> bool:
        gone = decode(message)
        self._known(gone.ifindex)
        self._uplinks.forget(gone.ifindex)
        known = self._links.pop(gone.ifindex, None) is not None
        if gone.group == TRASH_GROUP:
            return False
        # It may have gone in the burst that told of it; one that never was ours stood in our way.
        return known or is_marked(gone) or gone.name.startswith((MARK, "pn-"))

    def _address(self, message: Message) -> bool:
        """The index lies where that of a link does, after four bytes."""
        scope, index = message.data[message.at + 3], _index(message)
        if scope == RT_SCOPE_LINK:
            return False
        if self._uplinks.lead_to(index):
            return self._uplinks.hear(message)
        if not self._is_our_bridge(index):
            return False
        return not self._own.has(NETLINK_ROUTE, message.port)

    def _route_changed(self, message: Message) -> bool:
        data, at = message.data, message.at
        size, protocol = data[at + 1], data[at + 5]
        lost = protocol == RTPROT_KERNEL and message.kind == DELROUTE
        if size and protocol != RTPROT and not lost:
            return False
        facts = dumps.route_of(message)
        if facts is None:
            return False
        if is_default(facts):
            return self._default_changed(message, facts)
        if lost and not self._is_our_bridge(facts.ifindex):
            return False
        return not self._own.has(NETLINK_ROUTE, message.port)

    def _default_changed(self, message: Message, facts: RouteFacts) -> bool:
        """Each advertisement of a router may bring the same route again, every few seconds."""
        changed = self._uplinks.change(facts, there=message.kind == NEWROUTE)
        index = facts.ifindex
        if index is not None and index not in self._links and self._uplinks.lead_to(index):
            with route_socket() as route:
                uplink = link(route, index)
            if uplink is not None:
                self._unread.pop(index, None)
                self._links[index] = uplink
        return changed

    def _is_our_bridge(self, ifindex: int | None) -> bool:
        found = self._known(ifindex or 0)
        return found is not None and found.kind == "bridge" and is_marked(found)

    def _hear_nft(self, received: Iterable[Message]) -> bool:
        concerned = False
        for message in received:
            subsystem, what = divmod(message.kind, 256)
            if concerned or subsystem != NFT_SUBSYSTEM or what == NFT_NEWGEN:
                continue
            concerned = _is_about_our_rules(message, what) and not self._own.has(
                NETLINK_NETFILTER, message.port
            )
        return concerned


class _OwnPorts:
    """The netlink ports of this process in this namespace, by which the kernel names who asked."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int]] = set()

    def has(self, protocol: int, port: int) -> bool:
        """Whether the port is a socket's of ours. Sockets that ask for changes are kept open."""
        if (protocol, port) not in self._known and port:
            self._known = self._read()
        return (protocol, port) in self._known

    def _read(self) -> set[tuple[int, int]]:
        inodes = set()
        for fd in os.listdir("/proc/self/fd"):
            try:
                inodes.add(os.readlink(f"/proc/self/fd/{fd}"))
            except FileNotFoundError:  # closed meanwhile, as the one of the listing is
                continue
        with open("/proc/thread-self/net/netlink") as file:
            next(file)
            rows = (line.split() for line in file)
            # Columns: sk, protocol, port, groups, memory twice, dump, locks, drops, inode.
            return {(int(row[1]), int(row[2])) for row in rows if f"socket:[{row[9]}]" in inodes}


def _listener(protocol: int, groups: Iterable[int]) -> socket.socket:
    listener = socket.socket(
        socket.AF_NETLINK,
        socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK,
        protocol,
    )
    listener.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    listener.bind((0, sum(1 << (group - 1) for group in groups)))
    return listener


def _received(listener: socket.socket) -> Iterable[Message]:
    for _ in range(RECEIVES):
        try:
            data = listener.recv(dumps.CHUNK)
        except BlockingIOError:
            return
        yield from messages(data, len(data))


def _index(message: Message) -> int:
    """Of struct ifinfomsg."""
    index: int = _I32.unpack_from(message.data, message.at + 4)[0]
    return index


def _worse(was: Link, now: Link) -> bool:
    """Whether a link has changed in what `observe` compares, but for going up."""
    alike = now._replace(up=was.up and now.up, peer=was.peer, peer_nsid=was.peer_nsid)
    return alike != was


def _stopped_forwarding(message: Message) -> bool:
    """Whether somebody has switched forwarding off for all of the machine."""
    found = attributes(message.data, message.at + 4, message.end)
    index, forwarding = found.get(NETCONFA_IFINDEX), found.get(NETCONFA_FORWARDING)
    if index is None or forwarding is None or message.data[message.at] not in (AF_INET, AF_INET6):
        return False
    return bool(_I32.unpack(index)[0] == NETCONF_ALL and _I32.unpack(forwarding)[0] == 0)


def _is_about_our_rules(message: Message, what: int) -> bool:
    """Whether it is our table, or a chain in which others drop what is forwarded."""
    found = attributes(message.data, message.at + 4, message.end)
    table = found.get(1)  # of every message: NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, ...
    if table == f"{MARK}\0".encode():
        return True
    if table != b"filter\0" or message.data[message.at] not in (AF_INET, AF_INET6):
        return False
    name = NFT_CHAIN_NAME.get(what)
    return name is not None and found.get(name) in FORWARD_CHAINS
