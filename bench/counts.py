"""What one sandbox costs in calls that can be counted: the same on every machine, however busy.

A script for a private host: `python -m bench.counts` prints the numbers as JSON. The tests gate
them; here they stand beside the times.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from bench.hosts import script
from bench.node import CLUSTERED, NETWORK, Sandboxes
from bench.row import Row
from podnet.attachment import PublishedPort
from podnet.cni.call import Call, parse
from podnet_agent.cni.plugin import Plugin
from support.host import Host

NLM_F_DUMP, NETLINK_ROUTE = 0x300, 0
"""linux/netlink.h"""

GATES = {
    "sends": (3, "rtnetlink sends, namespace made too"),
    "dumps": (0, "rtnetlink dumps"),
    "forks": (0, "processes started"),
    "forks-port": (0, "processes started, with a published port"),
    "commits": (0, "nftables commits without ports"),
    "commits-port": (1, "nftables commits with a published port"),
    "rules": (0, "rules more than before, with a published port"),
    "cni-sends": (3, "rtnetlink sends, by CNI"),
    "cni-dumps": (0, "rtnetlink dumps, by CNI"),
    "cni-forks": (0, "processes started by the agent, by CNI"),
    "cni-sends-port": (3, "rtnetlink sends, by CNI, with a published port"),
    "cni-dumps-port": (0, "rtnetlink dumps, the same"),
    "cni-forks-port": (0, "processes started by the agent, the same"),
    "cni-sends-cluster": (3, "rtnetlink sends, by CNI on a cluster's node, with a published port"),
    "cni-dumps-cluster": (0, "rtnetlink dumps, the same"),
    "cni-forks-cluster": (0, "processes started by the agent, the same"),
}


class Watch:
    """Counts what passes Python's sockets and process starts while it is on."""

    def __init__(self) -> None:
        self.sends = self.dumps = self.forks = 0
        for name in ("send", "sendall", "sendto", "sendmsg"):
            setattr(socket.socket, name, self._counting(getattr(socket.socket, name)))
        sys.addaudithook(self._audit)

    def _counting(self, send: Callable[..., Any]) -> Callable[..., Any]:
        def counted(sock: socket.socket, data: Any, *rest: Any) -> Any:
            if sock.family == socket.AF_NETLINK and sock.proto == NETLINK_ROUTE:
                self.sends += 1
                flags = int.from_bytes(bytes(data)[6:8], sys.byteorder)
                self.dumps += (flags & NLM_F_DUMP) == NLM_F_DUMP
            return send(sock, data, *rest)

        return counted

    def _audit(self, event: str, _: object) -> None:
        if event in ("os.fork", "os.forkpty", "os.posix_spawn", "subprocess.Popen", "os.exec"):
            self.forks += 1


def count() -> dict[str, int]:
    """Wire one sandbox without ports and one with, on a node that has some already."""
    sandboxes = Sandboxes(CLUSTERED)
    for number in range(3):
        sandboxes.agent.attach(sandboxes.request(number), sandboxes.named(number))
    commits = 0
    commit = sandboxes.table.commit

    def counted(operations: Any) -> None:
        nonlocal commits
        commits += 1
        commit(operations)

    sandboxes.table.commit = counted
    rules = _rules()
    watch = Watch()
    sandboxes.agent.attach(sandboxes.request(3), sandboxes.named(3))
    found = {"sends": watch.sends, "dumps": watch.dumps, "forks": watch.forks, "commits": commits}
    commits = 0
    request = sandboxes.request(4, (PublishedPort(8080, 80),))
    sandboxes.agent.attach(request, sandboxes.named(4))
    forks = watch.forks - found["forks"]
    found |= {"commits-port": commits, "forks-port": forks, "rules": _rules() - rules}
    return found | _by_cni(sandboxes, watch)


def _by_cni(sandboxes: Sandboxes, watch: Watch) -> dict[str, int]:
    """The same by a runtime's ADD; the namespace is the runtime's."""
    plugin = Plugin(sandboxes.agent)
    calls = {
        "": _call(1, NETWORK.name),
        "-port": _call(2, NETWORK.name, hostPort=8081, containerPort=80),
        "-cluster": _call(3, CLUSTERED.name, hostPort=8082, containerPort=80),
    }
    found = {}
    for kind, call in calls.items():
        before = watch.sends, watch.dumps, watch.forks
        plugin.add(call)
        after = watch.sends, watch.dumps, watch.forks
        for name, a, b in zip(("sends", "dumps", "forks"), before, after, strict=True):
            found[f"cni-{name}{kind}"] = b - a
    return found


def _call(number: int, network: str, **mapping: int) -> Call:
    """An ADD for a namespace that is made here, with that port if one is given."""
    subprocess.run(["ip", "netns", "add", f"cni-{number}"], check=True)
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": f"f00d{number}",
        "CNI_NETNS": f"/run/netns/cni-{number}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    config: dict[str, Any] = {"cniVersion": "1.0.0", "name": "podnet", "podNetwork": network}
    if mapping:
        config |= {"runtimeConfig": {"portMappings": [mapping]}}
    return parse(environment, json.dumps(config).encode())


def _rules() -> int:
    listed = subprocess.run(
        ["nft", "-j", "list", "ruleset"], capture_output=True, text=True, check=True
    )
    return sum("rule" in item for item in json.loads(listed.stdout)["nftables"])


def measure(rounds: int | None) -> Iterator[Row]:
    """Once: these are no times."""
    with Host("counts") as host:
        found = script(host, "bench.counts")
    for name, (gate, what) in GATES.items():
        yield Row(
            name=f"count-{name}",
            what=f"per sandbox: {what}",
            ours=[found[name]],
            goal=gate,
            unit="",
        )


if __name__ == "__main__":
    print(json.dumps(count()))
