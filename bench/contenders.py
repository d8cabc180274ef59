"""podnet and Debian's CNI plugins, each in a private host of its own, called in the same way."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.caller import Caller, Chain, Done, Plugin, Pod
from support.cni import PLUGINS, bridge
from support.host import Host, until
from support.podnet import PROGRAM, Podnet

SHIM = PROGRAM.with_name("podnet-cni")
LAST = "settled"
"""A link whose end says that the namespaces that went before it are gone too."""


def one_port(pod: Pod) -> dict[str, Any]:
    """What containerd gives for a published port; no two pods have the same."""
    mapping = {"hostPort": 20000 + pod.number, "containerPort": 80, "protocol": "tcp"}
    return {"portMappings": [mapping]}


def podnet(*, port: bool = False) -> Chain:
    """As `podnet cni install` configures it."""

    def chain(pod: Pod) -> Sequence[Plugin]:
        config = {"name": "podnet", "type": "podnet-cni"}
        return [Plugin(SHIM, config | ({"runtimeConfig": one_port(pod)} if port else {}))]

    return chain


def plain_bridge() -> Chain:
    """The bridge plugin with host-local: no masquerading, no port mapping, no loopback."""
    return _debian(bridge(masquerade=False).plugins[:1])


def loopback() -> Chain:
    """What containerd 1.x calls before any network's plugin, and later ones do themselves."""
    return _debian([{"type": "loopback"}])


def flannel_like() -> Chain:
    """What flannel's nodes run, with containerd's loopback before it."""
    return _debian([{"type": "loopback"}, *bridge().plugins])


def masquerade_with_port() -> Chain:
    """The bridge plugin with masquerading, and one published port by portmap."""
    return _debian(bridge().plugins, port=True)


def _debian(plugins: Sequence[Mapping[str, Any]], *, port: bool = False) -> Chain:
    def chain(pod: Pod) -> Sequence[Plugin]:
        found = []
        for plugin in plugins:
            config = {"name": "cni", **plugin}
            if config.pop("capabilities", None) and port:
                config["runtimeConfig"] = one_port(pod)
            found.append(Plugin(PLUGINS / config["type"], config))
        return found

    return chain


class Contender:
    """A private host in which one of them attaches pods, `workers` at once."""

    def __init__(self, host: Host, program: Path, chain: Chain) -> None:
        self.host, self.chain = host, chain
        self.caller = Caller(program, host)
        self._added: dict[Pod, Done] = {}
        self._before = self._host_ends()

    def count_links(self) -> None:
        """What is there now stays: `settle` does not wait for it to go."""
        self._before = self._host_ends()

    def make_namespaces(self, pods: Sequence[Pod]) -> None:
        """Theirs are there, with nothing in them."""
        lines = "".join(f"netns add {pod.netns}\n" for pod in pods)
        self.host.run(["ip", "-batch", "-"], input=lines, timeout=60)

    def add(self, pods: Sequence[Pod], workers: int = 1) -> tuple[list[float], float]:
        """The seconds of each, and of all together."""
        done, seconds = self.caller.add(self.chain, pods, workers)
        self._added |= zip(pods, done, strict=True)
        return [each.seconds for each in done], seconds

    def delete(self, pods: Sequence[Pod], workers: int = 1) -> tuple[list[float], float]:
        """The seconds of each, and of all together."""
        added = [self._added.pop(pod) for pod in pods]
        done, seconds = self.caller.delete(self.chain, pods, added, workers)
        return [each.seconds for each in done], seconds

    def address(self, pod: Pod) -> str:
        """What its ADD has given it."""
        address: str = json.loads(self._added[pod].result)["ips"][0]["address"]
        return address.partition("/")[0]

    def settle(self, pods: Sequence[Pod]) -> None:
        """Their namespaces and links are gone, and the kernel has nothing left to do for them."""
        *_, last = pods
        lines = [f"link add {LAST} type veth peer name {LAST} netns {last.netns}"]
        lines += [f"netns delete {pod.netns}" for pod in pods]
        self.host.run(["ip", "-batch", "-"], input="\n".join(lines), timeout=60)
        until(lambda: self._host_ends() == self._before, "the end of all links", 60)

    def _host_ends(self) -> int:
        """How many links there are that pods may have."""
        links = os.listdir(self.host.path("/sys/class/net"))
        return sum(name == LAST or name.startswith("veth") for name in links)

    def processes(self) -> int:
        """How many processes and threads have been started in its host so far."""
        said = self.host.run(["cat", "/proc/sys/kernel/ns_last_pid"]).stdout
        return int(said)


def start_agent(host: Host) -> Podnet:
    """An agent whose network is ready."""
    agent = Podnet(host)
    agent.agent()
    until(
        lambda: agent.condition("default", "podnetwork").get("status") == "True",
        "the network to be ready",
        20,
    )
    return agent
