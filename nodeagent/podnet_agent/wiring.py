"""The kernel's numbers of what is wired: read by ioctl, never by a dump. Writer thread."""

import os

from podnet.objects import Netns
from podnet.status import InterfaceFacts
from podnet_agent.agent import Agent
from podnet_agent.namespaces import NoSuchInterface, entered, interface_index, route_socket
from podnet_agent.store import Record


def facts_of(agent: Agent, records: tuple[Record, ...]) -> tuple[InterfaceFacts, ...]:
    """What status says of each interface; one that is missing from the kernel has index 0."""
    found = []
    for record in records:
        attachment = record.attachment
        request = attachment.request
        network = agent.network(request.network)
        found.append(
            InterfaceFacts(
                name=request.ifname,
                ifindex=_inside(request.netns, request.ifname),
                mac=attachment.mac,
                mtu=network.pod_mtu,
                addresses=attachment.addresses,
                peer_name=attachment.host_end,
                peer_ifindex=_of_node(agent, attachment.host_end),
                bridge=network.bridge,
                network=network.name,
            )
        )
    return tuple(found)


def _inside(netns: Netns, ifname: str) -> int:
    if not os.path.exists(netns):
        return 0
    with entered(netns), route_socket() as inside:
        try:
            return interface_index(inside, ifname)
        except NoSuchInterface:
            return 0


def _of_node(agent: Agent, ifname: str) -> int:
    try:
        return agent.kernel.index(ifname)
    except NoSuchInterface:
        return 0
