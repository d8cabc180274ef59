"""CNI's verbs against a real kernel: what ADD makes, what CHECK and STATUS say of it."""

import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from podnet.cni.config import ANNOTATION, ANNOTATIONS, VERSIONS
from support.host import Host, until
from support.leaks import traces, until_same
from support.manifests import manifest
from support.podnet import hours_later
from support.runtime import (
    SANDBOX,
    Pod,
    Refused,
    Runtime,
    address,
    address_gateway,
    ports,
    request,
    started,
)
from support.traffic import Place, blocked, icmp, reach
from support.usage import agent_pid, descriptors


@pytest.fixture(scope="module")
def shared() -> Iterator[Runtime]:
    """A host with an agent, for tests that leave it as it was."""
    with Host("cni") as host:
        yield started(host)


@pytest.fixture
def cni(shared: Runtime) -> Iterator[Runtime]:
    yield shared
    shared.collect()
    shared.is_empty()


@pytest.fixture
def own(host: Host) -> Runtime:
    """One of the test's own."""
    return started(host)


def refusal(cni: Runtime, verb: str, pod: Pod | None, **config: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        cni.call(verb, pod, **config)
    return raised.value


def network(name: str, subnet: str, **spec: Any) -> str:
    return manifest(json.dumps({"subnets": [subnet], **spec}), "PodNetwork", name)


# --- ADD ---


@pytest.mark.parametrize("version", VERSIONS)
def test_a_pod_has_what_the_result_says(cni: Runtime, version: str) -> None:
    pod = cni.pod()
    result = cni.add(pod, cniVersion=version)
    assert result["cniVersion"] == version
    bridge, host_end, inside = result["interfaces"]
    assert [bridge["name"], inside["name"], inside["sandbox"]] == ["podnet0", "eth0", pod.netns]
    assert cni.host.links()[host_end["name"]]["master"] == "podnet0"
    link = pod.interfaces()["eth0"]
    assert link["address"] == inside["mac"]
    (found,) = [each for each in link["addr_info"] if each["family"] == "inet"]
    (given,) = result["ips"]
    assert f"{found['local']}/{found['prefixlen']}" == given["address"]
    assert given["interface"] == 2
    routes = cni.host.ip_json("route", netns=pod.netns)
    assert {"dst": "default", "gateway": given["gateway"]}.items() <= routes[0].items()
    reach(pod.place, icmp(given["gateway"]))


def test_pods_by_cni_and_sandboxes_reach_each_other_and_are_listed_together(cni: Runtime) -> None:
    cni.podnet.up(json.dumps(SANDBOX))
    pod = cni.pod("web")
    ip = address(cni.add(pod))
    reach(pod.place, icmp(cni.podnet.ip("other")))
    reach(cni.podnet.place("other"), icmp(ip))
    listed = cni.podnet.run("get", "attachments").stdout.splitlines()
    assert listed[0].split()[:4] == ["OWNER", "INTERFACE", "NETWORK", "ADDRESSES"]
    assert [line.split()[:2] for line in listed[1:]] == [
        ["PodSandbox/default/other", "eth0"],
        ["Pod/default/web", "eth0"],
    ]
    assert pod.container_id in cni.podnet.run("get", "attachments", "-o", "wide").stdout
    cni.podnet.run("delete", "podsandbox", "other", "--grace-period=0")


def test_explain_tells_of_a_pod_what_it_tells_of_a_sandbox(cni: Runtime) -> None:
    pod = cni.pod("web")
    result = cni.add(pod, **ports((8080, 80)))
    said = cni.podnet.run("explain", "pod/web").stdout
    for part in (
        "Pod default/web  Attached, Bridge mode, PodNetwork default",
        f"netns {pod.netns.removeprefix('/var')}, inode",
        f"address {result['ips'][0]['address']} on eth0  <- PodNetwork/default spec.subnets",
        "nft pn_any4 { tcp . 8080",
        "<- Pod/default/web CNI runtimeConfig.portMappings",
        f"podnet0's ports: {result['interfaces'][1]['name']} (web)",
        f"ip -n cni-{pod.container_id} link set eth0 up",
    ):
        assert part in said
    cni.host.run(["ip", "link", "set", "eth0", "down"], netns=pod.netns)
    damaged = cni.podnet.run("explain", "pod", "web", check=False)
    assert (damaged.returncode, "✘ interface eth0" in damaged.stdout) == (1, True)
    gone = cni.podnet.run("explain", "pod/nobody", check=False)
    assert (gone.returncode, "Pod/default/nobody" in gone.stderr) == (1, True)


def test_the_printed_commands_do_what_add_did(cni: Runtime) -> None:
    """The plan is honest for a namespace that is not under /run/netns too."""
    process = cni.host.popen(["unshare", "--net", "sleep", "1000"], stdout=subprocess.DEVNULL)
    inside = until(
        lambda: cni.host.run(["pgrep", "-f", "^sleep 1000"], check=False).stdout.split(),
        "a process",
    )[-1]
    netns = f"/proc/{inside}/ns/net"
    pod = Pod(cni.host, "", "by-process")
    body = cni.answer(cni.ask(request("ADD", pod, cni.config, netns=netns, args=None)))
    assert body is not None
    _, answer = cni.podnet.request("GET", "/explain/containers/-/by-process")
    assert {line["verdict"] for line in answer["lines"]} == {"right"}
    cni.answer(cni.ask(request("DEL", pod, cni.config)))
    cni.swept()
    script = "\n".join(command for line in answer["lines"] for command in line["commands"])
    assert f"nsenter --net={netns}" in script
    cni.host.run(["sh", "-e"], input=script)
    reach(Place(cni.host, netns), icmp(body["ips"][0]["gateway"]))
    process.kill()
    process.wait()


def test_a_second_add_is_refused_and_the_first_attachment_stays(cni: Runtime) -> None:
    """S4: and another sandbox of the same Pod is another attachment."""
    pod = cni.pod("web")
    result = cni.add(pod)
    before = pod.interfaces(), cni.attachments()
    refused = refusal(cni, "ADD", pod)
    assert (refused.code, "exists already" in str(refused)) == (100, True)
    assert (pod.interfaces(), cni.attachments()) == before
    again = cni.pod("web")
    assert address(cni.add(again)) != address(result)
    said = cni.podnet.run("explain", "pod/web").stdout
    assert address(result) in said and said.count(" --- ") == 2


def test_an_interface_of_that_name_is_in_the_way(cni: Runtime) -> None:
    pod = cni.pod()
    cni.host.run(["ip", "link", "add", "eth0", "type", "veth"], netns=pod.netns)
    refused = refusal(cni, "ADD", pod)
    assert (refused.code, "eth0 exists already" in str(refused)) == (100, True)
    assert cni.attachments() == []


def test_addresses_and_macs_can_be_asked_for(cni: Runtime) -> None:
    """S12, S21: a MAC is there from the beginning."""
    pod = cni.pod()
    wanted = {"ips": ["172.17.9.9/16"], "mac": "02:00:00:00:09:09"}
    result = cni.add(pod, runtimeConfig=wanted)
    assert address(result) == "172.17.9.9"
    assert pod.interfaces()["eth0"]["address"] == "02:00:00:00:09:09"
    for given, said in [
        ({"ips": ["172.17.9.9"]}, "is taken by Pod/default/web"),
        ({"ips": ["10.9.9.9"]}, "lies outside"),
        ({"ips": ["172.17.0.1"]}, "is the gateway"),
        ({"ips": ["172.17.0.0"]}, "is the network address"),
        ({"ips": ["172.17.255.255"]}, "is the broadcast address"),
        ({"ips": ["fd00::9"]}, "has no IPv6 subnet"),
        ({"mac": "02:00:00:00:09:09"}, "is taken"),
    ]:
        other = cni.pod("other")
        refused = refusal(cni, "ADD", other, runtimeConfig=given)
        assert (refused.code, said in str(refused)) == (100, True), str(refused)
        assert other.interfaces() == {}
    assert len(cni.attachments()) == 1


def test_the_configuration_or_an_annotation_chooses_the_network(own: Runtime) -> None:
    own.podnet.apply(network("blue", "10.7.0.0/16"))
    for config in (
        {"podNetwork": "blue"},
        {"runtimeConfig": {ANNOTATIONS: {ANNOTATION: "blue"}}},
    ):
        pod = own.pod("web")
        ip = address(own.add(pod, **config))
        assert ip.startswith("10.7.")
    other = own.pod("other")
    blocked(other.place, icmp(ip), beside=icmp(address_gateway(own.add(other))))
    missing = refusal(own, "ADD", own.pod(), podNetwork="red")
    assert (missing.code, "PodNetwork/red is not on this node" in str(missing)) == (11, True)
    used = own.podnet.run("delete", "podnetwork", "blue", check=False)
    assert "is in use by Pod default/web" in used.stderr


# --- what is given by the runtime ---


@pytest.mark.parametrize(
    "netns", ["/run/netns/nobody", "/etc/hostname", "/proc/self/ns/mnt", "/run", "/dev/zero"]
)
def test_what_is_no_network_namespace_is_refused(cni: Runtime, netns: str) -> None:
    pod = Pod(cni.host, "web", "x")
    with pytest.raises(Refused) as raised:
        cni.answer(cni.ask(request("ADD", pod, cni.config, netns=netns)))
    assert (raised.value.code, raised.value.body["msg"]) == (4, "invalid CNI_NETNS")
    assert cni.attachments() == []


def test_the_nodes_own_namespace_is_refused(cni: Runtime) -> None:
    for netns in ("/proc/1/ns/net", "/proc/self/ns/net"):
        with pytest.raises(Refused, match="the node's own") as raised:
            cni.answer(cni.ask(request("ADD", Pod(cni.host, "web", "x"), cni.config, netns=netns)))
        assert raised.value.code == 4


# --- CHECK ---


def test_check_holds_the_kernel_against_what_add_made(cni: Runtime) -> None:
    pod = cni.pod()
    result = cni.add(pod, **ports((8082, 80)))
    cni.check(pod, result)
    damages = [
        (["ip", "route", "del", "default"], "route"),
        (["ip", "address", "flush", "dev", "eth0"], "address"),
        (["ip", "link", "set", "eth0", "down"], "interface"),
    ]
    for command, kind in damages:
        cni.host.run(command, netns=pod.netns)
        refused = refusal(cni, "CHECK", pod, prevResult=result)
        assert (refused.code, f"{kind} " in str(refused)) == (101, True)
    _, answer = cni.podnet.request("GET", "/explain/pods/default/web")
    assert {line["verdict"] for line in answer["lines"]} == {"right", "missing"}


def test_check_tells_results_and_sandboxes_apart(cni: Runtime) -> None:
    pod, other = cni.pod("pod"), cni.pod("other")
    result, others = cni.add(pod), cni.add(other)
    assert refusal(cni, "CHECK", pod, prevResult=others).code == 101
    assert refusal(cni, "CHECK", pod, prevResult=result | {"interfaces": []}).code == 101
    with pytest.raises(Refused) as raised:
        wrong = cni.config | {"prevResult": result}
        cni.answer(cni.ask(request("CHECK", pod, wrong, netns=other.netns)))
    assert raised.value.code == 101
    cni.delete(pod)
    assert refusal(cni, "CHECK", pod, prevResult=result).code == 3


# --- STATUS and VERSION ---

AVAILABLE = ("podnetwork", "AddressesAvailable")


def test_status_says_why_nothing_can_be_added(own: Runtime) -> None:
    """S8: nothing else changes, and it is over by itself."""
    own.status()
    own.podnet.apply(network("tiny", "10.7.0.0/30"))
    tiny = {"podNetwork": "tiny"}
    own.status(**tiny)
    pod = own.pod("only")
    own.add(pod, **tiny)
    full = refusal(own, "STATUS", None, **tiny)
    assert (full.code, "no free address" in str(full)) == (50, True)
    said = until(lambda: own.podnet.condition("tiny", *AVAILABLE), "a condition of it", 15)
    assert (said["status"], said["reason"]) == ("False", "NoFreeAddress")
    assert said["message"].startswith("PodNetwork/tiny has no free address in 10.7.0.0/30: delete")
    late = refusal(own, "ADD", own.pod("late"), **tiny)
    assert (late.code, "no free address" in str(late)) == (11, True)
    own.status()
    own.delete(pod, **tiny)
    assert refusal(own, "STATUS", None, **tiny).code == 50  # the address rests
    hours_later(own.podnet)
    own.status(**tiny)
    own.podnet.apply(network("other", "10.8.0.0/30"))  # whatever happens is an occasion to look
    until(lambda: not own.podnet.condition("tiny", *AVAILABLE), "the condition to be gone", 15)
    own.add(own.pod("next"), **tiny)
    assert refusal(own, "STATUS", None, podNetwork="red").code == 50


def test_status_says_that_something_foreign_is_in_the_way(own: Runtime) -> None:
    own.host.run(["ip", "link", "add", "pn-taken", "type", "dummy"], check=False)
    own.host.run(["ip", "link", "add", "pn-taken", "type", "veth"], check=False)
    own.podnet.apply(network("taken", "10.7.0.0/16", bridge={"name": "pn-taken"}))
    refused = refusal(own, "STATUS", None, podNetwork="taken")
    assert (refused.code, "pn-taken" in str(refused)) == (51, True)
    assert refusal(own, "ADD", own.pod(), podNetwork="taken").code == 100


def test_version_lists_what_is_spoken(cni: Runtime) -> None:
    answer = cni.call("VERSION", None, cniVersion="0.4.0")
    assert answer == {"cniVersion": "0.4.0", "supportedVersions": list(VERSIONS)}


# --- many at once ---


def test_two_hundred_at_once_have_an_address_each(
    cni: Runtime, capsys: pytest.CaptureFixture[str]
) -> None:
    """S7: and a published port; nothing is left of them. The limit is a busy machine's."""
    first, *pods = cni.pods(201)
    cni.add(first)  # what stays open is opened with the first
    cni.delete(first)
    cni.swept()
    pid = agent_pid(cni.podnet)
    before = descriptors(pid), traces(cni.host)

    def add(number: int) -> tuple[str, float]:
        begin = time.monotonic()
        result = cni.add(pods[number], **ports((10000 + number, 80)))
        return address(result), time.monotonic() - begin

    with ThreadPoolExecutor(len(pods)) as pool:
        given, seconds = zip(*pool.map(add, range(len(pods))), strict=True)
        assert len(set(given)) == len(pods)
        assert len(cni.host_ends()) == len(cni.elements("pn_any4")) == len(pods)
        list(pool.map(cni.delete, pods))
    p99 = sorted(seconds)[len(pods) * 99 // 100 - 1]
    with capsys.disabled():
        print(f"\nADD of {len(pods)} at once: p99 {p99:.2f} s")
    assert p99 < 10
    until_same(cni.host, before[1])
    cni.end(*pods)
    until(lambda: descriptors(pid) <= before[0], "no file left open")
