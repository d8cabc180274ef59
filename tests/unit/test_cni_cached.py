"""What libcni wrote about an ADD is read as the call it was, or as nothing."""

import base64
import json
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet.attachment import PublishedPort
from podnet.cni.cached import cached
from podnet.cni.config import ANNOTATION, ANNOTATIONS
from podnet_agent.install import CONFLIST

NETNS = "/var/run/netns/cni-1"
RESULT = {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "podnet0", "mac": "02:42:ac:11:00:01"},
        {"name": "vethpn1f"},
        {"name": "eth0", "mac": "02:42:ac:11:00:02", "sandbox": NETNS},
    ],
    "ips": [
        {"address": "172.17.0.2/16", "gateway": "172.17.0.1", "interface": 2},
        {"address": "fd00:17::2/64", "gateway": "fd00:17::1", "interface": 2},
    ],
    "routes": [{"dst": "0.0.0.0/0", "gw": "172.17.0.1"}],
    "dns": {},
}


def file(conflist: Any = CONFLIST, result: Any = RESULT, **fields: Any) -> dict[str, Any]:
    """As go-cni has it written for a Pod."""
    return {
        "kind": "cniCacheV1",
        "containerId": "f00d",
        "config": base64.b64encode(json.dumps(conflist).encode()).decode(),
        "ifName": "eth0",
        "networkName": "podnet",
        "cniArgs": [
            ["IgnoreUnknown", "1"],
            ["K8S_POD_NAMESPACE", "default"],
            ["K8S_POD_NAME", "web"],
            ["K8S_POD_INFRA_CONTAINER_ID", "f00d"],
        ],
        "capabilityArgs": {
            "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp"}],
            ANNOTATIONS: {ANNOTATION: "blue"},
            "bandwidth": {"ingressRate": 5},
        },
        "result": result,
        **fields,
    }


def text(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_the_call_is_what_it_was() -> None:
    """S10: a capability that the list does not name was not handed on."""
    found = cached(text(file()))
    assert found is not None
    call = found.call
    assert (call.verb, call.container_id, call.ifname, call.netns) == ("ADD", "f00d", "eth0", NETNS)
    assert call.owner == "Pod/default/web"
    assert (call.config.name, call.config.network) == ("podnet", "blue")
    assert call.config.ports == (PublishedPort(8080, 80),)
    assert call.config.addresses == () and call.config.mac is None
    assert found.host_end == "vethpn1f"
    assert found.addresses == (ip_address("172.17.0.2"), ip_address("fd00:17::2"))


def test_what_other_plugins_of_the_chain_added_is_theirs() -> None:
    chain = {**CONFLIST, "plugins": [{"type": "ptp"}, *CONFLIST["plugins"], {"type": "tuning"}]}
    before = {"name": "veth7"}, {"name": "net1", "sandbox": NETNS}
    ips = [{"address": "10.9.0.2/24", "interface": 1}]
    ips += [{**each, "interface": 4} for each in RESULT["ips"]]
    result = RESULT | {"interfaces": [*before, *RESULT["interfaces"]], "ips": ips}
    found = cached(text(file(chain, result)))
    assert found is not None
    assert (found.host_end, found.addresses[0]) == ("vethpn1f", ip_address("172.17.0.2"))


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        file(kind="cniCacheV2"),
        file(config="%"),
        file(config=None),
        file({**CONFLIST, "plugins": [{"type": "bridge"}]}),
        file({"plugins": []}),
        file(containerId="../x"),
        file(ifName="eth1"),
        file(cniArgs=[["K8S_POD_NAME"]]),
        file(cniArgs=5),
        file(capabilityArgs="all"),
        file(capabilityArgs={"portMappings": "all"}),
        file(result=None),
        file(result={}),
        file(result=RESULT | {"cniVersion": "9.9.9"}),
        file(result=RESULT | {"interfaces": RESULT["interfaces"][:2]}),
        file(result=RESULT | {"interfaces": [*RESULT["interfaces"], RESULT["interfaces"][2]]}),
        file(result=RESULT | {"interfaces": RESULT["interfaces"][2:]}),
        file(result=RESULT | {"ips": []}),
        file(result=RESULT | {"ips": [{"address": "x", "interface": 2}]}),
        file(result=RESULT | {"ips": [{"address": "172.17.0.2/16", "interface": 0}]}),
    ],
)
def test_what_tells_of_no_attachment_of_ours_is_nothing(body: Any) -> None:
    assert cached(text(body)) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_nothing(data: bytes) -> None:
    assert cached(data) is None
    assert cached(text(file())[: len(data)]) is None
