"""The machine's own settings that podnet changes: written down before, given back after.

Forwarding is not switched off under somebody who came to need it. The writer's alone.
"""

from collections.abc import Iterable, Sequence
from typing import TypeGuard

from podnet.objects import HOST, KernelObject, Sysctl
from podnet.plan import Operation, Remove
from podnet_agent import dumps
from podnet_agent.dumps import RTN_UNICAST
from podnet_agent.facts import Facts
from podnet_agent.links import links
from podnet_agent.machine import is_default
from podnet_agent.namespaces import route_socket
from podnet_agent.observe import is_marked, read_sysctl

FORWARDING = {"net/ipv4/ip_forward": 4, "net/ipv6/conf/all/forwarding": 6}
"""The settings, and the family that each is about."""
FOR_OTHERS = ("bridge", "veth", "tun", "wireguard", "vxlan", "macvlan", "ipvlan", "ipip", "gre")
"""Kinds of links behind which others keep machines of their own: containers, guests, tunnels."""


def record(facts: Facts, operations: Iterable[Operation]) -> None:
    """Write down what stands there before the operations change it.

    A look that began before a network was wanted did not read what that network needs: it is read
    here.
    """
    for operation in operations:
        new = operation.what
        if isinstance(operation, Remove) or not _is_the_nodes(new):
            continue
        old = read_sysctl(new.name)
        if old is not None and old != new.value:
            with route_socket() as route:
                indexes = [one.ifindex for one in links(route)]
            facts.record_sysctl(new.name, old, indexes)


def spare(facts: Facts, operations: Sequence[Operation]) -> tuple[list[Operation], list[str]]:
    """The operations but for those that would end forwarding that others need; sentences of it.

    What is spared is nobody's to give back any more.
    """
    given_back = {name for each in operations if (name := _given_back(each))}
    spared, said = set(), []
    for name in sorted(given_back & FORWARDING.keys()):
        user = _who_forwards(FORWARDING[name], facts.links_before(name))
        if user:
            spared.add(name)
            said.append(
                f"{name} stays on, which was off before podnet came: {user}, which is not podnet's,"
                f" may need it by now: `sysctl -w {name}=0` switches it off"
            )
    if any(FORWARDING[name] == 6 for name in spared):  # without it the uplink would lose its routes
        spared |= {name for name in given_back if name.endswith("/accept_ra")}
    for name in spared:
        facts.forget_sysctl(name)
    return [each for each in operations if _given_back(each) not in spared], said


def forget(facts: Facts, operations: Iterable[Operation]) -> None:
    """What was given back is the machine's own again."""
    for operation in operations:
        if name := _given_back(operation):
            facts.forget_sysctl(name)


def _given_back(operation: Operation) -> str | None:
    """The setting of the node's that the operation gives back."""
    old = operation.what
    return old.name if isinstance(operation, Remove) and _is_the_nodes(old) else None


def _is_the_nodes(thing: KernelObject) -> TypeGuard[Sysctl]:
    """Whether it is a setting of the node itself, of none of its links."""
    return isinstance(thing, Sysctl) and thing.netns == HOST and thing.within is None


def _who_forwards(version: int, before: set[int]) -> str | None:
    """A foreign link that leads to machines behind this one, of those that came since."""
    with route_socket() as route:
        routes = dumps.routes(route)
        uplinks = {facts.ifindex for facts in routes if is_default(facts)}
        behind = {
            facts.ifindex
            for facts in routes
            if facts.destination.version == version
            and facts.kind == RTN_UNICAST
            and not facts.destination.is_link_local
        }
        for one in links(route):
            came = one.ifindex in behind - uplinks - before
            if came and one.kind in FOR_OTHERS and not is_marked(one):
                return one.name
    return None
