"""A sandbox's own network namespace: made, wired, found again, its facts read. Writer thread."""

import os
from pathlib import Path

from podnet.attachment import AttachRequest
from podnet.desired import EVERYWHERE, Sandboxed
from podnet.objects import Netns
from podnet.sandbox import Sandbox
from podnet.status import InterfaceFacts
from podnet_agent import namespaces
from podnet_agent.agent import Agent
from podnet_agent.namespaces import NoSuchInterface, entered, interface_index, route_socket
from podnet_agent.objects import Body
from podnet_agent.paths import Paths
from podnet_agent.reports import OWN_NETNS, inode_of

OWN_IFNAME = "eth0"
"""The interface that a sandbox in bridge mode has by its spec."""


class Wiring:
    """Of the sandboxes that have a namespace of their own: modes Bridge and None."""

    own_path = OWN_NETNS

    def __init__(self, agent: Agent, paths: Paths) -> None:
        self._agent, self._paths = agent, paths

    def path(self, sandbox_id: str) -> Netns:
        """Where its namespace is pinned."""
        return self._paths.netns(sandbox_id)

    def build(self, sandbox: Sandbox, status: Body) -> tuple[InterfaceFacts, ...]:
        """Make and wire what is not there yet; the facts of every interface.

        A namespace whose pin somebody took away is pinned again from a container in it, so that
        containers go on. Without one there is nothing to go on with: it is made anew. So is one
        whose addresses went to another node.
        """
        agent, path = self._agent, self.path(sandbox.id)
        state = agent.store.namespace_state(sandbox.id)
        good = state == "ready" and not agent.is_displaced(sandbox.id)
        if state and not (good and _is_there(Path(path), status)):
            agent.demolish(sandbox.id)
            state = None
        if state is None:
            namespace = Sandboxed(sandbox.id, path, sandbox.owner)
            if sandbox.mode == "Bridge":
                agent.attach(request_of(sandbox, path), namespace)
            else:
                agent.make_namespace(namespace)
        return facts(self._agent, sandbox.id)

    def demolish(self, sandbox_id: str) -> None:
        """Nothing of it is left: interfaces, namespace, files."""
        try:
            self._agent.demolish(sandbox_id)
        finally:
            self._paths.remove_sandbox(sandbox_id)

    def pretend(self, agent: Agent, sandbox: Sandbox) -> None:
        """Write down, in an agent's records that are thrown away, what a new sandbox would add."""
        if sandbox.mode not in ("Bridge", "None"):
            return
        path = self.path(sandbox.id)
        agent.store.add_namespace(Sandboxed(sandbox.id, path, sandbox.owner))
        agent.store.complete_namespace(sandbox.id)
        if sandbox.mode == "Bridge":
            request = request_of(sandbox, path)
            attachment = agent.store.reserve(agent.network(request.network), request)
            agent.store.complete(attachment.number)


def facts(agent: Agent, sandbox_id: str) -> tuple[InterfaceFacts, ...]:
    """Read by ioctl, never by a dump; an interface missing from the kernel has index 0."""
    found = []
    for record in agent.store.of_sandbox(sandbox_id):
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


def request_of(sandbox: Sandbox, netns: Netns) -> AttachRequest:
    """What a sandbox in bridge mode asks of the one attachment path."""
    return AttachRequest(
        sandbox_id=sandbox.id,
        ifname=OWN_IFNAME,
        netns=netns,
        network=sandbox.network,
        owner=sandbox.owner,
        addresses=sandbox.addresses,
        mac=sandbox.mac,
        ports=sandbox.ports,
        routes=EVERYWHERE,
    )


def id_of(uid: str) -> str:
    """The sandbox id of an object: twelve digits of its uid, as many as Docker shows."""
    return uid.replace("-", "")[:12]


def _is_there(path: Path, status: Body) -> bool:
    """Whether the namespace is pinned, again if need be.

    By way of a container that `status` tells of; a process id may be another's by now.
    """
    if namespaces.is_pinned(path):
        return True
    for container in status.get("containers", ()):
        source = Netns(f"/proc/{container.get('pid')}/ns/net")
        if container["state"] == "running" and inode_of(source) == status["netns"]["inode"]:
            path.touch(mode=0o444)
            namespaces.bind_mount(source, str(path))
            return True
    return False


def _of_node(agent: Agent, ifname: str) -> int:
    try:
        return agent.kernel.index(ifname)
    except NoSuchInterface:
        return 0


def _inside(netns: Netns, ifname: str) -> int:
    if not os.path.exists(netns):
        return 0
    with entered(netns), route_socket() as inside:
        try:
            return interface_index(inside, ifname)
        except NoSuchInterface:
            return 0
