"""Other plugins before and behind podnet in one chain."""

import json
import sys
from pathlib import Path

import pytest

from support.cni import PLUGINS
from support.host import Host
from support.runtime import Runtime, started
from support.traffic import icmp, reach

SHIM = Path(sys.executable).with_name("podnet-cni")
WEB = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}


@pytest.fixture
def cni(host: Host) -> Runtime:
    return started(host)


def test_debians_plugins_work_behind_ours(cni: Runtime) -> None:
    """`tuning` changes what we made, and CHECK of both holds; DEL goes the other way round."""
    pod = cni.pod()
    ours = cni.config | {"cniVersion": "1.0.0"}
    tuning = {"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "500"}}
    behind = {**ours, **tuning}
    _, first = cni.run(SHIM, "ADD", pod, ours)
    _, last = cni.run(PLUGINS / "tuning", "ADD", pod, behind | {"prevResult": first})
    assert pod.interfaces()["eth0"]["mtu"] == 1400
    for program, config in ((SHIM, ours), (PLUGINS / "tuning", behind)):
        assert cni.run(program, "CHECK", pod, config | {"prevResult": last})[0] == 0
    reach(pod.place, icmp(first["ips"][0]["gateway"]))
    for program, config in ((PLUGINS / "tuning", behind), (SHIM, ours)):
        assert cni.run(program, "DEL", pod, config | {"prevResult": last})[0] == 0
    cni.is_empty()


def test_a_long_result_of_who_came_before_comes_back_whole(cni: Runtime) -> None:
    """It is more than a socket's buffer takes at once."""
    pod = cni.pod()
    ours = cni.config | {"cniVersion": "1.0.0"}
    before = [{"name": f"port{number}", "sandbox": "/" * 90} for number in range(6000)]
    previous = {"cniVersion": "1.0.0", "interfaces": before, "ips": []}
    _, said = cni.run(SHIM, "ADD", pod, ours | {"prevResult": previous})
    assert len(json.dumps(said)) > 700_000
    assert said["interfaces"][:-3] == before and said["interfaces"][-1]["name"] == "eth0"
    cni.delete(pod)
    cni.is_empty()


def test_bandwidth_finds_our_host_end_in_the_result(cni: Runtime) -> None:
    """Also where this kernel can't limit: it has found the link, and fails at what it adds."""
    pod = cni.pod()
    ours = cni.config | {"cniVersion": "1.0.0"}
    limits = {"ingressRate": 10**9, "ingressBurst": 10**9}
    behind = {**ours, "type": "bandwidth", **limits}
    _, first = cni.run(SHIM, "ADD", pod, ours)
    code, said = cni.run(
        PLUGINS / "bandwidth", "ADD", pod, behind | {"prevResult": first}, check=False
    )
    host_end = first["interfaces"][1]["name"]
    if code:
        assert "create ingress qdisc" in said["msg"], said
    else:
        assert "tbf" in cni.host.run(["tc", "qdisc", "show", "dev", host_end]).stdout
    cni.run(PLUGINS / "bandwidth", "DEL", pod, behind | {"prevResult": first}, check=False)
    cni.delete(pod)
    cni.is_empty()


def test_bandwidth_without_limits_passes_our_result_on(cni: Runtime) -> None:
    pod = cni.pod()
    ours = cni.config | {"cniVersion": "1.0.0"}
    _, first = cni.run(SHIM, "ADD", pod, ours)
    behind = {**ours, "type": "bandwidth", "prevResult": first}
    assert cni.run(PLUGINS / "bandwidth", "ADD", pod, behind) == (0, first)
    assert cni.run(PLUGINS / "bandwidth", "DEL", pod, behind)[0] == 0
    assert cni.run(SHIM, "DEL", pod, ours | {"prevResult": first})[0] == 0
    cni.is_empty()


def test_ours_behind_another_adds_to_its_result(cni: Runtime) -> None:
    pod = cni.pod()
    before = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "dummy0", "sandbox": pod.netns}],
        "ips": [{"address": "10.9.0.2/24", "interface": 0}],
        "dns": {"search": ["example.org"]},
    }
    result = cni.add(pod, prevResult=before)
    assert [each["name"] for each in result["interfaces"]][0::3] == ["dummy0", "eth0"]
    assert [each["interface"] for each in result["ips"]] == [0, 3]
    cni.check(pod, result)
