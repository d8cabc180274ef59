"""S18, S19: everybody reaches everybody and every Service, whatever kube-proxy and nodes do.

Both modes of kube-proxy, br_netfilter on and off, and nodes that are stricter than most.
"""

import contextlib
import json
from collections.abc import Iterator

import pytest
import yaml

from support.cluster import Cluster
from support.crowd import Answer, Crowd, get_into, wrong
from support.host import until

PROXY = ("--namespace=kube-system", "configmap/kube-proxy")
BRIDGED = {f"net.bridge.bridge-nf-call-{table}": "1" for table in ("iptables", "ip6tables")}
ROUTED = {name: "0" for name in BRIDGED}
STRICT = {  # what kind's own nodes, and machines behind load balancers, have
    **{f"net.ipv4.conf.{name}.rp_filter": "1" for name in ("all", "eth0")},
    **{f"net.ipv4.conf.{name}.arp_ignore": "2" for name in ("all", "eth0")},
    **{f"net.ipv4.conf.{name}.route_localnet": "0" for name in ("all", "eth0")},
}
SETTINGS = {
    "routed": ROUTED,
    "bridged": BRIDGED,
    "strict, routed": {**ROUTED, **STRICT},
    "strict, bridged": {**BRIDGED, **STRICT},
}


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def mode(deployed: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """kube-proxy's, on all nodes."""
    before = deployed.get(*PROXY)["data"]["config.conf"]
    wanted = yaml.safe_dump(yaml.safe_load(before) | {"mode": request.param})
    try:
        configure(deployed, wanted)
        yield request.param
    finally:
        configure(deployed, before)


def configure(cluster: Cluster, text: str) -> None:
    """kube-proxy runs with that."""
    data = json.dumps({"data": {"config.conf": text}})
    cluster.kubectl("patch", *PROXY, "--type=merge", "--patch", data)
    program = ("daemonset/kube-proxy", PROXY[0])
    cluster.kubectl("rollout", "restart", *program)
    cluster.kubectl("rollout", "status", *program, "--timeout=240s", timeout=250)


@contextlib.contextmanager
def settings(cluster: Cluster, wanted: dict[str, str]) -> Iterator[None]:
    """Every node has these in the block, and podnet has seen it; then what it had before."""
    nodes = [each["metadata"]["name"] for each in cluster.nodes()]
    before = {
        node: dict(zip(wanted, cluster.node(node, "sysctl", "-n", *wanted).split(), strict=True))
        for node in nodes
    }
    try:
        for node in nodes:
            put(cluster, node, wanted)
        yield
    finally:
        for node in nodes:
            put(cluster, node, before[node])


def put(cluster: Cluster, node: str, wanted: dict[str, str]) -> None:
    """Nobody is told of settings: something of podnet is touched to have it look."""
    cluster.node(node, "sysctl", "-qw", *(f"{name}={value}" for name, value in wanted.items()))
    cluster.node(node, "nft", "add chain inet podnet touched; delete chain inet podnet touched")
    bridged = wanted["net.bridge.bridge-nf-call-iptables"] == "1"
    until(lambda: ports(cluster, node) <= {(bridged, not bridged)}, f"{node}'s ports to follow", 60)


def ports(cluster: Cluster, node: str) -> set[tuple[bool, bool]]:
    """Of those of podnet0: whether a frame may turn round, and whether ports are kept apart."""
    command = ("ip", "-json", "-details", "link", "show", "master", "podnet0")
    links = json.loads(cluster.node(node, *command) or "[]")
    found = [link["linkinfo"]["info_slave_data"] for link in links]
    return {(each["hairpin"], each["isolated"]) for each in found}


def test_proxies_leave_their_mark(deployed: Cluster, mode: str) -> None:
    """Which mode is on: a rule of the other one would serve as well."""
    node, _ = deployed.workers()

    def marks() -> tuple[bool, bool]:
        tables = deployed.node(node, "nft", "list", "tables")
        chains = deployed.node(node, "iptables-save", "--table", "nat")
        return "table ip kube-proxy" in tables, "KUBE-SERVICES" in chains

    wanted = (mode == "nftables", mode == "iptables")
    until(lambda: marks() == wanted, "its rules, which it writes once it is Ready", 60)


@pytest.mark.parametrize("kind", SETTINGS)
def test_all_is_reached_as_it_should_be(
    deployed: Cluster, crowd: Crowd, mode: str, kind: str
) -> None:
    """Pods and sandboxes by address, unmasked; ClusterIP (from behind it too), NodePort of every
    node, hostPort, affinity, DNS; from Pods, sandboxes, a node, and outside.
    """
    last: list[dict[str, list[Answer]]] = []

    def is_well() -> bool:
        last[:] = [wrong(crowd)]
        return not last[0]

    with settings(deployed, SETTINGS[kind]):
        with contextlib.suppress(AssertionError):  # who is wrong still is what tells
            until(is_well, "kube-proxy to have begun", 120)
        assert last == [{}]
        assert wrong(crowd) == {}
        get_into(crowd, "far")
