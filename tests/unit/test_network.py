"""What a network is on a machine alone, and on a node among others."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from podnet.api.manifest import from_body
from podnet.api.podnetwork import PodNetwork
from podnet.network import resolve
from support.values import NODE, V4, V6

BODY = {"apiVersion": "podnet.dev/v1alpha1", "kind": "PodNetwork", "metadata": {"name": "blue"}}
PODNETWORK = from_body(BODY | {"spec": {}}, PodNetwork)
SHARE = ip_network("172.17.3.0/24")


@pytest.mark.parametrize("bridged", [False, True], ids=["bridged past nft", "through nft"])
def test_flags_follow_from_neighbours_and_netfilter(bridged: bool) -> None:
    """The table of datapath.md: who is masqueraded, turns round on its port, is kept off."""
    node = replace(NODE, bridge_netfilter=bridged)
    alone = resolve(PODNETWORK, (V4,), (V4,), node)
    among = resolve(PODNETWORK, (V4,), (SHARE,), node, ())
    assert (alone.on_link, alone.closed, alone.isolated_ports) == (True, True, False)
    assert (alone.hairpin, alone.masquerade_neighbours) == (bridged, not bridged)
    assert (among.on_link, among.closed, among.isolated_ports) == (False, False, not bridged)
    assert (among.hairpin, among.masquerade_neighbours) == (bridged, False)


@pytest.mark.parametrize("bridged", [False, True], ids=["bridged past nft", "through nft"])
def test_a_shortcut_is_for_nodes_among_others_whose_bridges_translate_nothing(
    bridged: bool,
) -> None:
    able = replace(NODE, bridge_netfilter=bridged, shortcuts=True)
    assert resolve(PODNETWORK, (V4,), (SHARE,), able, ()).shortcut is not bridged
    assert not resolve(PODNETWORK, (V4,), (V4,), able).shortcut
    assert not resolve(PODNETWORK, (V4,), (SHARE,), NODE, ()).shortcut


def test_a_pods_address_has_the_shares_prefix_or_a_whole_one() -> None:
    alone = resolve(PODNETWORK, (V4, V6), (V4, V6), NODE)
    among = resolve(PODNETWORK, (V4,), (SHARE,), NODE, ())
    assert alone.interface(V4, 2) == ip_interface("172.17.0.2/16")
    assert alone.interface(V6, 2) == ip_interface("fd00:17::2/64")
    assert among.interface(SHARE, 2) == ip_interface("172.17.3.2/32")


def test_the_gateway_is_of_this_nodes_share() -> None:
    among = resolve(PODNETWORK, (V4,), (SHARE,), NODE, ())
    assert among.gateway(4) == ip_address("172.17.3.1")
    assert among.gateway(6) is None
