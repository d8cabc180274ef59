"""Links packed by hand decode to the same values by pyroute2's classes; the format itself."""

import struct
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from podnet.addresses import mac_for
from podnet.objects import (
    TRASH_GROUP,
    Bridge,
    Element,
    Endpoint,
    ForwardAccept,
    Interface,
    Namespace,
    Ruleset,
    Shortcut,
    Sysctl,
)
from podnet.plan import Add, Change, Operation, Remove
from podnet_agent.message import ACK, CREATE, EXCL, REQUEST, attr, batch, delete_trash
from support import values
from support.packed import NETNS_FD, POD, decoded, packed, plain

VETH = replace(
    values.VETH, mtu=1450, hairpin=True, pod_netns=POD, alias="podnet PodSandbox/default/wéb"
)
BRIDGE = Bridge(name="podnet0", mac="02:42:ac:11:00:01", mtu=1500, alias="podnet PodNetwork/a")
INTERFACE = Interface(netns=POD, ifname="eth0", mac="02:42:ac:11:00:02", mtu=1450)


def link(body: bytes) -> tuple[Mapping[str, Any], Any]:
    """The header of a link message, and its attributes."""
    message = decoded(ifinfmsg, body)
    return {k: message[k] for k in ("family", "index", "flags", "change")}, plain(message)


UP = {"family": 0, "index": 0, "flags": 1, "change": 1}
DOWN = {"family": 0, "index": 0, "flags": 0, "change": 1}
AS_IT_IS = {"family": 0, "index": 0, "flags": 0, "change": 0}
PORT = {
    "IFLA_IFNAME": "vethpn1a",
    "IFLA_IFALIAS": "podnet PodSandbox/default/wéb",
    "IFLA_AF_SPEC": {"AF_INET6": {"IFLA_INET6_ADDR_GEN_MODE": 1}},
    "IFLA_LINKINFO": {
        "IFLA_INFO_SLAVE_KIND": "bridge",
        "IFLA_INFO_SLAVE_DATA": {"IFLA_BRPORT_MODE": 1, "IFLA_BRPORT_ISOLATED": 0},
    },
}


def test_a_pair_is_made_whole_in_one_message_and_finished_in_another() -> None:
    (make, flags, body), (finish, later, rest) = packed(Add(VETH))
    assert (make, flags, finish, later) == (16, CREATE | EXCL, 16, 0)
    header, found = link(body)
    peer = found["IFLA_LINKINFO"]["IFLA_INFO_DATA"].pop("VETH_INFO_PEER")
    assert header == UP
    assert found == {
        "IFLA_IFNAME": "vethpn1a",
        "IFLA_MTU": 1450,
        "IFLA_MASTER": 4,
        "IFLA_NUM_TX_QUEUES": 1,
        "IFLA_NUM_RX_QUEUES": 1,
        "IFLA_LINKINFO": {"IFLA_INFO_KIND": "veth", "IFLA_INFO_DATA": {}},
    }
    assert peer == {
        "IFLA_IFNAME": "eth0",
        "IFLA_ADDRESS": "02:42:ac:11:00:02",
        "IFLA_MTU": 1450,
        "IFLA_NET_NS_FD": NETNS_FD,
        "IFLA_NUM_TX_QUEUES": 1,
        "IFLA_NUM_RX_QUEUES": 1,
    }
    assert link(rest) == (AS_IT_IS, PORT)


def test_a_changed_pair_gets_what_can_be_changed() -> None:
    (kind, flags, body), (_, _, rest) = packed(Change(VETH, replace(VETH, up=False)))
    assert (kind, flags) == (19, 0)
    assert link(body) == (
        UP,
        {"IFLA_IFNAME": "vethpn1a", "IFLA_MTU": 1450, "IFLA_MASTER": 4},
    )
    assert link(rest) == (AS_IT_IS, PORT)


@pytest.mark.parametrize(("hairpin", "isolated"), [(False, True), (True, True), (False, False)])
def test_port_flags_are_the_pairs(hairpin: bool, isolated: bool) -> None:
    _, (_, _, body) = packed(Add(replace(VETH, hairpin=hairpin, isolated=isolated)))
    assert link(body)[1]["IFLA_LINKINFO"]["IFLA_INFO_SLAVE_DATA"] == {
        "IFLA_BRPORT_MODE": int(hairpin),
        "IFLA_BRPORT_ISOLATED": int(isolated),
    }


def test_a_pair_goes_silent_and_into_the_trash() -> None:
    ((kind, flags, body),) = packed(Remove(VETH))
    assert (kind, flags) == (19, 0)
    assert link(body) == (
        DOWN,
        {"IFLA_IFNAME": "vethpn1a", "IFLA_MASTER": 0, "IFLA_GROUP": TRASH_GROUP},
    )


def test_the_trash_goes_in_one_message() -> None:
    kind, flags, body = delete_trash()
    assert (kind, flags) == (17, 0)
    assert link(body) == (AS_IT_IS, {"IFLA_GROUP": TRASH_GROUP})


def test_a_bridge_is_made_changed_and_deleted() -> None:
    name = {"IFLA_IFNAME": "podnet0"}
    mac = name | {"IFLA_ADDRESS": "02:42:ac:11:00:01"}
    facts = (AS_IT_IS, name | {"IFLA_MTU": 1500, "IFLA_IFALIAS": "podnet PodNetwork/a"})
    snooping = {"IFLA_BR_MCAST_SNOOPING": 0}
    bridge = {"IFLA_LINKINFO": {"IFLA_INFO_KIND": "bridge", "IFLA_INFO_DATA": snooping}}
    (kind, flags, body), (other, later, rest) = packed(Add(BRIDGE))
    assert (kind, flags, other, later) == (16, CREATE | EXCL, 19, 0)
    assert link(body) == (AS_IT_IS, mac | bridge)
    assert link(rest) == facts
    (kind, flags, body), (_, _, rest) = packed(Change(BRIDGE, BRIDGE))
    assert (kind, flags) == (16, 0)
    assert (link(body), link(rest)) == ((AS_IT_IS, mac | bridge), facts)
    ((kind, flags, body),) = packed(Remove(BRIDGE))
    assert (kind, flags) == (17, 0)
    assert link(body) == (AS_IT_IS, {"IFLA_IFNAME": "podnet0"})


@pytest.mark.parametrize(
    ("operation", "header", "attributes"),
    [
        pytest.param(Add(INTERFACE), UP, {}, id="up"),
        pytest.param(
            Change(INTERFACE, INTERFACE),
            UP,
            {"IFLA_ADDRESS": "02:42:ac:11:00:02", "IFLA_MTU": 1450},
            id="mended and up",
        ),
        pytest.param(
            Change(replace(INTERFACE, mac=None, mtu=None), INTERFACE), UP, {}, id="lo has neither"
        ),
        pytest.param(Remove(INTERFACE), DOWN, {}, id="down"),
    ],
)
def test_an_interface_goes(
    operation: Operation, header: dict[str, int], attributes: dict[str, Any]
) -> None:
    ((kind, flags, body),) = packed(operation)
    assert (kind, flags) == (19, 0)
    assert link(body) == (header, {"IFLA_IFNAME": "eth0"} | attributes)


@given(st.ip_addresses(), st.integers(68, 65535))
def test_any_pair_survives_the_journey(ip: Any, mtu: int) -> None:
    veth = replace(VETH, pod_mac=mac_for(ip), mtu=mtu)
    (_, _, body), _ = packed(Add(veth))
    found = link(body)[1]
    peer = found["IFLA_LINKINFO"]["IFLA_INFO_DATA"]["VETH_INFO_PEER"]
    assert (peer["IFLA_ADDRESS"], peer["IFLA_MTU"], found["IFLA_MTU"]) == (veth.pod_mac, mtu, mtu)


@given(st.integers(0, 0xFFFF), st.binary(max_size=40))
def test_an_attribute_is_padded_to_four_bytes(kind: int, data: bytes) -> None:
    found = attr(kind, data)
    size, number = struct.unpack_from("=HH", found)
    assert (size, number, found[4:size], len(found) % 4) == (4 + len(data), kind, data, 0)
    assert set(found[size:]) <= {0} and len(found) - size < 4


@given(st.lists(st.tuples(st.integers(16, 30), st.integers(0, 0xFFFF), st.binary(max_size=9))))
def test_a_batch_numbers_its_messages_and_asks_for_every_answer(
    items: list[tuple[int, int, bytes]],
) -> None:
    aligned = [(kind, flags & 0xFFFA, attr(1, body)) for kind, flags, body in items]
    data, at = batch(aligned, 1000), 0
    found: list[tuple[int, int, bytes]] = []
    while at < len(data):
        size, kind, flags, sequence, port = struct.unpack_from("=IHHII", data, at)
        assert flags & (REQUEST | ACK) == REQUEST | ACK and port == 0
        assert sequence == 1000 + len(found)
        found.append((kind, flags & ~(REQUEST | ACK), data[at + 16 : at + size]))
        at += size
    assert at == len(data) and found == aligned


@pytest.mark.parametrize(
    "thing",
    [
        Namespace(path=POD),
        Sysctl(name="a", value="1"),
        Ruleset(version="1"),
        Element(container="pn_bridges", match="podnet0"),
        ForwardAccept(command="iptables", chain="FORWARD", direction="-i", bridge="podnet0"),
        Shortcut(ifname="podnet0", version="1"),
        Endpoint(address=ip_address("10.1.1.2"), host_end="vethpn1"),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_other_kinds_do_not_travel_by_rtnetlink(thing: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(thing).__name__} does not travel by rtnetlink"):
        packed(Add(thing))
