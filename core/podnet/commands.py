"""An operation as the commands a person would type: what logs, `plan` and `explain` show."""

from shlex import quote
from typing import assert_never

from podnet.objects import (
    HOST,
    RTPROT,
    Address,
    Bridge,
    Element,
    Endpoint,
    ForwardAccept,
    Interface,
    Namespace,
    Netns,
    Route,
    Ruleset,
    Shortcut,
    Sysctl,
    Veth,
)
from podnet.plan import Change, Operation, Remove
from podnet.ruleset import spelled
from podnet.shortcut import ON_BRIDGE

NETNS_FOLDER = "/run/netns"
"""Where iproute2 looks for names (NETNS_RUN_DIR)."""


def name_of(netns: Netns) -> str:
    """What `ip ... netns` takes: a name under /run/netns, or a path to somewhere else."""
    return netns.removeprefix(f"{NETNS_FOLDER}/")


def commands(operation: Operation) -> tuple[str, ...]:
    """The shell commands with the operation's effect, in order; none has output on success."""
    thing = operation.what
    match thing:
        case Namespace():
            verb = "delete" if isinstance(operation, Remove) else "add"
            return (f"ip netns {verb} {name_of(thing.path)}",)
        case Sysctl():
            return _sysctl(operation, thing)
        case Bridge():
            return _bridge(operation, thing)
        case Veth():
            return _veth(operation, thing)
        case Address() if isinstance(operation, Change):
            return (_connected(thing),)
        case Address():
            verb = "delete" if isinstance(operation, Remove) else "replace"
            end = _address_end(thing) if verb == "replace" else ""
            return (f"{_ip(thing.netns)} address {verb} {thing.interface} dev {thing.ifname}{end}",)
        case Interface():
            return _interface(operation, thing)
        case Route():
            verb = "delete" if isinstance(operation, Remove) else "replace"
            return (f"{_ip(thing.netns)} route {verb} {_route(thing)} proto {RTPROT}",)
        case Ruleset():
            if isinstance(operation, Remove):
                return ("nft delete table inet podnet",)
            return ("podnet-agent ruleset | nft -f -",)
        case Element():
            return _element(operation, thing)
        case ForwardAccept():
            verb = "-D" if isinstance(operation, Remove) else "-I"
            return (
                f"{thing.command} -w {verb} {thing.chain} {thing.direction} {thing.bridge}"
                f" -m comment --comment podnet -j ACCEPT",
            )
        case Shortcut():
            if isinstance(operation, Remove):
                return (f"podnet-agent shortcut --remove {thing.ifname}",)
            which = "--neighbours " if thing.version == ON_BRIDGE else ""
            return (f"podnet-agent shortcut {which}{thing.ifname}",)
        case Endpoint() if isinstance(operation, Remove):
            return (f"podnet-agent endpoint --remove {thing.address}",)
        case Endpoint():
            return (f"podnet-agent endpoint {thing.address} {thing.host_end}",)
        case _:
            assert_never(thing)


def _ip(netns: Netns) -> str:
    """`ip -n` knows names under /run/netns, not paths (iproute2 6.1)."""
    if netns == HOST:
        return "ip"
    return f"nsenter --net={netns} ip" if "/" in name_of(netns) else f"ip -n {name_of(netns)}"


def _on(flag: bool) -> str:
    return "on" if flag else "off"


def _route(thing: Route) -> str:
    if thing.unreachable:
        return f"unreachable {_destination(thing)}"
    via = f" via {thing.gateway}" if thing.gateway else ""
    return f"{_destination(thing)}{via} dev {thing.ifname}"


def _destination(thing: Route) -> str:
    """`default` as people write it; the family where that word would mean IPv4."""
    if thing.destination.prefixlen:
        return str(thing.destination)
    return "default" if thing.destination.version == 4 else "::/0"


def _address_end(thing: Address) -> str:
    """IPv4 has a broadcast address to be said; IPv6 a duplicate check to be left out."""
    return " broadcast +" if thing.interface.version == 4 else " nodad"


def _connected(thing: Address) -> str:
    """The route to the address's own network, as the kernel makes it."""
    end = f"scope link src {thing.interface.ip}" if thing.interface.version == 4 else "metric 256"
    return (
        f"{_ip(thing.netns)} route replace {thing.interface.network} dev {thing.ifname}"
        f" proto kernel {end}"
    )


def _sysctl(operation: Operation, thing: Sysctl) -> tuple[str, ...]:
    value = thing.before if isinstance(operation, Remove) else thing.value
    if value is None:
        return ()
    name, where = name_of(thing.netns), ""
    if thing.netns != HOST:
        where = f"nsenter --net={name} " if "/" in name else f"ip netns exec {name} "
    return (f"{where}sysctl -q -w {quote(f'{thing.name}={value}')}",)


def _bridge(operation: Operation, thing: Bridge) -> tuple[str, ...]:
    alias = f"alias '{thing.alias}'"
    snooping = f"type bridge mcast_snooping {int(thing.snooping)}"
    match operation:
        case Remove():
            return (f"ip link delete {thing.name}",)
        case Change():
            return (
                f"ip link set {thing.name} address {thing.mac} mtu {thing.mtu} {alias}",
                f"ip link set {thing.name} {snooping}",
            )
    return (
        f"ip link add {thing.name} address {thing.mac} {snooping}",
        f"ip link set {thing.name} mtu {thing.mtu} {alias}",
    )


def _veth(operation: Operation, thing: Veth) -> tuple[str, ...]:
    name = thing.host_end
    if isinstance(operation, Remove):
        return (f"ip link delete {name}",)
    flags = f"hairpin {_on(thing.hairpin)} isolated {_on(thing.isolated)}"
    port = f"ip link set {name} type bridge_slave {flags}"
    if isinstance(operation, Change):
        return (
            f"ip link set {name} mtu {thing.mtu} master {thing.bridge} alias '{thing.alias}' up",
            port,
        )
    queues = "numtxqueues 1 numrxqueues 1"
    return (
        f"ip link add {name} mtu {thing.mtu} {queues} master {thing.bridge} up type veth"
        f" peer name {thing.pod_end} address {thing.pod_mac} mtu {thing.mtu} {queues}"
        f" netns {name_of(thing.pod_netns)}",
        f"ip link set {name} alias '{thing.alias}' addrgenmode none",
        port,
    )


def _interface(operation: Operation, thing: Interface) -> tuple[str, ...]:
    if isinstance(operation, Remove):
        return (f"{_ip(thing.netns)} link set {thing.ifname} down",)
    mac = f" address {thing.mac}" if thing.mac and isinstance(operation, Change) else ""
    mtu = f" mtu {thing.mtu}" if thing.mtu and isinstance(operation, Change) else ""
    return (f"{_ip(thing.netns)} link set {thing.ifname}{mac}{mtu} up",)


def _element(operation: Operation, thing: Element) -> tuple[str, ...]:
    where = f"element inet podnet {thing.container}"
    match = spelled(thing.container, thing.match)
    value = f" : {thing.verdict}" if thing.verdict else ""
    match operation:
        case Remove():
            return (f"nft 'delete {where} {{ {match} }}'",)
        case Change():
            return (f"nft 'delete {where} {{ {match} }}; add {where} {{ {match}{value} }}'",)
    return (f"nft 'add {where} {{ {match}{value} }}'",)
