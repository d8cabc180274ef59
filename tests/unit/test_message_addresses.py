"""Addresses and routes packed by hand decode to the same values by pyroute2's classes."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from podnet.objects import HOST, RTPROT, Address, Route
from podnet.plan import Add, Change, Remove
from podnet_agent.message import CREATE, REPLACE
from support.packed import POD, decoded, packed, plain

ROUTE = Route(
    netns=POD,
    destination=ip_network("10.0.0.0/8"),
    gateway=ip_address("172.17.0.1"),
    ifname="eth0",
)
NOWHERE = Route(destination=ROUTE.destination, gateway=None, ifname="", unreachable=True)


@pytest.mark.parametrize(
    ("text", "header", "attributes"),
    [
        (
            "172.17.0.2/16",
            {"family": 2, "prefixlen": 16, "flags": 0, "scope": 0, "index": 2},
            {"IFA_LOCAL": "172.17.0.2", "IFA_BROADCAST": "172.17.255.255"},
        ),
        (
            "10.0.0.4/31",
            {"family": 2, "prefixlen": 31, "flags": 0, "scope": 0, "index": 2},
            {"IFA_LOCAL": "10.0.0.4"},
        ),
        (
            "10.0.0.4/32",
            {"family": 2, "prefixlen": 32, "flags": 0, "scope": 0, "index": 2},
            {"IFA_LOCAL": "10.0.0.4"},
        ),
        (
            "fd00:17::2/64",
            {"family": 10, "prefixlen": 64, "flags": 2, "scope": 0, "index": 2},
            {"IFA_LOCAL": "fd00:17::2"},
        ),
    ],
)
def test_an_address_is_set_and_taken_away(
    text: str, header: dict[str, int], attributes: dict[str, Any]
) -> None:
    address = Address(netns=POD, ifname="eth0", interface=ip_interface(text))
    for operation, expected in (
        (Add(address), (20, CREATE | REPLACE)),
        (Remove(address), (21, 0)),
    ):
        ((kind, flags, body),) = packed(operation)
        message = decoded(ifaddrmsg, body)
        assert (kind, flags) == expected
        assert {name: message[name] for name in header} == header
        assert plain(message) == attributes


@pytest.mark.parametrize(
    ("text", "header", "attributes"),
    [
        (
            "172.17.0.2/16",
            {"family": 2, "dst_len": 16, "scope": 253},
            {"RTA_DST": "172.17.0.0", "RTA_PREFSRC": "172.17.0.2", "RTA_OIF": 2},
        ),
        (
            "fd00:17::2/64",
            {"family": 10, "dst_len": 64, "scope": 0},
            {"RTA_DST": "fd00:17::", "RTA_PRIORITY": 256, "RTA_OIF": 2},
        ),
    ],
)
def test_an_address_without_its_route_gets_the_one_that_the_kernel_would_make(
    text: str, header: dict[str, int], attributes: dict[str, Any]
) -> None:
    address = Address(netns=POD, ifname="eth0", interface=ip_interface(text))
    ((kind, flags, body),) = packed(Change(address, replace(address, routed=False)))
    message = decoded(rtmsg, body)
    header |= {"src_len": 0, "tos": 0, "table": 254, "proto": 2, "type": 1, "flags": 0}
    assert (kind, flags) == (24, CREATE | REPLACE)
    assert {name: message[name] for name in header} == header
    assert plain(message) == attributes


@pytest.mark.parametrize(
    ("route", "header", "attributes"),
    [
        pytest.param(
            ROUTE,
            {"family": 2, "dst_len": 8, "scope": 0},
            {"RTA_DST": "10.0.0.0", "RTA_GATEWAY": "172.17.0.1", "RTA_OIF": 2},
            id="behind a gateway",
        ),
        pytest.param(
            replace(ROUTE, destination=ip_network("0.0.0.0/0")),
            {"family": 2, "dst_len": 0, "scope": 0},
            {"RTA_GATEWAY": "172.17.0.1", "RTA_OIF": 2},
            id="the default route",
        ),
        pytest.param(
            replace(ROUTE, gateway=None),
            {"family": 2, "dst_len": 8, "scope": 253},
            {"RTA_DST": "10.0.0.0", "RTA_OIF": 2},
            id="on the link",
        ),
        pytest.param(
            replace(ROUTE, destination=ip_network("::/0"), gateway=ip_address("fd00:17::1")),
            {"family": 10, "dst_len": 0, "scope": 0},
            {"RTA_GATEWAY": "fd00:17::1", "RTA_OIF": 2},
            id="the default route of IPv6",
        ),
        pytest.param(
            replace(ROUTE, destination=ip_network("fd01::/48"), gateway=None, netns=HOST),
            {"family": 10, "dst_len": 48, "scope": 253},
            {"RTA_DST": "fd01::", "RTA_OIF": 9},
            id="IPv6 on the link of the node",
        ),
        pytest.param(
            replace(NOWHERE, destination=ip_network("10.8.0.0/16")),
            {"family": 2, "dst_len": 16, "scope": 0, "type": 7},
            {"RTA_DST": "10.8.0.0"},
            id="to nowhere",
        ),
        pytest.param(
            replace(NOWHERE, destination=ip_network("fd00:8::/48")),
            {"family": 10, "dst_len": 48, "scope": 0, "type": 7},
            {"RTA_DST": "fd00:8::"},
            id="to nowhere of IPv6",
        ),
    ],
)
def test_a_route_is_set_and_taken_away(
    route: Route, header: dict[str, int], attributes: dict[str, Any]
) -> None:
    same = {"src_len": 0, "tos": 0, "table": 254, "proto": RTPROT, "type": 1, "flags": 0}
    for operation, expected in ((Add(route), (24, CREATE | REPLACE)), (Remove(route), (25, 0))):
        ((kind, flags, body),) = packed(operation)
        message = decoded(rtmsg, body)
        assert (kind, flags) == expected
        assert {name: message[name] for name in same | header} == same | header
        assert plain(message) == attributes


@given(st.ip_addresses(), st.data())
def test_any_address_survives_the_journey(ip: Any, data: st.DataObject) -> None:
    prefix = data.draw(st.integers(0, ip.max_prefixlen))
    address = Address(netns=POD, ifname="eth0", interface=ip_interface(f"{ip}/{prefix}"))
    ((_, _, body),) = packed(Add(address))
    message = decoded(ifaddrmsg, body)
    assert ip_interface(f"{message.get_attr('IFA_LOCAL')}/{message['prefixlen']}") == (
        address.interface
    )
