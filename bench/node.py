"""An agent without its daemon, in the calling process' namespaces: what one attachment costs."""

from dataclasses import replace
from ipaddress import ip_network

from bench.hosts import need_private_host
from podnet.attachment import Attachment, AttachRequest, PublishedPort
from podnet.desired import EVERYWHERE, Sandboxed, network_objects, node_objects
from podnet.network import Network, Node
from podnet.objects import NOTHING, Netns
from podnet.plan import plan
from podnet_agent.agent import Agent
from podnet_agent.forward import Forward
from podnet_agent.kernel import Kernel
from podnet_agent.nft import Table
from podnet_agent.paths import Paths
from podnet_agent.ports import Ports
from podnet_agent.store import Store

SUBNET = ip_network("172.17.0.0/16")
NETWORK = Network(
    name="default",
    bridge="podnet0",
    pod_mtu=1500,
    subnets=(SUBNET,),
    pod_cidrs=(SUBNET,),
    masquerade=True,
    isolated=True,
    hairpin=False,
    masquerade_neighbours=True,
    ipv6=True,
)
"""What a plain Debian gets for the network `default`: IPv6 exists and is switched off in pods."""
CLUSTERED = replace(
    NETWORK,
    name="clustered",
    bridge="pn-clustered",
    subnets=(ip_network("10.8.0.0/16"),),
    pod_cidrs=(ip_network("10.8.1.0/24"),),
    on_link=False,
    isolated_ports=True,
    masquerade_neighbours=False,
    closed=False,
)
"""What one node of a cluster gets for a network: its pods are routed to."""
NODE = Node(uplink=None, underlay_mtu=None, ipv6=True, bridge_netfilter=False)


class Sandboxes:
    """Sandboxes of one private host, by number, straight through `Agent`. Call it in the host.

    They are on NETWORK; what CNI asks for may be on others.
    """

    def __init__(self, *others: Network) -> None:
        need_private_host()
        self.paths = Paths()
        self.paths.prepare()
        self.table = Table()
        self.kernel = Kernel(self.table, Forward())
        store = Store(str(self.paths.store))
        networks = [NETWORK, *others]
        by_name = {network.name: network for network in networks}
        self.agent = Agent(store, self.kernel, Ports(), NODE, by_name)
        wanted = [*node_objects(networks, NODE)]
        for network in networks:
            wanted += network_objects(network)
        self.kernel.apply(plan(wanted, NOTHING).operations)

    def named(self, number: int) -> Sandboxed:
        """The sandbox of that number."""
        name = f"s{number:06}"
        return Sandboxed(name, self.paths.netns(name), f"PodSandbox/default/{name}")

    def request(self, number: int, ports: tuple[PublishedPort, ...] = ()) -> AttachRequest:
        """What the sandbox of that number asks for: what every PodSandbox in bridge mode does."""
        sandbox = self.named(number)
        return AttachRequest(
            sandbox.sandbox_id,
            "eth0",
            sandbox.path,
            "default",
            sandbox.owner,
            ports=ports,
            routes=EVERYWHERE,
        )

    def make_namespace(self, number: int) -> Netns:
        """Its namespace, with nothing in it but lo."""
        sandbox = self.named(number)
        self.agent.make_namespace(sandbox)
        return sandbox.path

    def attach(self, number: int) -> Attachment:
        """Wire it, in the namespace that was made."""
        return self.agent.attach(self.request(number))

    def detach(self, number: int) -> None:
        """Undo it; the link waits for `kernel.sweep`."""
        self.agent.detach(self.named(number).sandbox_id, "eth0")
