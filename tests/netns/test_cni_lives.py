"""CNI through what happens to a node: the agent or the runtime dies, namespaces go, bad input."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.cni import PLUGINS
from support.containerd import Containerd
from support.host import Host, until
from support.manifests import manifest
from support.podnet import SOCKET, Podnet
from support.runtime import QUEUE, Pod, Refused, Runtime, request
from support.traffic import Place, icmp, reach, serve, tcp

SHIM = Path(sys.executable).with_name("podnet-cni")
WEB = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}


@pytest.fixture
def cni(host: Host) -> Runtime:
    podnet = Podnet(host)
    podnet.agent()
    return Runtime(podnet)


@pytest.fixture(scope="module")
def shared() -> Iterator[Runtime]:
    """For what leaves no trace."""
    with Host("cni") as host:
        podnet = Podnet(host)
        podnet.agent()
        yield Runtime(podnet)


def leaks(cni: Runtime) -> list[dict[str, str]]:
    found: list[dict[str, str]] = cni.podnet.request("GET", "/leaks")[1]["leaks"]
    return found


def queue(cni: Runtime, name: str, data: bytes) -> Path:
    """What the shim leaves where no agent answers."""
    folder = cni.host.path(QUEUE)
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / f".{name}").write_bytes(data)
    return (folder / f".{name}").rename(folder / name)


# --- the agent ends ---


def test_the_next_agent_adopts_what_is_attached(cni: Runtime) -> None:
    """S36: killed and stopped, twenty times: traffic goes on, no address is lost, none leaks."""
    pod, other = cni.pod("pod"), cni.pod("other")
    result = cni.add(pod, **WEB)
    cni.add(other)
    before = facts(cni, pod)
    gateway = result["ips"][0]["gateway"]
    with serve(pod.place, 80, name="pod"):
        for number in range(20):
            cni.podnet.kill() if number % 2 else cni.podnet.stop()
            if number < 2:
                assert reach(other.place, tcp(gateway, 8080)).server == "pod"
            cni.podnet.agent()
        assert reach(other.place, tcp(gateway, 8080)).server == "pod"
    assert facts(cni, pod) == before
    cni.check(pod, result)
    assert leaks(cni) == []
    cni.delete(pod)
    cni.delete(other)
    cni.is_empty()


def facts(cni: Runtime, pod: Pod) -> list[object]:
    """What must not change: indexes, MACs, addresses, records."""
    links = [*cni.host.links().values(), *pod.interfaces().values()]
    chosen = [(each["ifindex"], each["ifname"], each["address"], each["mtu"]) for each in links]
    addresses = [each["local"] for each in pod.interfaces()["eth0"]["addr_info"]]
    return [chosen, addresses, cni.attachments()]


def test_calls_that_waited_are_done_before_anything_is_added(cni: Runtime) -> None:
    """S29: in their order; what is no call is said and removed, what is not whole yet stays."""
    gone, kept, lost = pods = cni.pods(3)
    for pod in pods:
        cni.add(pod, runtimeConfig={"ips": [f"172.17.5.{pods.index(pod) + 1}"]})
    cni.podnet.kill()
    config = cni.config | {"cni.dev/valid-attachments": []}
    queue(cni, "1.0-1", request("GC", None, config))
    valid = [{"containerID": kept.container_id, "ifname": "eth0"}]
    queue(cni, "2.0-1", request("GC", None, config | {"cni.dev/valid-attachments": valid}))
    queue(cni, "3.0-1", request("DEL", gone, cni.config, netns=None))
    queue(cni, "4.0-1", b"garbage")
    queue(cni, "5.0-1", request("DEL", kept, cni.config)[:-3])
    queue(cni, "6.0-1", request("ADD", lost, cni.config))
    cni.host.path(f"{QUEUE}/.7.0-1").write_bytes(b"POST")
    cni.podnet.agent()
    assert [each["sandboxID"] for each in cni.attachments()] == [kept.container_id]
    assert [each.name for each in cni.host.path(QUEUE).iterdir()] == [".7.0-1"]
    assert cni.podnet.log().count("can't be understood and is removed") == 3
    late = queue(cni, "8.0-1", request("DEL", kept, cni.config))
    new = cni.pod("new")
    cni.add(new, runtimeConfig={"ips": ["172.17.5.2"]})
    assert not late.exists()
    assert [each["sandboxID"] for each in cni.attachments()] == [new.container_id]


def test_a_call_without_an_agent_is_answered_by_the_shim_alone(cni: Runtime) -> None:
    """S29, through the program itself."""
    pod, fresh = cni.pod("pod"), cni.pod("fresh")
    cni.add(pod)
    cni.podnet.kill()
    assert shim(cni, "ADD", fresh) == (1, 11)
    assert shim(cni, "STATUS", fresh) == (1, 50)
    assert shim(cni, "DEL", pod) == (0, None)
    cni.podnet.agent()
    assert cni.attachments() == []
    assert shim(cni, "ADD", fresh) == (0, None)
    assert shim(cni, "STATUS", fresh) == (0, None)
    assert shim(cni, "DEL", fresh) == (0, None)
    cni.is_empty()


def shim(cni: Runtime, verb: str, pod: Pod) -> tuple[int, int | None]:
    """Call the plugin's program: its exit code and the error's."""
    done, body = cni.run(SHIM, verb, pod, cni.config, check=False)
    return done, body.get("code")


# --- namespaces end ---


def test_a_namespace_that_went_without_a_word_is_a_leak_until_the_next_start(cni: Runtime) -> None:
    """S1: named, with what removes it; its pair is not made anew, its address not given out."""
    pods = cni.pods(3)
    results = [cni.add(pod) for pod in pods]
    stray, collected, stays = pods
    cni.end(stray, collected)
    until(lambda: len(cni.host_ends()) == 1, "pairs to go with their namespaces")
    found = leaks(cni)
    assert [each["name"].split()[2] for each in found] == [
        stray.container_id,
        collected.container_id,
    ]
    said = cni.podnet.run("doctor", "--leaks", check=False)
    assert said.returncode == 1
    assert "is gone\n    removed by DEL or GC by the runtime, or a restart" in said.stdout
    cni.podnet.apply(manifest('{"subnets": ["10.7.0.0/29"]}', "PodNetwork", "new"))  # it looks
    assert len(cni.host_ends()) == 1
    cni.collect(stray, stays)
    assert len(leaks(cni)) == 1
    cni.podnet.restart()
    assert [each["sandboxID"] for each in cni.attachments()] == [stays.container_id]
    assert "nothing is left over" in cni.podnet.run("doctor", "--leaks").stdout
    cni.check(stays, results[2])
    cni.delete(stray)


def test_another_namespace_at_the_same_path_is_left_alone(cni: Runtime) -> None:
    """S28: nothing is keyed by a path alone."""
    pod, other = cni.pod("pod"), cni.pod("other")
    cni.add(pod)
    cni.host.run(["ip", "netns", "delete", f"cni-{pod.container_id}"])
    until(lambda: cni.host_ends() == [], "the pair to be gone")
    cni.host.run(["touch", pod.netns])
    cni.host.run(["mount", "--bind", other.netns, pod.netns])
    cni.podnet.restart()
    assert other.interfaces() == pod.interfaces() == {}
    assert cni.attachments() == []


def test_a_pool_does_not_shrink_over_reboots(cni: Runtime) -> None:
    """S1: namespaces and records go together, twenty times; the pool holds two pods."""
    for _ in range(20):
        cni.podnet.apply(manifest('{"subnets": ["10.7.0.0/29"]}', "PodNetwork", "tiny"))
        pods = cni.pods(5)
        for pod in pods:
            cni.add(pod, podNetwork="tiny")
        cni.podnet.kill()
        script = (
            "umount -l /run/netns/cni-* 2>/dev/null; rm -f /run/netns/cni-*;"
            "for link in $(ls /sys/class/net | grep -vw lo); do ip link del $link; done;"
            "nft flush ruleset; rm -rf /run/podnet/store.db* /run/podnet/cni"
        )
        cni.host.run(["sh", "-c", script])
        cni.podnet.agent()
        assert cni.attachments() == []


# --- damage ---


def test_what_was_damaged_in_a_pod_is_mended_and_later_plugins_are_let_be(cni: Runtime) -> None:
    """S13: MAC and MTU may have been changed by a plugin behind ours."""
    pod = cni.pod()
    result = cni.add(pod)
    change = ["ip", "link", "set", "eth0", "mtu", "1400", "address", "02:00:00:00:00:77"]
    cni.host.run(change, netns=pod.netns)
    cni.host.run(["ip", "link", "delete", result["interfaces"][1]["name"]])
    until(lambda: len(cni.host_ends()) == 1, "the pair to be made again")
    until(lambda: "eth0" in pod.interfaces(), "the pod's end")
    reach(pod.place, icmp(result["ips"][0]["gateway"]))
    cni.check(pod, result)
    cni.host.run(change, netns=pod.netns)
    cni.host.run(["ip", "address", "flush", "dev", "eth0"], netns=pod.netns)
    cni.podnet.restart()  # the first round comes at once
    until(lambda: pod.interfaces()["eth0"]["addr_info"], "the address to be back")
    link = pod.interfaces()["eth0"]
    assert (link["mtu"], link["address"]) == (1400, "02:00:00:00:00:77")
    cni.check(pod, result)


def test_broken_records_are_set_aside_and_what_they_told_of_goes(cni: Runtime) -> None:
    """S10: the kernel is as the new records say; the runtime's DEL succeeds."""
    pod = cni.pod()
    cni.add(pod)
    cni.podnet.kill()
    store = cni.host.path("/run/podnet/store.db")
    store.write_bytes(b"x" * 8192)
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    cni.podnet.agent()
    assert cni.attachments() == []
    cni.swept()
    cni.delete(pod)
    cni.add(pod)
    reach(pod.place, icmp("172.17.0.1"))


# --- the runtime ---


def test_leaks_are_told_by_containerds_own_list(host: Host) -> None:
    containerd = Containerd(host)
    podnet = Podnet(host)
    podnet.agent()
    cni = Runtime(podnet)
    pod, lost = cni.pod("pod"), cni.pod("lost")
    cni.add(pod)
    cni.add(lost)
    containerd.import_busybox()
    label = "io.cri-containerd.kind=sandbox"
    image = "docker.io/library/busybox:1"
    containerd.ctr("containers", "create", "--label", label, image, pod.container_id)
    (leak,) = leaks(cni)
    assert leak["owner"] == "Pod/default/lost"
    assert leak["why"] == "the runtime has no such sandbox"
    cni.collect(pod)
    assert leaks(cni) == []
    containerd.stop()
    answer = podnet.request("GET", "/leaks")[1]
    assert "containerd does not answer" in answer["runtimeNotAsked"]


# --- chains ---


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


def test_bandwidth_finds_our_host_end_in_the_result(cni: Runtime) -> None:
    """Also where this kernel can't limit: then it says so of the right interface."""
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


# --- who asks, and how ---


def test_a_runtime_that_gave_up_has_nothing_attached(cni: Runtime) -> None:
    """S35: an ADD whose caller is gone before its turn is not begun; one that was, DEL ends."""
    pods = cni.pods(30)
    callers = []
    for pod in pods:
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(cni.host.path(SOCKET)))
        caller.sendall(request("ADD", pod, cni.config))
        callers.append(caller)
    for caller in callers:
        caller.close()
    cni.status()
    skipped = cni.podnet.log().count("did not wait for its ADD\n")
    assert skipped > 0
    assert len(cni.attachments()) <= len(pods) - skipped
    for pod in pods:
        cni.delete(pod)
    cni.is_empty()


BROKEN = {
    "nothing": b"",
    "no HTTP": b"POST /cni \r\n\r\n",
    "half of a call": request("ADD", None, {"cniVersion": "1.1.0"})[:40],
    "a body that ends early": request("ADD", None, {"cniVersion": "1.1.0"})[:-1],
    "headers without end": b"POST /cni HTTP/1.0\r\n" + b"A: b\r\n" * 60000,
    "1 MB of garbage": request("ADD", None, bytes(range(256)) * 4096),
    "3 MB": b"POST /cni HTTP/1.0\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3000000,
    "brackets": request("DEL", None, b"[" * 1000000),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_agent_is_unharmed_by(shared: Runtime, what: str) -> None:
    """S34."""
    pid = shared.podnet.request("GET", "/version")[1]["pid"]
    try:
        data = shared.ask(BROKEN[what])
    except (BrokenPipeError, ConnectionResetError):
        data = b""  # it hung up on too much
    if data and not data.startswith(b"HTTP/1.0 400"):
        with pytest.raises(Refused) as raised:
            shared.answer(data)
        assert raised.value.code in (4, 5, 6)
    assert shared.podnet.request("GET", "/version")[1]["pid"] == pid
    assert shared.attachments() == []


def test_one_who_says_nothing_keeps_nobody_waiting(shared: Runtime) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for each in silent:
        each.connect(str(shared.host.path(SOCKET)))
        each.sendall(b"POST /cni HTTP/1.0\r\n")
    begin = time.monotonic()
    shared.status()
    assert time.monotonic() - begin < 5
    for each in silent:
        each.close()


def test_a_user_who_is_not_root_may_ask_nothing(shared: Runtime) -> None:
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); os.setuid(65534)\n"
        "try:\n s.connect(sys.argv[1])\nexcept PermissionError: print('refused')"
    )
    assert shared.host.python(code, SOCKET).stdout.strip() == "refused"


def test_a_full_or_read_only_machine_refuses_and_recovers(cni: Runtime) -> None:
    """S36: /proc/sys can't be written: nothing is left of the ADD, and the next one works."""
    pod = cni.pod()
    script = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys"
    cni.host.run(["sh", "-c", script])
    with pytest.raises(Refused, match="mount /proc/sys") as raised:
        cni.add(pod)
    assert raised.value.code == 11
    assert cni.attachments() == []
    cni.host.run(["sh", "-c", "umount /proc/sys"])
    cni.add(pod)
    reach(Place(cni.host), icmp("172.17.0.2"))


def test_the_agent_ends_while_it_adds_and_nothing_is_left(cni: Runtime) -> None:
    """S3: killed in the middle of many; the runtime's DELs find nothing or undo the rest."""
    for _ in range(5):
        pods = cni.pods(10)
        callers = []
        for pod in pods:
            caller = socket.socket(socket.AF_UNIX)
            caller.connect(str(cni.host.path(SOCKET)))
            caller.sendall(request("ADD", pod, cni.config))
            callers.append(caller)
        callers[2].recv(1)
        cni.podnet._end(signal.SIGKILL)
        cni.podnet.agent()
        assert leaks(cni) == []
        for pod in pods:
            cni.delete(pod)
        cni.is_empty()
        for caller in callers:
            caller.close()
