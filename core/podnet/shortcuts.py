"""Which shortcuts a node needs (shortcut.py), and where they find its pods. Pure."""

from collections.abc import Iterator, Sequence

from podnet.attachment import Attachment
from podnet.network import Network, Node
from podnet.objects import HOST, Endpoint, Shortcut
from podnet.shortcut import ON_BRIDGE, ON_UPLINK


def uplink_shortcut(networks: Sequence[Network], node: Node) -> Iterator[Shortcut]:
    """On the way from and to the other nodes, for the first network that wants one."""
    wanted = [network.cause for network in networks if network.shortcut]
    if wanted and node.uplink:
        cause = f"{wanted[0]} spec.backend"
        yield Shortcut(ifname=node.uplink, version=ON_UPLINK, cause=cause)


def bridge_shortcut(network: Network) -> Iterator[Shortcut]:
    """On the network's bridge, where it wants one."""
    if network.shortcut:
        yield Shortcut(
            ifname=network.bridge,
            version=ON_BRIDGE,
            cause=f"{network.cause} spec.backend",
            within=("link", HOST, network.bridge),
        )


def endpoint_objects(attachment: Attachment, network: Network | None = None) -> Iterator[Endpoint]:
    """Where the network's shortcut, or whichever there is, finds the pod."""
    if network is not None and not network.shortcut:
        return
    bridge = network.bridge if network else ""
    for interface in attachment.addresses:
        yield Endpoint(
            address=interface.ip,
            host_end=attachment.host_end,
            bridge=bridge,
            cause=f"{network.cause} spec.backend" if network else "",
            within=("shortcut", HOST, bridge) if bridge else None,
        )
