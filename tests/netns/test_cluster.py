"""Nodes of a cluster, each with an agent on one API server: the flat plane between sandboxes."""

from collections.abc import Callable

import pytest

from support.host import Host
from support.nodes import Nodes
from support.traffic import reach, serve, tcp


@pytest.fixture
def cluster(make_host: Callable[..., Host]) -> Nodes:
    """Two nodes with a share each of the network `default`."""
    cluster = Nodes(make_host)
    cluster.api.network("default", "10.1.0.0/16", "fd01::/48")
    cluster.api.share("default", "a", "10.1.1.0/24", "fd01:0:0:1::/64")
    cluster.api.share("default", "b", "10.1.2.0/24", "fd01:0:0:2::/64")
    cluster.node("a", 1)
    cluster.node("b", 2)
    return cluster


def test_sandboxes_of_two_nodes_see_each_others_addresses(cluster: Nodes) -> None:
    for name, node in ("web", "a"), ("client", "b"):
        cluster.api.sandbox(name, node)
    for name in ("web", "client"):
        cluster.api.wait_ready("PodSandbox", name)
    with serve(cluster.place("web"), 80):
        for family in (0, 1):
            answer = reach(cluster.place("client"), tcp(cluster.ip("web", family), 80))
            assert answer.peer == cluster.ip("client", family)
