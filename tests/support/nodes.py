"""Nodes of a cluster without Kubernetes: private hosts on one switch, an API server, agents."""

import sys
from collections.abc import Callable
from pathlib import Path

from support.apiserver import ApiServer
from support.host import Host
from support.podnet import Podnet
from support.traffic import Place
from support.wire import End, Switch

AGENT = Path(sys.executable).with_name("podnet-agent")


class Node(Podnet):
    """A node with its agent; objects are read from the API server."""

    def __init__(self, api: ApiServer, end: End, name: str) -> None:
        self.api, self.name, self.end = api, name, end
        super().__init__(end.host, [str(AGENT), "serve", "--node", name], api.let_in(end.host))

    @property
    def address(self) -> str:
        """Its own, in IPv4."""
        return str(self.end.ipv4.ip)

    def routes(self, family: str = "-4") -> dict[str, str]:
        """The routes of podnet's in its main table: where each leads."""
        found = self.host.ip_json(family, "route", "show", "proto", "142")
        return {route["dst"]: route.get("gateway") or route.get("type", "") for route in found}


class Nodes:
    """Without any when it is made."""

    def __init__(self, make_host: Callable[..., Host]) -> None:
        self._make_host = make_host
        self.outside = make_host("outside")
        self.switch = Switch(self.outside)
        self.api = ApiServer(self.outside, str(self.switch.gateways[0]))
        self.nodes: dict[str, Node] = {}

    def node(self, name: str, number: int, **options: bool) -> Node:
        """A new node with a running agent."""
        host = self._make_host(name, **options)
        node = self.nodes[name] = Node(self.api, self.switch.plug(host, number), name)
        node.agent()
        return node

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
