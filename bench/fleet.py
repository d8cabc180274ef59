"""Many nodes: Node objects and shares made by hand, as agents and operator have to follow them.

The nodes that really run are `nodes`; the others are objects only, on the same link.
"""

import calendar
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from statistics import median

from bench.kube import PODNET, Body, Kube, is_ready
from bench.row import Row, amount
from bench.startup import SANDBOXES
from support.host import until

SHARES, FLEET, RESIDENT_SANDBOXES = 100, 200, 50
QUIET_SECONDS = 12
"""Longer than an agent waits before it tells how many addresses are used."""
ROUTE_NETWORK, SHARED = "bench-route", IPv4Network("10.222.0.0/16")
NETWORKS = {"bench-a": "10.223.0.0/16", "bench-b": "10.224.0.0/16", "bench-c": "10.225.0.0/16"}
NODE_PATH, SHARE_PATH, NETWORK_PATH, AGENT_PATH = (
    "/api/v1/nodes",
    f"{PODNET}/nodesubnets",
    f"{PODNET}/podnetworks",
    "/api/v1/namespaces/podnet-system/pods",
)


def on_node(node: str, *argv: str) -> str:
    """What a command prints there."""
    return subprocess.run(
        ["docker", "exec", node, *argv], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def resident(node: str, program: str) -> float:
    """MiB of a Python program of a node, by what is in its command line; 0 where it is not."""
    pattern = f"[{program[0]}]{program[1:]}"  # which the script's own command line is not
    script = f"for p in $(pgrep -f {pattern}); do cat /proc/$p/status; done"
    found = re.findall(r"VmRSS:\s+(\d+)", on_node(node, "bash", "-c", script))
    return max(map(int, found), default=0) / 1024


@contextmanager
def without_operator(kube: Kube) -> Iterator[None]:
    """So that what is made by hand is nobody else's matter."""
    path = "/apis/apps/v1/namespaces/podnet-system/deployments/podnet-operator"

    def scale(count: int) -> None:
        merge = "application/merge-patch+json"
        kube.raw("PATCH", f"{path}/scale", {"spec": {"replicas": count}}, merge)
        until(
            lambda: kube.ask("GET", path)["status"].get("readyReplicas", 0) == count,
            f"{count} operators",
            60,
        )

    scale(0)
    try:
        yield
    finally:
        scale(1)


class RouteMonitor:
    """`ip monitor route` on a node: when each route came, on the clock of time.time."""

    def __init__(self, node: str) -> None:
        argv = ["docker", "exec", node, "ip", "-ts", "-4", "monitor", "route"]
        # It complains of links whose other end is in a namespace that is just going.
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __enter__(self) -> "RouteMonitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def wait(self, wanted: set[str]) -> dict[str, float]:
        """When each of these routes with a gateway came; until all have."""
        assert self._process.stdout is not None
        came: dict[str, float] = {}
        for line in self._process.stdout:
            found = re.match(r"\[(\S+)\] (\d\S+) via", line)
            if found and found[2] in wanted:
                came.setdefault(found[2], _seconds(found[1]))
            if len(came) == len(wanted):
                break
        return came


def _seconds(stamp: str) -> float:
    """Of a time as `ip -ts` writes it, in the node's zone, UTC."""
    whole, _, micro = stamp.partition(".")
    return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f".{micro}")


def simulated(name: str) -> Body:
    """A Node that is an object only."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
    }


def agents_writes(kube: Kube) -> int:
    """What podnet's agents have written to the API server until now, as it counts."""
    text = kube.raw("GET", "/metrics").decode()
    pattern = r'^apiserver_request_total\{([^}]*group="podnet.dev"[^}]*)\} (\S+)'
    return sum(
        int(float(count))
        for labels, count in re.findall(pattern, text, re.MULTILINE)
        if 'subresource="status"' in labels and re.search('verb="(PATCH|APPLY)"', labels)
    )


def network(name: str, subnet: str) -> Body:
    """A PodNetwork of that subnet."""
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodNetwork",
        "metadata": {"name": name},
        "spec": {"subnets": [subnet], "backend": {"type": "HostGateway"}},
    }


def measure_routes(kube: Kube, nodes: Sequence[str]) -> Iterator[Row]:
    """Shares of nodes that are objects only, one after the other; their routes on the real ones."""
    cidrs = list(SHARED.subnets(new_prefix=24))[-SHARES:]  # the operator gives the first ones away
    names = [f"{ROUTE_NETWORK}.simulated-{number}" for number in range(SHARES)]
    try:
        with kube.watching(NETWORK_PATH, is_ready) as networks:
            kube.create(NETWORK_PATH, [network(ROUTE_NETWORK, str(SHARED))])
            networks.wait([ROUTE_NETWORK])
        with without_operator(kube), ExitStack() as monitors:
            followed = [monitors.enter_context(RouteMonitor(node)) for node in nodes]
            time.sleep(QUIET_SECONDS)  # what agents still say of what was before
            writes = agents_writes(kube)
            asked = {}
            for number, (cidr, address) in enumerate(zip(cidrs, _free_addresses(), strict=False)):
                asked[str(cidr)] = _make_share(kube, f"simulated-{number}", cidr, address)
            late = [
                came - asked[cidr]
                for monitor in followed
                for cidr, came in monitor.wait(set(asked)).items()
            ]
            time.sleep(QUIET_SECONDS)
            written = agents_writes(kube) - writes - SHARES  # one status each is the bench's own
    finally:
        kube.delete(SHARE_PATH, names)
        kube.delete(NETWORK_PATH, [ROUTE_NETWORK])
    yield Row(
        name="route",
        what=f"NodeSubnet created -> route on every other node ({len(nodes)}), p99 of {SHARES}",
        ours=[sorted(late)[int(0.99 * len(late))]],
        goal=1,
        note=f"p50 {amount(median(late), 's')}",
    )
    yield Row(
        name="remote-writes",
        what=f"API writes by agents for {SHARES} remote NodeSubnets on {len(nodes)} nodes",
        ours=[written],
        goal=0,
        unit="",
    )


def _make_share(kube: Kube, node: str, cidr: IPv4Network, address: IPv4Address) -> float:
    """The share and, as its agent would write it, the way there; when it was asked for."""
    body = {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "NodeSubnet",
        "metadata": {"name": f"{ROUTE_NETWORK}.{node}"},
        "spec": {"podNetwork": ROUTE_NETWORK, "nodeName": node, "podCIDRs": [str(cidr)]},
    }
    asked = time.time()
    made = kube.ask("POST", SHARE_PATH, body)
    status = {"status": {"nodeAddresses": [str(address)], "addressesUsed": 0}}
    name = made["metadata"]["name"]
    kube.raw("PATCH", f"{SHARE_PATH}/{name}/status", status, "application/merge-patch+json")
    return asked


def _free_addresses() -> Iterator[IPv4Address]:
    """Of the nodes' own link, from its end: docker gives away its beginning."""
    template = "{{range .IPAM.Config}}{{.Subnet}} {{end}}"
    inspect = ["docker", "network", "inspect", "kind", "--format", template]
    said = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout
    link = next(IPv4Network(each) for each in said.split() if ":" not in each)
    return (link[-2 - number] for number in range(link.num_addresses - 2))


def measure_fleet(kube: Kube, nodes: Sequence[str], worker: str) -> Iterator[Row]:
    """FLEET nodes more, three networks: how long the operator takes, and what it all costs."""
    names = [f"simulated-{number}" for number in range(FLEET)]
    wanted = {f"{each}.{node}" for each in NETWORKS for node in [*names, *nodes]}
    sandboxes = [f"resident-{number}" for number in range(RESIDENT_SANDBOXES)]
    try:
        with kube.watching(SHARE_PATH, lambda _: True) as shares:
            start = time.time()
            kube.create(NODE_PATH, [simulated(name) for name in names])
            kube.create(NETWORK_PATH, [network(name, cidr) for name, cidr in NETWORKS.items()])
            shares.wait(sorted(wanted))
        seconds = max(shares.reached[name] for name in wanted) - start
        _check(kube)
        operator = max(resident(node, "podnet_operator") for node in nodes)
        kube.delete(NETWORK_PATH, list(NETWORKS))  # every node has a share of `default` too
        until(
            lambda: len(kube.items(SHARE_PATH)) == len(names) + len(nodes),
            "one network's shares",
            60,
        )
        _restart_agent(kube, worker)
        with kube.watching(SANDBOXES.path, SANDBOXES.there) as arrivals:
            kube.create(SANDBOXES.path, [SANDBOXES.body(name, worker) for name in sandboxes])
            arrivals.wait(sandboxes)
        agent = resident(worker, "podnet-agent")
    finally:
        kube.delete(SANDBOXES.path, sandboxes)
        kube.delete(NETWORK_PATH, list(NETWORKS))
        kube.delete(NODE_PATH, names)
        kube.delete(SHARE_PATH, [f"default.{name}" for name in names])  # else held for a while
    count = f"{FLEET} simulated nodes and {len(nodes)} real ones, {len(NETWORKS)} networks"
    yield Row(
        name="fleet",
        what=f"{count}: until every NodeSubnet exists",
        ours=[seconds],
        goal=20,
        note=f"{len(wanted)} NodeSubnets, none overlaps another",
    )
    yield Row(
        name="operator-memory",
        what=f"operator after that: {count}, resident MiB",
        ours=[operator],
        goal=130,
        unit="MiB",
    )
    yield Row(
        name="agent-memory",
        what=f"agent with {len(names) + len(nodes)} NodeSubnets and {RESIDENT_SANDBOXES} sandboxes,"
        f" resident MiB",
        ours=[agent],
        goal=90,
        worst=110,
        unit="MiB",
    )


def _restart_agent(kube: Kube, node: str) -> None:
    """A new one, which has never held more than there is now."""
    query = f"?labelSelector=app.kubernetes.io/name=podnet-agent&fieldSelector=spec.nodeName={node}"
    (old,) = (each["metadata"]["name"] for each in kube.items(AGENT_PATH + query))
    kube.delete(AGENT_PATH, [old])

    def replaced() -> bool:
        found = kube.items(AGENT_PATH + query)
        return len(found) == 1 and found[0]["metadata"]["name"] != old and is_ready(found[0])

    until(replaced, "a new agent", 60)


def _check(kube: Kube) -> None:
    """AssertionError where two shares overlap."""
    cidrs = sorted(
        IPv4Network(cidr)
        for each in kube.items(SHARE_PATH)
        for cidr in each["spec"]["podCIDRs"]
        if ":" not in cidr
    )
    for one, next_one in pairwise(cidrs):
        assert not one.overlaps(next_one), f"{one} and {next_one} overlap"
