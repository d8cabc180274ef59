"""Nodes of a cluster without Kubernetes: private hosts on one switch, an API server, agents."""

import sys
from contextlib import ExitStack
from pathlib import Path

from support.apiserver import ApiServer
from support.host import Host, until
from support.podnet import Podnet
from support.traffic import Place
from support.wire import End, Switch

AGENT = Path(sys.executable).with_name("podnet-agent")
V4, V6 = "10.1.{}.0/24", "fd01:0:0:{}::/64"
PAUSE = 1000.0
"""Milliseconds that a busy machine may stand still: what is lost counts."""


class Node(Podnet):
    """A node with its agent; objects are read from the API server."""

    def __init__(self, api: ApiServer, end: End, name: str) -> None:
        self.api, self.name, self.end = api, name, end
        super().__init__(end.host, [str(AGENT), "serve", "--node", name], api.let_in(end.host))

    @property
    def address(self) -> str:
        """Its own, in IPv4."""
        return str(self.end.ipv4.ip)

    def routes(self) -> dict[str, str]:
        """The routes of podnet's in its main table: where each leads."""
        return {
            route["dst"]: route.get("gateway") or route["type"]
            for family in ("-4", "-6")
            for route in self.host.ip_json(family, "route", "show", "proto", "142")
        }

    def follows(self, destination: str, way: str | None) -> None:
        """Wait until its route to that share leads there, or is gone."""
        until(
            lambda: self.routes().get(destination) == way,
            f"{self.name}'s route to {destination} to be {way}; it has {self.routes()}",
        )

    def wipe(self) -> None:
        """All that a reboot takes, but the cable."""
        self.kill()
        self.host.wipe("/run/netns", "/run/podnet")
        until(lambda: set(self.host.links()) == {"lo", "eth0"}, "a fresh machine")


class Nodes:
    """Without any when it is made. A context manager: they end with the block."""

    def __init__(self) -> None:
        self._hosts = ExitStack()
        try:
            self.outside = self._hosts.enter_context(Host("outside"))
            self.switch = Switch(self.outside)
            self.api = ApiServer(self.outside, str(self.switch.gateways[0]))
        except BaseException:
            self._hosts.close()
            raise
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> "Nodes":
        return self

    def __exit__(self, *exc: object) -> None:
        self._hosts.close()

    def node(self, name: str, number: int, *, start: bool = True, **options: bool) -> Node:
        """A new node with a running agent, unless that is started later."""
        host = self._hosts.enter_context(Host(name, **options))
        node = self.nodes[name] = Node(self.api, self.switch.plug(host, number), name)
        if start:
            node.agent()
        return node

    def sandbox(self, name: str, node: str, *args: object, **spec: object) -> str:
        """A PodSandbox that is ready: its IPv4 address."""
        self.api.sandbox(name, node, *args, **spec)  # type: ignore[arg-type]
        self.api.wait_ready("PodSandbox", name)
        return self.ip(name)

    def delete(self, name: str) -> None:
        """Delete a PodSandbox and wait until nothing is left of it on its node."""
        body = self.api.get("PodSandbox", name)
        self.api.delete("PodSandbox", name)
        if body and (path := body["status"].get("netns", {}).get("path")):
            host = self.nodes[body["spec"]["nodeName"]].host
            until(lambda: not host.path(path).exists(), f"{name} to be taken down")

    def place(self, name: str) -> Place:
        """Where the traffic of a sandbox begins and ends."""
        body = self.api.get("PodSandbox", name)
        assert body is not None, f"no PodSandbox {name}"
        node = self.nodes[body["spec"]["nodeName"]]
        return Place(node.host, body["status"]["netns"]["path"])

    def ip(self, name: str, index: int = 0) -> str:
        """A sandbox's address."""
        address: str = self.api.status("PodSandbox", name)["podIPs"][index]["ip"]
        return address


def node(cluster: Nodes, name: str) -> Node:
    """The node of that name."""
    return cluster.nodes[name]


def namespaces(node: Node) -> list[str]:
    """The names of its pinned network namespaces."""
    said = node.host.run(["ip", "netns"], check=False).stdout
    return [line.split()[0] for line in said.splitlines()]
