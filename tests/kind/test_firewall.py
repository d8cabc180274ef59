"""A node whose firewall drops what is forwarded, as Docker's does; what doctor says in a Pod."""

from collections.abc import Iterator

import pytest

from support.cluster import Cluster
from support.host import until
from support.plane import Body, in_agent


@pytest.fixture(params=["iptables-nft", "iptables-legacy"])
def dropping(deployed: Cluster, request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """The first worker, and the iptables by which its FORWARD chain drops."""
    node, command = deployed.workers()[0], request.param
    set_policy(deployed, node, command, "DROP")
    try:
        yield node, command
    finally:
        set_policy(deployed, node, command, "ACCEPT")


def set_policy(cluster: Cluster, node: str, command: str, policy: str) -> None:
    """Of the FORWARD chain. Nobody is told: something of podnet is touched to have it look."""
    cluster.node(node, command, "-P", "FORWARD", policy)
    cluster.node(node, "nft", "add chain inet podnet touched; delete chain inet podnet touched")


def test_a_node_that_drops_gets_its_exceptions_by_its_own_iptables(
    deployed: Cluster,
    pair: tuple[Body, Body],
    dropping: tuple[str, str],
) -> None:
    node, command = dropping
    here, there = pair
    address = there["status"]["podIPs"][0]["ip"]

    def rules() -> list[str]:
        said = deployed.node(node, command, "-S", "FORWARD").splitlines()
        return [line for line in said if "podnet0" in line]

    until(lambda: len(rules()) == 2, "two exceptions", 180)
    for one, other in ((here, address), (there, here["status"]["podIPs"][0]["ip"])):
        assert "1 packets received" in deployed.inside(one, "ping", "-c", "1", "-W", "2", other)
    other_command = ({"iptables-nft", "iptables-legacy"} - {command}).pop()
    assert "podnet0" not in deployed.node(node, other_command, "-S", "FORWARD")
    said = in_agent(deployed, node, "podnet", "doctor")
    assert "podnet makes its exceptions in FORWARD" in said
    set_policy(deployed, node, command, "ACCEPT")
    until(lambda: rules() == [], "no exception where nothing drops", 180)


def test_doctor_asks_in_a_pod_for_what_is_needed_there(deployed: Cluster) -> None:
    node = deployed.workers()[0]
    said = in_agent(deployed, node, "podnet", "doctor")
    assert said.splitlines()[-1] == "this machine is fit for podnet"
    assert "/run/containerd/containerd.sock" in said
    assert "conmon" not in said
