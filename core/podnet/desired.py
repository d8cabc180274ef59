"""From networks, namespaces and attachments to kernel objects; each names its cause. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network

from podnet.addresses import IPAddress, IPNetwork, gateway, mac_for
from podnet.attachment import Attachment, PublishedPort
from podnet.network import Network, Node
from podnet.objects import (
    ALIAS_BYTES,
    HOST,
    MARK,
    Address,
    Bridge,
    Element,
    ForwardAccept,
    Interface,
    KernelObject,
    Key,
    Namespace,
    Netns,
    Route,
    Ruleset,
    Sysctl,
    Veth,
)
from podnet.ruleset import TABLE, VERSION
from podnet.shortcuts import bridge_shortcut, endpoint_objects, uplink_shortcut

EVERYWHERE: tuple[IPNetwork, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))

DOCKER_SYSCTLS = (
    ("net/ipv4/ip_unprivileged_port_start", "0"),
    ("net/ipv4/ping_group_range", "0 2147483647"),
)
"""What Docker sets in a private network namespace (moby, daemon/oci_linux.go): any user may listen
on port 80 and ping."""
NO_REDIRECTS = ("net/ipv4/conf/all/accept_redirects", "0")
"""Of a namespace, not of one interface, so that it stays as interfaces come and go. Where either
this or the interface's own is 1, redirects are heard (Documentation/networking/ip-sysctl.rst)."""


@dataclass(frozen=True, slots=True)
class Sandboxed:
    """A network namespace that podnet makes, for which sandbox, and who wants it."""

    sandbox_id: str
    path: Netns
    owner: str


@dataclass(frozen=True, slots=True)
class DroppingChain:
    """A foreign chain that drops what is forwarded, and where its owner wants exceptions."""

    command: str
    chain: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """All that the kernel of this node should reflect. Built from the store, by nothing else."""

    node: Node
    networks: tuple[Network, ...] = ()
    namespaces: tuple[Sandboxed, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    dropping: tuple[DroppingChain, ...] = ()


def desired(state: NodeState) -> Iterator[KernelObject]:
    """Everything, of every namespace."""
    yield from node_objects(state.networks, state.node)
    for network in state.networks:
        yield from network_objects(network)
        for chain in state.dropping:
            yield from accept_objects(network, chain)
    for sandbox in state.namespaces:
        yield from namespace_objects(sandbox)
    by_name = {network.name: network for network in state.networks}
    for attachment in state.attachments:
        network_of = by_name.get(attachment.request.network)
        if network_of is not None:
            yield from attachment_objects(network_of, attachment)


def node_objects(networks: Sequence[Network], node: Node) -> Iterator[KernelObject]:
    """What the node needs once there is any network: forwarding, and the table."""
    if not networks:
        return
    cause = f"{networks[0].cause} spec.subnets"
    yield Ruleset(version=VERSION, cause=cause)
    families = {subnet.version for network in networks for subnet in network.subnets}
    if 4 in families:
        yield Sysctl(name="net/ipv4/ip_forward", value="1", cause=cause)
    if 6 in families:
        yield Sysctl(name="net/ipv6/conf/all/forwarding", value="1", cause=cause)
        if node.accepts_ra and node.uplink:  # else forwarding ends the node's own default route
            name = f"net/ipv6/conf/{node.uplink}/accept_ra"
            yield Sysctl(name=name, value="2", cause=cause)
    yield from uplink_shortcut(networks, node)


def network_objects(network: Network) -> Iterator[KernelObject]:
    """The bridge with its addresses, and what the table must know of the network."""
    cause, name = network.cause, network.bridge
    bridge = Bridge(
        name=name,
        mac=mac_for(gateway(network.pod_cidrs[0])),
        mtu=network.pod_mtu,
        alias=_alias(cause),
        cause=f"{cause} spec.bridge.name",
    )
    yield bridge
    for sysctl, value in _bridge_sysctls(network):
        yield Sysctl(name=sysctl, value=value, cause=f"{cause} spec.subnets", within=bridge.key)
    for pod_cidr in network.pod_cidrs:
        interface = ip_interface(f"{gateway(pod_cidr)}/{pod_cidr.prefixlen}")
        yield Address(
            ifname=name, interface=interface, cause=f"{cause} spec.subnets", within=bridge.key
        )
    yield Interface(ifname=name, cause=f"{cause} spec.bridge.name", within=bridge.key)
    yield from _network_elements(network)
    yield from network.routes
    yield from bridge_shortcut(network)


def bridge_key(network: Network) -> Key:
    """The identity of the network's bridge."""
    return ("link", HOST, network.bridge)


def namespace_objects(sandbox: Sandboxed) -> Iterator[KernelObject]:
    """A private network namespace with `lo` up and nothing else: Docker's mode none."""
    cause = f"{sandbox.owner} spec.network.mode"
    namespace = Namespace(path=sandbox.path, cause=cause)
    yield namespace
    for name, value in (*DOCKER_SYSCTLS, NO_REDIRECTS):
        yield Sysctl(netns=sandbox.path, name=name, value=value, cause=cause, within=namespace.key)
    yield Interface(netns=sandbox.path, ifname="lo", cause=cause, within=namespace.key)


def attachment_objects(network: Network, attachment: Attachment) -> Iterator[KernelObject]:
    """One veth pair, both ends, addresses, routes, published ports."""
    request = attachment.request
    netns, ifname, owner = request.netns, request.ifname, request.owner
    veth = Veth(
        host_end=attachment.host_end,
        bridge=network.bridge,
        mtu=attachment.mtu or network.pod_mtu,  # a pair with two drops what the lesser can't take
        hairpin=network.hairpin,
        isolated=network.isolated_ports,
        alias=_alias(owner),
        pod_netns=netns,
        pod_end=ifname,
        pod_mac=attachment.mac,
        cause=request.cause("podNetwork"),
        needs=(bridge_key(network), ("interface", netns, ifname)),
    )
    yield veth
    yield from _pod_sysctls(network, attachment, veth.key)
    cause = f"{network.cause} spec.subnets"
    for interface in attachment.addresses:
        yield Address(
            netns=netns,
            ifname=ifname,
            interface=interface,
            within=veth.key,
            cause=request.cause("addresses") if interface.ip in request.addresses else cause,
        )
    yield Interface(
        netns=netns,
        ifname=ifname,
        # Behind ours in a chain, another plugin may change what the pair was made with.
        mac=None if request.cni else attachment.mac,
        mtu=None if request.cni else network.pod_mtu,
        within=veth.key,
        cause=request.cause("mac") if request.mac else cause,
    )
    for destination, via in ways(network, attachment):
        yield Route(
            netns=netns,
            destination=destination,
            gateway=via,
            ifname=ifname,
            within=veth.key,
            cause=request.cause("routes") if request.by_hand else cause,
        )
    yield from port_objects(attachment)
    yield from endpoint_objects(attachment, network)


def ways(network: Network, attachment: Attachment) -> Iterator[tuple[IPNetwork, IPAddress | None]]:
    """Destinations and gateways. A pod that has no neighbours has a way to the gateway first."""
    request = attachment.request
    gateways = {
        interface.version: via
        for interface in attachment.addresses
        if (via := network.gateway(interface.version)) is not None
    }
    destinations = list(request.routes)
    if not network.on_link:
        yield from ((ip_network(via), None) for via in gateways.values())
        if request.by_hand:
            destinations += [each for each in network.subnets if each not in destinations]
    for destination in destinations:
        if destination.version in gateways:
            yield destination, gateways[destination.version]


def residue(attachment: Attachment) -> Iterator[KernelObject]:
    """What an attachment may have left behind, told by its record alone.

    Its network may have changed or gone since; to remove something, its name is enough.
    """
    request = attachment.request
    yield Veth(
        host_end=attachment.host_end,
        bridge="",
        mtu=0,
        hairpin=False,
        isolated=False,
        alias="",
        pod_netns=request.netns,
        pod_end=request.ifname,
        pod_mac=attachment.mac,
    )
    yield from port_objects(attachment)
    yield from endpoint_objects(attachment)


def port_objects(attachment: Attachment) -> Iterator[KernelObject]:
    """The table's elements for published ports, in each family the sandbox has."""
    request = attachment.request
    cause = request.cause("ports")
    for port in request.ports:
        for interface in attachment.addresses:
            element = _port_element(port, interface.ip, cause)
            if element is not None:
                yield element
    if request.ports:
        for interface in attachment.addresses:
            own = f"{interface.ip} . {interface.ip}"
            container = f"pn_self{interface.version}"
            yield Element(container=container, match=own, cause=cause, within=TABLE)


def accept_objects(network: Network, chain: DroppingChain) -> Iterator[KernelObject]:
    """The two exceptions a bridge needs where a foreign chain drops what is forwarded."""
    for direction in ("-i", "-o"):
        yield ForwardAccept(
            command=chain.command,
            chain=chain.chain,
            direction=direction,
            bridge=network.bridge,
            cause=f"{network.cause} spec.bridge.name",
            needs=(bridge_key(network),),
        )


def _port_element(port: PublishedPort, pod: IPAddress, cause: str) -> Element | None:
    where = f"{port.protocol} . {port.host_port}"
    verdict = f"{pod} . {port.container_port}"
    if port.host_ip is None:
        container, match = f"pn_any{pod.version}", where
    elif port.host_ip.version == pod.version:
        container, match = f"pn_ip{pod.version}", f"{port.host_ip} . {where}"
    else:
        return None
    return Element(container=container, match=match, verdict=verdict, cause=cause, within=TABLE)


def _alias(owner: str) -> str:
    return f"{MARK} {owner}"[:ALIAS_BYTES]


def _bridge_sysctls(network: Network) -> Iterator[tuple[str, str]]:
    """127.0.0.1 of the node reaches published ports; no wait for duplicate address detection."""
    name = network.bridge
    for share in network.pod_cidrs:
        if share.version == 4:
            yield f"net/ipv4/conf/{name}/route_localnet", "1"
        else:
            # A machine whose new links get no IPv6 (default/disable_ipv6) keeps it so elsewhere.
            yield f"net/ipv6/conf/{name}/disable_ipv6", "0"
            yield f"net/ipv6/conf/{name}/accept_dad", "0"
            yield f"net/ipv6/conf/{name}/accept_ra", "0"


def _pod_sysctls(network: Network, attachment: Attachment, within: Key) -> Iterator[Sysctl]:
    """No redirects (the node routes, pods need not learn), no IPv6 where none was given."""
    request = attachment.request
    ifname, cause = request.ifname, request.cause("podNetwork")
    values = [(f"net/ipv4/conf/{ifname}/accept_redirects", "0")]
    if request.cni:  # a namespace of podnet's own making has it from the beginning
        values.append(NO_REDIRECTS)
    if any(interface.version == 6 for interface in attachment.addresses):
        values += [
            (f"net/ipv6/conf/{ifname}/{name}", "0")
            for name in ("accept_dad", "accept_ra", "accept_redirects")
        ]
    elif network.ipv6:
        values.append((f"net/ipv6/conf/{ifname}/disable_ipv6", "1"))
    if request.mac:
        values.append((f"net/ipv4/conf/{ifname}/arp_notify", "1"))
    for name, value in values:
        yield Sysctl(
            netns=request.netns,
            name=name,
            value=value,
            within=within,
            cause=cause,
        )


def _network_elements(network: Network) -> Iterator[Element]:
    name, cause = network.bridge, network.cause

    def element(container: str, match: str, field: str) -> Element:
        return Element(
            container=container,
            match=match,
            cause=f"{cause} spec.{field}",
            within=TABLE,
            needs=(bridge_key(network),),
        )

    yield element("pn_bridges", name, "bridge.name")
    if network.closed:
        yield element("pn_closed", name, "backend.type")
    if network.isolated:
        yield element("pn_isolated", name, "isolated")
    if network.masquerade_neighbours:
        yield element("pn_l2", name, "backend.type")
    for subnet in network.subnets:
        yield element(f"pn_own{subnet.version}", f"{name} . {subnet}", "subnets")
        yield element(f"pn_nets{subnet.version}", str(subnet), "subnets")
    if network.masquerade:
        for share in network.pod_cidrs:
            yield element(f"pn_masq{share.version}", str(share), "masquerade")
