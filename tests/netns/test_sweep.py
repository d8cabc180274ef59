"""Links that were given up are deleted beside the writer: who does not need them gone goes on."""

from ipaddress import ip_address

import pytest

from support.host import Host
from support.node import Node
from support.values import NETWORK

LONG, SHORT = 30.0, 0.5
"""Seconds: for what comes to its end, and for what must not."""
ADDRESS = {"addresses": (ip_address("172.17.0.9"),)}


@pytest.fixture
def node(host: Host) -> Node:
    """With a pod that was given up just now: its link waits."""
    node = Node(host)
    node.networks(NETWORK)
    node.attach("old", NETWORK, **ADDRESS)
    node.call("unwire", "old")
    assert "vethpn1" in host.links()
    return node


def beside_a_sweep(node: Node, name: str, seconds: float, **fields: object) -> bool:
    done: bool = node.call("attaches_beside_a_sweep", name, NETWORK.name, fields, seconds)
    return done


def test_another_pod_is_attached_while_links_are_deleted(node: Node) -> None:
    assert beside_a_sweep(node, "new", LONG)
    assert {"vethpn1", "vethpn2"} <= node.host.links().keys()


def test_one_that_wants_the_address_of_such_a_link_waits(node: Node) -> None:
    """S9: nobody has an address twice; and what it waited for is gone when it is attached."""
    assert not beside_a_sweep(node, "new", SHORT, **ADDRESS)
    links = node.host.links()
    assert ("vethpn1" in links, "vethpn2" in links) == (False, True)


def test_what_a_sweep_came_too_early_for_is_left_to_the_next(node: Node) -> None:
    node.attach("other")
    assert node.call("unwire_behind_a_sweep", "other")
    assert "vethpn2" in node.host.links()
