"""What the kernel holds of ours, as the values that `desired` yields. Runs in the reader thread.

What is ours is told by its mark: a link by its alias (a pair's pod end by its host end), a route
by its protocol, a namespace by its name. Addresses and sysctls carry no mark. All addresses of our
bridges are ours; in a pod only those that are wanted are looked at, so whoever adds one to a
running sandbox keeps it. A sysctl is looked at if it is wanted or was once changed.
A link that is down is no Interface: that kind says "is up".
"""

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from podnet.addresses import IPNetwork
from podnet.objects import (
    HOST,
    MARK,
    RTPROT,
    TRASH_GROUP,
    Address,
    Bridge,
    Interface,
    Key,
    Namespace,
    Netns,
    Observed,
    Route,
    Seen,
    Sysctl,
    Veth,
)
from podnet_agent.dumps import (
    RT_SCOPE_LINK,
    RTN_UNICAST,
    RTN_UNREACHABLE,
    AddressFacts,
    RouteFacts,
    addresses,
    routes,
)
from podnet_agent.links import Link, links, namespace_id, number_of
from podnet_agent.namespaces import entered, route_socket

NETNS_FOLDER = Path("/run/netns")
_OF_SANDBOX = re.compile(rf"{MARK}-[0-9a-f]{{12}}")
"""A namespace's name with a sandbox's id (sandboxes.py), unlike one that a person would choose."""
_SYSCTL_OF_LINK = re.compile(r"net/ipv[46]/(?:conf|neigh)/([^/]+)/")


@dataclass(frozen=True, slots=True)
class _Read:
    """What one namespace holds."""

    netns: Netns
    links: list[Link]
    addresses: list[AddressFacts]
    routes: list[RouteFacts]
    sysctls: Mapping[str, str]


def observe(
    wanted: Collection[Key],
    newest: int,
    before: Mapping[str, str | None],
    namespaces: Iterable[Netns] = (),
    others: Iterable[Mapping[Key, Seen]] = (),
    folder: Path = NETNS_FOLDER,
    known: Mapping[int, str] = MappingProxyType({}),
    borrowed: Collection[Netns] = (),
) -> Observed:
    """Look at the calling thread's namespace, at `namespaces`, and add what others have seen.

    `wanted`: the keys of what should be there, in all these namespaces; `before`: the node's
    sysctls that are or were ours, with what stood there before us; `known`: links, by index, that
    an earlier look has seen marked. A namespace that is gone is left out of the answer's scope. In
    those `borrowed` from a runtime, plugins behind ours may change MAC and MTU: neither is told.
    OSError or Retryable where the kernel does not answer.
    """
    wanted = frozenset(wanted)
    names: dict[Netns, set[str]] = {HOST: set(before)}
    for kind, netns, name in wanted:
        if kind == "sysctl":
            names.setdefault(netns, set()).add(name)
    pods: dict[Netns, tuple[_Read, int | None]] = {}
    with route_socket() as route:
        for netns in namespaces:
            try:
                fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    read = _read(netns, names.get(netns, ()))
                    pods[netns] = (read, namespace_id(route, fd))
                finally:
                    os.close(fd)
            except OSError:  # gone, or no namespace any more
                continue
    node = _read(HOST, names[HOST])
    ours = [
        link
        for link in node.links
        if link.group != TRASH_GROUP and (is_marked(link) or known.get(link.ifindex) == link.name)
    ]
    bridges = {link.ifindex: link for link in ours if link.kind == "bridge"}
    # One that was given another name has no number; it is not wanted and goes.
    ends = {
        link.ifindex: link for link in ours if link.kind == "veth" and number_of(link) <= newest
    }
    seen: dict[Key, Seen] = {}
    pod_ends: dict[int, tuple[Netns, Link]] = {}
    for read, nsid in pods.values():
        here = {
            end.peer: end
            for end in ends.values()
            if end.peer is not None and end.peer_nsid == nsid is not None
        }
        pod_ends |= {
            here[link.ifindex].ifindex: (read.netns, link)
            for link in read.links
            if link.ifindex in here
        }
        seen |= _keyed(_pod(read, here, wanted, borrowed=read.netns in borrowed))
    seen |= _keyed(_node(node, bridges, ends, pod_ends, wanted, before))
    seen |= _keyed(_namespaces(folder, wanted))
    for other in others:
        seen |= other
    return Observed(seen, newest, frozenset({HOST, *pods}))


def is_marked(link: Link) -> bool:
    """Whether a link's alias says that it is podnet's."""
    return link.alias.startswith(f"{MARK} ")


def _read(netns: Netns, sysctls: Iterable[str]) -> _Read:
    with entered(netns), route_socket() as route:
        found = {name: text for name in sysctls if (text := read_sysctl(name)) is not None}
        return _Read(netns, links(route), addresses(route), routes(route), found)


def read_sysctl(name: str) -> str | None:
    """The value in the calling thread's namespace, words one blank apart; None without one."""
    try:
        with open(f"/proc/sys/{name}") as file:
            return " ".join(file.read().split())
    except OSError:  # no such module, or an interface that is gone
        return None


Found = Iterator[tuple[Key, Seen]]


def _keyed(found: Found) -> dict[Key, Seen]:
    """By key; where one is there twice, what is ours counts."""
    seen: dict[Key, Seen] = {}
    for key, thing in found:
        if thing.ours or key not in seen:
            seen[key] = thing
    return seen


def _ours(what: Bridge | Veth | Interface | Address | Route | Sysctl | Namespace) -> Seen:
    return Seen(what, ours=True)


def _node(
    read: _Read,
    bridges: Mapping[int, Link],
    ends: Mapping[int, Link],
    pod_ends: Mapping[int, tuple[Netns, Link]],
    wanted: Collection[Key],
    before: Mapping[str, str | None],
) -> Found:
    names = {link.ifindex: link.name for link in read.links}
    for link in read.links:
        key: Key = ("link", HOST, link.name)
        if link.ifindex in bridges:
            bridge = Bridge(
                name=link.name,
                mac=link.mac,
                mtu=link.mtu,
                alias=link.alias,
                snooping=link.snooping,
            )
            yield key, Seen(bridge, ours=True, ifindex=link.ifindex)
            if link.up:
                interface = Interface(ifname=link.name, within=key)
                yield interface.key, Seen(interface, ours=True, ifindex=link.ifindex)
        elif link.ifindex in ends:
            veth = _veth(link, names.get(link.master or 0, ""), pod_ends.get(link.ifindex))
            yield key, Seen(veth, ours=True, ifindex=link.ifindex, peer_ifindex=link.peer)
        elif key in wanted:
            yield key, _foreign(link)
    keys: dict[int, Key] = {index: ("link", HOST, link.name) for index, link in bridges.items()}
    for address in _addresses(read, keys):
        yield address.key, _ours(address)
    yield from _routes(read, keys, wanted)
    by_name = {names[index]: key for index, key in keys.items()}
    for name, value in read.sysctls.items():
        match = _SYSCTL_OF_LINK.match(name)
        within = by_name.get(match[1]) if match else None
        sysctl = Sysctl(name=name, value=value, before=before.get(name), within=within)
        if sysctl.key in wanted or value != sysctl.before:
            yield sysctl.key, _ours(sysctl)


def _veth(link: Link, bridge: str, pod_end: tuple[Netns, Link] | None) -> Veth:
    netns, other = pod_end or (HOST, None)
    return Veth(
        host_end=link.name,
        bridge=bridge,
        mtu=link.mtu,
        hairpin=link.hairpin,
        isolated=link.isolated,
        up=link.up,
        pod_netns=netns,
        pod_end=other.name if other else "",
        pod_mac=other.mac if other else "",
        alias=link.alias,
    )


def _pod(
    read: _Read, ends: Mapping[int, Link], wanted: Collection[Key], *, borrowed: bool
) -> Found:
    """`ends`: host ends by the index that their other end has in this namespace."""
    netns = read.netns
    veths: dict[int, Key] = {index: ("link", HOST, end.name) for index, end in ends.items()}
    names = {link.ifindex: link.name for link in read.links}
    namespace: Key = ("namespace", HOST, netns)
    for link in read.links:
        key: Key = ("interface", netns, link.name)
        if link.ifindex in veths:
            if link.up and key in wanted:
                end = Interface(
                    netns=netns,
                    ifname=link.name,
                    mac=None if borrowed else link.mac,
                    mtu=None if borrowed else link.mtu,
                    within=veths[link.ifindex],
                )
                yield key, Seen(end, True, link.ifindex, peer_ifindex=link.peer)
        elif key in wanted and link.name != "lo":
            yield key, _foreign(link)
        elif key in wanted and link.up:
            loopback = Interface(netns=netns, ifname="lo", within=namespace)
            yield key, Seen(loopback, ours=True, ifindex=link.ifindex)
    for address in _addresses(read, veths):
        if address.key in wanted:
            yield address.key, _ours(address)
    yield from _routes(read, veths, wanted)
    by_name = {names[index]: veth for index, veth in veths.items() if index in names}
    for name, value in read.sysctls.items():
        match = _SYSCTL_OF_LINK.match(name)
        within = by_name.get(match[1], namespace) if match else namespace
        sysctl = Sysctl(netns=netns, name=name, value=value, within=within)
        yield sysctl.key, _ours(sysctl)


def _addresses(read: _Read, within: Mapping[int, Key]) -> Iterator[Address]:
    """Those of our links, but for the kernel's own of each link."""
    up = {link.ifindex for link in read.links if link.up}
    names = {link.ifindex: link.name for link in read.links}
    routed = {(route.ifindex, route.destination) for route in read.routes}
    for address in read.addresses:
        index, interface = address.ifindex, address.interface
        if index in within and address.scope != RT_SCOPE_LINK:
            network = interface.network
            yield Address(
                netns=read.netns,
                ifname=names[index],
                interface=interface,
                routed=(index, network) in routed
                or network.prefixlen == network.max_prefixlen
                or index not in up,
                within=within[index],
            )


def _routes(read: _Read, within: Mapping[int, Key], wanted: Collection[Key]) -> Found:
    """Ours, but for those of a link younger than the look; and what is in their place."""
    names = {link.ifindex: link.name for link in read.links}
    for route in read.routes:
        key: Key = ("route", read.netns, str(route.destination))
        if route.kind == RTN_UNICAST and route.protocol == RTPROT and route.ifindex in names:
            if read.netns == HOST or route.ifindex in within:
                found = Route(
                    netns=read.netns,
                    destination=route.destination,
                    gateway=route.gateway,
                    ifname=names[route.ifindex],
                    within=within.get(route.ifindex),
                )
                yield key, _ours(found)
        elif (read.netns, route.kind, route.protocol) == (HOST, RTN_UNREACHABLE, RTPROT):
            yield key, _ours(_nowhere(route.destination))
        elif key in wanted:
            yield key, Seen(f"a route of protocol {route.protocol}", ours=False)


def _nowhere(destination: IPNetwork) -> Route:
    """IPv6 has such a route on lo, IPv4 on nothing."""
    return Route(destination=destination, gateway=None, ifname="", unreachable=True)


def _foreign(link: Link) -> Seen:
    kind = f"of kind {link.kind}" if link.kind else "of no kind"
    return Seen(f"a link {kind}, index {link.ifindex}", ours=False, ifindex=link.ifindex)


def _namespaces(folder: Path, wanted: Collection[Key]) -> Found:
    """Those pinned as podnet-*; a file on which nothing is mounted is what a crash left over.

    Such a file counts as there when it is to go, and as not there when a namespace is to be.
    """
    kernel = os.stat("/proc/self/ns/net").st_dev
    try:
        entries = [entry for entry in os.scandir(folder) if entry.name.startswith(f"{MARK}-")]
    except FileNotFoundError:
        return
    for entry in entries:
        namespace = Namespace(path=Netns(entry.path))
        if namespace.key not in wanted and not _OF_SANDBOX.fullmatch(entry.name):
            continue
        try:
            found = os.stat(entry.path, follow_symlinks=False)
        except FileNotFoundError:
            continue
        if found.st_dev == kernel or (stat.S_ISREG(found.st_mode) and namespace.key not in wanted):
            yield namespace.key, _ours(namespace)
