"""A machine with four networks and five pods, and a neighbour: where every rule can be met.

    outside ── eth0 ── node ┬ podnet0   isolated              web (publishes), client
     192.0.2.2        .1    ├ pn-other  isolated              stranger
                            ├ pn-open   open                  open
                            └ pn-bare   open, not masqueraded bare

Every pod serves on 80, the node on 7000, the neighbour on 80; all TCP and UDP, both families.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

from podnet.attachment import Attachment, PublishedPort
from podnet.commands import commands
from podnet.desired import NodeState, desired
from podnet.network import Network
from podnet.network import Node as Machine
from podnet.objects import NOTHING
from podnet.plan import plan
from support.host import Host
from support.node import Node
from support.traffic import Place, serve
from support.values import DUAL, NODE, attachment, sandboxed
from support.wire import connect

POD_PORT, NODE_PORT = 80, 7000
ANYWHERE, LOOPBACK, UPLINK, NOWHERE = 8080, 8081, 8082, 8083
"""The node's ports: led to web from any of its addresses, from one, not led at all."""
UPLINK4, UPLINK6 = "192.0.2.1", "2001:db8:0:2::1"
OUTSIDE4, OUTSIDE6 = "192.0.2.2", "2001:db8:0:2::2"
PODS = {"web": (1, 2), "client": (1, 3), "stranger": (2, 2), "open": (3, 2), "bare": (4, 2)}
"""The number of a pod's network, and its own."""
PORTS = tuple(
    PublishedPort(port, POD_PORT, protocol, ip_address(host_ip) if host_ip else None)
    for protocol in ("tcp", "udp")
    for port, host_ip in (
        (ANYWHERE, None),
        (LOOPBACK, "127.0.0.1"),
        (UPLINK, UPLINK4),
        (UPLINK, UPLINK6),
    )
)  # type: ignore[arg-type]


def pod4(name: str) -> str:
    """A pod's IPv4 address; `gateway4` of its network ends in .1."""
    network, number = PODS[name]
    return f"10.{network}.0.{number}"


def pod6(name: str) -> str:
    """A pod's IPv6 address."""
    network, number = PODS[name]
    return f"fd0{network}::{number}"


@dataclass
class World:
    """Where traffic comes from, and the two hosts."""

    node: Host
    outside: Host
    agent: Node | None

    @property
    def places(self) -> dict[str, Place]:
        """By name: node, outside and the pods."""
        pods = {name: Place(self.node, f"/run/netns/podnet-{name}") for name in PODS}
        return {"node": Place(self.node), "outside": Place(self.outside), **pods}

    def nft(self, text: str) -> None:
        """Change the node's rules by hand."""
        self.node.run(["nft", "-f", "-"], input=text)


def networks(*, bridge_nf: bool) -> tuple[Network, ...]:
    """Those of the picture, as a machine with or without br_netfilter resolves them."""

    def network(number: int, name: str, bridge: str, **fields: bool) -> Network:
        subnets = (ip_network(f"10.{number}.0.0/16"), ip_network(f"fd0{number}::/64"))
        changed = replace(DUAL, name=name, bridge=bridge, subnets=subnets, pod_cidrs=subnets)
        return replace(changed, hairpin=bridge_nf, masquerade_neighbours=not bridge_nf, **fields)

    return (
        network(1, "default", "podnet0"),
        network(2, "other", "pn-other"),
        network(3, "open", "pn-open", isolated=False),
        network(4, "bare", "pn-bare", isolated=False, masquerade=False),
    )


@contextmanager
def world(*, bridge_nf: bool = False, by_hand: bool = False) -> Iterator[World]:
    """Built by the agent, or with the commands that `podnet plan` prints; servers run."""
    with ExitStack() as stack:
        node = stack.enter_context(Host("node", bridge_nf=bridge_nf))
        outside = stack.enter_context(Host("outside"))
        near, _ = connect(node, outside)
        for family, gateway, pods in (
            ("-4", near.ipv4, "10.0.0.0/8"),
            ("-6", near.ipv6, "fd00::/8"),
        ):
            outside.run(["ip", family, "route", "add", pods, "via", str(gateway.ip)])
        for sysctl in ("net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"):
            node.sysctl(sysctl, 0)  # else few of many refusals are said
        machine = replace(NODE, bridge_netfilter=bridge_nf)
        built = World(node, outside, None)
        if by_hand:
            _type(node, machine, networks(bridge_nf=bridge_nf))
        else:
            built.agent = _by_agent(node, machine, networks(bridge_nf=bridge_nf))
        for name, place in built.places.items():
            port = NODE_PORT if name == "node" else POD_PORT
            stack.enter_context(serve(place, port, name=name))
        yield built


def _by_agent(host: Host, machine: Machine, wanted: tuple[Network, ...]) -> Node:
    node = Node(host)
    node.networks(*wanted, machine=machine)
    for name, (network, _) in PODS.items():
        addresses = (ip_address(pod4(name)), ip_address(pod6(name)))
        ports = PORTS if name == "web" else ()
        node.attach(name, wanted[network - 1], addresses=addresses, ports=ports)
    return node


def _attachments(wanted: tuple[Network, ...]) -> Iterator[Attachment]:
    for number, (name, (network, _)) in enumerate(PODS.items(), start=1):
        given = attachment(
            number,
            name=name,
            network=wanted[network - 1].name,
            ports=PORTS if name == "web" else (),
        )
        addresses = ip_interface(f"{pod4(name)}/16"), ip_interface(f"{pod6(name)}/64")
        yield replace(given, addresses=addresses, mac=f"02:42:0a:00:00:{number:02x}")


def _type(host: Host, machine: Machine, wanted: tuple[Network, ...]) -> None:
    state = NodeState(
        machine, wanted, tuple(sandboxed(name) for name in PODS), tuple(_attachments(wanted))
    )
    lines = [
        line
        for operation in plan(desired(state), NOTHING).operations
        for line in commands(operation)
    ]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    host.run(["sh", "-e"], input="\n".join(lines), env={**os.environ, "PATH": path})
