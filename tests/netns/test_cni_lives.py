"""CNI through what happens to a node: the agent or the runtime dies, namespaces go, bad input."""

import re
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from support.containerd import Containerd
from support.host import Host, until
from support.manifests import manifest
from support.podnet import Podnet, hours_later
from support.runtime import QUEUE, Pod, Refused, Runtime, address, ports, request, started
from support.traffic import icmp, reach, serve, tcp

SHIM = Path(sys.executable).with_name("podnet-cni")
WEB = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}


@pytest.fixture
def cni(host: Host) -> Runtime:
    return started(host)


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
            if number % 2:
                cni.podnet.kill()
            else:
                assert cni.podnet.stop() == 0  # whoever answers ends in order
            if number < 2:
                assert reach(other.place, tcp(gateway, 8080)).server == "pod"
            cni.podnet.agent()
        assert reach(other.place, tcp(gateway, 8080)).server == "pod"
    assert facts(cni, pod) == before
    cni.check(pod, result)
    assert cni.leaks() == []
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
    found = cni.leaks()
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
    assert len(cni.leaks()) == 1
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


def test_a_namespace_of_the_same_inode_is_another_one(cni: Runtime) -> None:
    """S28: the kernel gives numbers of inodes again, so a path and its inode may lie together."""
    pod = until(lambda: with_successor(cni), "a namespace with the number of one that ended", 30)
    cni.podnet.apply(manifest('{"subnets": ["10.7.0.0/29"]}', "PodNetwork", "new"))  # it looks
    assert (pod.interfaces(), cni.host_ends()) == ({}, [])
    assert pod.container_id in [each["name"].split()[2] for each in cni.leaks()]
    cni.podnet.restart()
    assert (pod.interfaces(), cni.attachments()) == ({}, [])


SUCCESSORS = """
ip netns delete $1
for each in $(seq 50); do ip netns add next-$each; done
cd /run/netns
for each in next-*; do
    if [ $(stat -c %i $each) = $2 ]; then touch $1; mount --bind $each $1; break; fi
done
for each in next-*; do ip netns delete $each; done
"""
"""Fifty, since others on the machine make some too; alone the first has it."""


def with_successor(cni: Runtime) -> Pod | None:
    """A Pod whose namespace ended, and at whose path is another one of the same inode, if any."""
    pod = cni.pod("pod")
    cni.add(pod)
    inode = cni.host.run(["stat", "-c", "%i", pod.netns]).stdout.strip()
    cni.host.run(["sh", "-c", SUCCESSORS, "sh", f"cni-{pod.container_id}", inode])
    until(lambda: cni.host_ends() == [], "the pair to be gone")
    found = cni.host.run(["stat", "-c", "%i", pod.netns], check=False).stdout.strip()
    return pod if found == inode else None


GONE = """
umount -l /run/netns/cni-* 2>/dev/null; rm -f /run/netns/cni-*
for link in $(ls /sys/class/net | grep -vw lo); do ip link del $link; done
nft flush ruleset
"""
"""All that a boot takes but /run/podnet."""


@pytest.mark.timeout(300)
def test_a_pool_does_not_shrink_over_reboots(cni: Runtime) -> None:
    """S1: namespaces and pairs go, the records stay, twenty times; the pool holds five pods.

    podnet's own records lie in /run, so they outlive a boot only where somebody keeps that.
    """
    cni.podnet.apply(manifest('{"subnets": ["10.7.0.0/29"]}', "PodNetwork", "tiny"))
    pool = {f"10.7.0.{number}" for number in range(2, 7)}
    for _ in range(20):
        pods = cni.pods(len(pool))
        given = {
            address(cni.add(pod, podNetwork="tiny", **ports((8080 + number, 80))))
            for number, pod in enumerate(pods)
        }
        assert given == pool
        cni.podnet.kill()
        cni.host.run(["sh", "-c", GONE])
        assert cni.host.path("/run/podnet/store.db").exists()
        cni.podnet.agent()
        assert cni.attachments() == []
        hours_later(cni.podnet)  # an address rests
    assert cni.leaks() == []
    cni.is_empty()


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

    def is_right() -> bool:
        with suppress(Refused):
            cni.check(pod, result)
            return True
        return False

    until(is_right, "all of it to be right")
    cni.host.run(change, netns=pod.netns)
    cni.host.run(["ip", "address", "flush", "dev", "eth0"], netns=pod.netns)
    cni.podnet.restart()  # the first round comes at once
    until(lambda: pod.interfaces()["eth0"]["addr_info"], "the address to be back")
    link = pod.interfaces()["eth0"]
    assert (link["mtu"], link["address"]) == (1400, "02:00:00:00:00:77")
    cni.check(pod, result)


def test_broken_records_are_set_aside_and_what_they_told_of_goes(cni: Runtime) -> None:
    """S10: where no libcni remembers it. The kernel is as the new records say; DEL succeeds."""
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
    pod, lost, other = cni.pod("pod"), cni.pod("lost"), cni.pod("other")
    for each in (pod, lost, other):
        cni.add(each)
    containerd.import_busybox()
    label = "io.cri-containerd.kind=sandbox"
    image = "docker.io/library/busybox:1"
    containerd.ctr("containers", "create", "--label", label, image, pod.container_id)
    leaks = {leak["owner"]: leak for leak in cni.leaks()}
    assert set(leaks) == {"Pod/default/lost", "Pod/default/other"}
    assert {leak["why"] for leak in leaks.values()} == {"the runtime has no such sandbox"}
    cni.collect(pod, other)
    (leak,) = cni.leaks()
    command = re.search("`(umount .*)`, then a restart of the agent", leak["removed_by"])
    assert command is not None, leak
    host.run(command[1].split())
    podnet.kill()
    podnet.agent()
    assert cni.leaks() == []
    assert [each["owner"] for each in cni.attachments()] == ["Pod/default/pod"]
    containerd.stop()
    answer = podnet.request("GET", "/leaks")[1]
    assert "containerd does not answer" in answer["runtimeNotAsked"]
