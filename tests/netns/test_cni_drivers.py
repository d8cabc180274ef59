"""The official drivers run Pods on podnet, and on the CNI project's plugins beside it."""

import json
import time
from collections.abc import Callable

import pytest

from support.cri import CONFIGURATIONS, Cnitool, Cri, Pod, namespace
from support.leaks import QUEUE, traces, until_same
from support.podnet import Podnet
from support.traffic import Place, icmp, reach, serve, tcp


@pytest.fixture
def podnet(cri: Cri) -> Podnet:
    """podnet is its network."""
    return cri.with_podnet()


@pytest.mark.parametrize("plugin", ["podnet", "foreign"])
def test_containers_of_a_pod_share_a_network_and_pods_reach_each_other(
    cri: Cri, plugin: str, request: pytest.FixtureRequest
) -> None:
    if plugin == "podnet":
        request.getfixturevalue("podnet")
    else:
        cri.with_others("20-foreign.conflist")
    cri.remove(cri.run("first", alone=True).id)  # what stays is made with the first
    before = traces(cri.host)
    one, two = cri.run("one", (8080, 80)), cri.run("two")
    assert one.ip != two.ip
    assert cri.fetch(one, "127.0.0.1") == "one"
    assert cri.fetch(one, two.ip) == "two"
    assert cri.fetch(two, one.ip) == "one"
    assert cri.logs(one) == "one serves"
    node = "10.88.0.1" if plugin == "foreign" else "172.17.0.1"
    assert cri.fetch(two, f"{node}:8080") == "one"
    there = traces(cri.host)
    assert {"links", "namespaces", "results"} <= {
        kind for kind in there if there[kind] != before[kind]
    }
    cri.remove(one.id, two.id)
    assert cri.pods() == {}
    until_same(cri.host, before)


# --- cnitool: every verb ---


def test_cnitool_adds_checks_and_deletes(cri: Cri, podnet: Podnet) -> None:
    tool, netns = Cnitool(cri.host, "podnet"), namespace(cri.host, "tool")
    tool.run("status", netns)
    before = traces(cri.host)
    result = tool.add(netns, portMappings=[{"hostPort": 8080, "containerPort": 80}])
    assert result["cniVersion"] == "1.1.0"
    (address,) = [ip["address"].split("/")[0] for ip in result["ips"]]
    reach(Place(cri.host, netns), icmp(result["ips"][0]["gateway"]))
    with serve(Place(cri.host, netns), 80, name="tool"):
        reach(Place(cri.host), tcp(address, 80))
        reach(Place(cri.host), tcp("172.17.0.1", 8080))
    tool.run("check", netns)
    cri.host.run(["ip", "address", "flush", "dev", "eth0"], netns=netns)
    refused = tool.run("check", netns, check=False)
    assert (refused.returncode, "address" in refused.stderr) == (1, True)
    for _ in range(3):
        tool.run("del", netns)
    until_same(cri.host, before)


def test_cnitool_runs_a_chain_with_others_before_and_behind(cri: Cri, podnet: Podnet) -> None:
    """Without `bandwidth`: Debian's panics in a CHECK where nothing is limited."""
    plugins = [
        {"type": "loopback"},
        {"type": "podnet-cni", "capabilities": {"portMappings": True}},
        {"type": "tuning", "mtu": 1400, "sysctl": {"net.core.somaxconn": "500"}},
    ]
    chain = {"cniVersion": "1.0.0", "name": "chain", "plugins": plugins}
    cri.host.path(f"{CONFIGURATIONS}/50-chain.conflist").write_text(json.dumps(chain))
    tool, netns = Cnitool(cri.host, "chain"), namespace(cri.host, "tool")
    before = traces(cri.host)
    result = tool.add(netns, portMappings=[{"hostPort": 8080, "containerPort": 80}])
    assert [each["name"] for each in result["interfaces"]][0::3] == ["lo", "eth0"]
    address, gateway = result["ips"][-1]["address"].split("/")[0], result["ips"][-1]["gateway"]
    (link,) = cri.host.ip_json("link", "show", "eth0", netns=netns)
    assert link["mtu"] == 1400
    reach(Place(cri.host, netns), icmp(gateway))
    with serve(Place(cri.host, netns), 80, name="tool"):
        reach(Place(cri.host), tcp(address, 80))
        reach(Place(cri.host), tcp(gateway, 8080))
    tool.run("check", netns)
    tool.run("del", netns)
    until_same(cri.host, before)


def test_cnitool_collects_what_is_left(cri: Cri, podnet: Podnet) -> None:
    """It says that nothing is valid only by DEL of all it knows; GC itself names nothing then."""
    tool = Cnitool(cri.host, "podnet")
    spaces = [namespace(cri.host, f"tool{number}") for number in range(3)]
    before = traces(cri.host)
    for netns in spaces:
        tool.add(netns)
    tool.run("gc", spaces[0])
    until_same(cri.host, before)


def test_cnitool_is_told_why_nothing_can_be_added(cri: Cri, podnet: Podnet) -> None:
    """S29: without an agent ADD, CHECK and STATUS fail at once, DEL and GC are done later."""
    tool, netns = Cnitool(cri.host, "podnet"), namespace(cri.host, "tool")
    other = namespace(cri.host, "other")
    before = traces(cri.host)
    tool.add(netns)
    tool.add(other)
    podnet.kill()
    for verb in ("status", "check", "add"):
        assert "agent" in tool.run(verb, netns, check=False).stderr
    tool.run("del", netns)
    assert waiting(cri) == ["DEL"]
    tool.run("gc", other)  # of what it knows: a DEL of the other, before GC itself
    assert waiting(cri) == ["DEL", "DEL", "GC"]
    podnet.agent()
    until_same(cri.host, before)


def waiting(cri: Cri) -> list[str]:
    """The verbs of the calls that are done later, in their order."""
    files = sorted(cri.host.path(QUEUE).iterdir())
    heads = [file.read_text().partition("\r\n\r\n")[0].splitlines() for file in files]
    name = "Cni-Command: "
    return [line.removeprefix(name) for head in heads for line in head if line.startswith(name)]


# --- what ends in the middle, and the node that is booted ---

ROUNDS = 20
STEP_SECONDS = 0.006
"""Between one round's end and the next one's: making a Pod takes some 20 of them."""


def cut(cri: Cri, end: Callable[[], None], seconds: float) -> Pod:
    """End something so long after a Pod was begun and another's end too; that other one."""
    gone = cri.run("gone", alone=True)
    begun = cri.begin("runp", cri.file("new")), cri.begin("stopp", gone.id)
    time.sleep(seconds)  # each round ends it at another step
    end()
    for each in begun:
        each.wait()
    return gone


@pytest.mark.timeout(600)
def test_containerd_killed_in_the_middle_leaks_nothing(cri: Cri, podnet: Podnet) -> None:
    """S36: while a Pod is made and another one removed; one that stands is not touched."""
    kept = cri.run("kept")
    before = traces(cri.host)
    for number in range(ROUNDS):
        cut(cri, cri.stop, number * STEP_SECONDS)
        cri.start()
        cri.remove(*(key for key in cri.pods() if key != kept.id))
        cri.remove_forgotten(before["namespaces"])
        until_same(cri.host, before)
    assert cri.fetch(kept, kept.ip) == "kept"


@pytest.mark.timeout(600)
def test_an_agent_killed_in_the_middle_leaks_nothing(cri: Cri, podnet: Podnet) -> None:
    """S3, S29: a Pod that was refused is made again, as the kubelet does."""
    kept = cri.run("kept")
    before = traces(cri.host)
    for number in range(ROUNDS):
        gone = cut(cri, podnet.kill, number * STEP_SECONDS)
        podnet.agent()
        new = cri.run("new", attempt=1, alone=True)
        assert len({kept.ip, gone.ip, new.ip}) == 3
        reach(new.place, icmp(kept.ip))
        cri.remove(*(key for key in cri.pods() if key != kept.id))
        until_same(cri.host, before)
    assert cri.fetch(kept, kept.ip) == "kept"


@pytest.mark.timeout(600)
def test_a_node_that_is_booted_again_and_again_loses_no_address(cri: Cri, podnet: Podnet) -> None:
    """S1: the kubelet finds its Pods dead, removes them and makes others."""
    cri.remove(cri.run("first", alone=True).id)
    before = traces(cri.host)
    for _ in range(ROUNDS):
        pods = [cri.run(name, alone=True) for name in ("one", "two")]
        podnet.kill()
        cri.reboot()
        podnet.agent()
        cri.start()
        assert cri.pods().keys() == {pod.id for pod in pods}
        cri.remove(*cri.pods())
        until_same(cri.host, before)
    one, two = cri.run("one"), cri.run("two")
    assert cri.fetch(one, two.ip) == "two"
