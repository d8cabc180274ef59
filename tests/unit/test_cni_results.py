"""What ADD answers in each version; what CHECK holds against it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from podnet.attachment import Attachment
from podnet.cni.call import Call
from podnet.cni.config import VERSIONS, Config
from podnet.cni.error import CniError
from podnet.cni.result import compare, result_body
from support.values import DUAL, ROUTED, attachment

NETNS = "/var/run/netns/cni-1"
MADE = attachment(26, "172.17.0.2/16", "fd00:17::2/64")


def call(version: str = "1.1.0", **fields: Any) -> Call:
    return Call("ADD", Config(version, "podnet", **fields), "f00d", "eth0", NETNS)


def test_the_newest_result() -> None:
    assert result_body(call(), DUAL, MADE) == {
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "podnet0", "mac": "02:42:ac:11:00:01", "mtu": 1500},
            {"name": "vethpn1a", "mtu": 1500},
            {"name": "eth0", "mac": "02:42:ac:11:00:02", "sandbox": NETNS, "mtu": 1500},
        ],
        "ips": [
            {"address": "172.17.0.2/16", "gateway": "172.17.0.1", "interface": 2},
            {"address": "fd00:17::2/64", "gateway": "fd00:17::1", "interface": 2},
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "172.17.0.1"},
            {"dst": "::/0", "gw": "fd00:17::1"},
        ],
        "dns": {},
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_has_its_versions_fields_and_no_others(version: str) -> None:
    body = result_body(call(version), DUAL, MADE)
    assert body["cniVersion"] == version
    families = [each.get("version") for each in body["ips"]]
    assert families == (["4", "6"] if version < "1" else [None, None])
    assert ("mtu" in body["interfaces"][0]) == (version == "1.1.0")


def test_in_a_cluster_the_way_to_the_gateway_is_a_route_too() -> None:
    made = attachment(1, "172.17.1.2/32")
    body = result_body(call(), ROUTED, made)
    assert body["ips"] == [{"address": "172.17.1.2/32", "gateway": "172.17.1.1", "interface": 2}]
    assert body["routes"] == [
        {"dst": "172.17.1.1/32"},
        {"dst": "0.0.0.0/0", "gw": "172.17.1.1"},
    ]


def test_what_came_before_stands_first_and_unchanged() -> None:
    previous = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "dummy0", "future": [1]}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}],
        "routes": None,
        "dns": {"search": ["example.org"]},
    }
    before = json.dumps(previous)
    body = result_body(call(previous=previous, dns={"search": ["ours"]}), DUAL, MADE)
    assert body["interfaces"][0] == {"name": "dummy0", "future": [1]}
    assert body["interfaces"][3]["name"] == "eth0"
    assert [each["interface"] for each in body["ips"]] == [0, 3, 3]
    assert body["dns"] == {"search": ["example.org"]}
    assert json.dumps(previous) == before


def test_dns_of_the_configuration_is_handed_on() -> None:
    assert result_body(call(dns={"search": ["ours"]}), DUAL, MADE)["dns"] == {"search": ["ours"]}


def test_check_takes_the_result_of_its_own_add() -> None:
    compare(result_body(call(), DUAL, MADE), MADE)


def test_check_takes_what_later_plugins_have_added_and_changed() -> None:
    body = result_body(call(), DUAL, MADE)
    body["interfaces"][2] |= {"mac": "02:00:00:00:00:01", "mtu": 1400}
    body["interfaces"].append({"name": "ifb0"})
    body["ips"].append({"address": "10.9.0.2/24"})
    compare(body, MADE)


@pytest.mark.parametrize(
    ("change", "made", "said"),
    [
        ({"interfaces": []}, MADE, "no interface eth0"),
        ({"ips": []}, MADE, "no address"),
        ({"ips": [{"address": "x"}]}, MADE, "no address in"),
        ({"ips": [{"address": {}}]}, MADE, "no address in"),
        ({}, replace(MADE, addresses=attachment(1, "172.17.0.9/16").addresses), "172.17.0.9"),
    ],
)
def test_check_tells_a_result_that_is_not_its_adds(
    change: dict[str, Any], made: Attachment, said: str
) -> None:
    with pytest.raises(CniError, match=said) as raised:
        compare(result_body(call(), DUAL, MADE) | change, made)
    assert raised.value.code == 101
