"""Networks, requests and attachments to test with, as one machine would have them."""

from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

from podnet.addresses import mac_for
from podnet.attachment import Attachment, AttachRequest
from podnet.desired import EVERYWHERE, Sandboxed
from podnet.network import Network, Node
from podnet.objects import Netns, Veth
from podnet_agent.store import Store

NODE = Node(uplink="eth0", underlay_mtu=1500, ipv6=True, bridge_netfilter=False)
V4, V6 = ip_network("172.17.0.0/16"), ip_network("fd00:17::/64")
NETWORK = Network(
    name="default",
    bridge="podnet0",
    pod_mtu=1500,
    subnets=(V4,),
    pod_cidrs=(V4,),
    masquerade=True,
    isolated=True,
    hairpin=False,
    masquerade_neighbours=True,
    ipv6=True,
)
"""What a plain Debian gets for the network `default`."""
DUAL = replace(NETWORK, subnets=(V4, V6), pod_cidrs=(V4, V6))
ROUTED = replace(
    DUAL,
    pod_cidrs=(ip_network("172.17.1.0/24"), ip_network("fd00:17:0:1::/80")),
    on_link=False,
    isolated_ports=True,
    masquerade_neighbours=False,
    closed=False,
)
"""What one node of a cluster gets for it, but for routes to others."""


def netns(name: str) -> Netns:
    """Where the namespace of a sandbox is pinned."""
    return Netns(f"/run/netns/podnet-{name}")


def sandboxed(name: str = "web") -> Sandboxed:
    """A sandbox with a namespace of podnet's making."""
    return Sandboxed(name, netns(name), f"PodSandbox/default/{name}")


def request(name: str = "web", **fields: Any) -> AttachRequest:
    """What a PodSandbox in bridge mode asks for."""
    given = {
        "sandbox_id": name,
        "ifname": "eth0",
        "netns": netns(name),
        "network": "default",
        "owner": f"PodSandbox/default/{name}",
        "routes": EVERYWHERE,
    }
    return AttachRequest(**(given | fields))


def attachment(number: int = 26, *addresses: str, **fields: Any) -> Attachment:
    """One that was decided: 172.17.0.2/16 where no address is given."""
    interfaces = tuple(ip_interface(text) for text in addresses or ("172.17.0.2/16",))
    wanted = request(**fields)
    return Attachment(number, wanted, interfaces, wanted.mac or mac_for(interfaces[0].ip))


def reserve(store: Store, network: Network, name: str, **fields: Any) -> Attachment:
    """What the store decides for one."""
    return store.reserve(network, request(name, network=network.name, **fields))


def ips(attachment: Attachment) -> list[str]:
    """Its addresses, without the length of their prefix."""
    return [str(interface.ip) for interface in attachment.addresses]


VETH = Veth(
    host_end="vethpn1a",
    bridge="podnet0",
    mtu=1500,
    hairpin=False,
    isolated=False,
    pod_netns=netns("web"),
    pod_end="eth0",
    pod_mac="02:42:ac:11:00:02",
    alias="podnet",
)
"""The pair of one."""
