"""CNI for long, and on machines that lack something: memory, files, room, a family, a clock."""

import fcntl
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_interface

import pytest

from support.host import Host, until
from support.manifests import manifest
from support.podnet import PROGRAM, SOCKET, Podnet
from support.runtime import QUEUE, Pod, Refused, Runtime, ports, request, started
from support.traffic import Place, icmp, reach, serve, tcp
from support.usage import agent_pid, descriptors, resident

WEB = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}
DUAL = manifest(json.dumps({"subnets": ["10.6.0.0/16", "fd00:6::/64"]}), "PodNetwork", "dual")
GROWTH = 1024
"""KiB that an agent may grow by in a thousand attachments, once it has seen two hundred."""


@pytest.fixture
def cni(host: Host) -> Runtime:
    return started(host)


def refusal(cni: Runtime, verb: str, pod: Pod | None = None, **config: object) -> Refused:
    with pytest.raises(Refused) as raised:
        cni.call(verb, pod, **config)
    return raised.value


# --- for long ---


@pytest.mark.timeout(200)
def test_a_thousand_pods_come_and_go_and_leave_nothing(cni: Runtime) -> None:
    """S42: memory, files, processes, links; each of them once more under another id."""
    pid = agent_pid(cni.podnet)

    def cycle() -> None:
        pods = cni.pods(100)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(cni.add, pods))
            list(pool.map(cni.delete, pods))
        cni.is_empty()
        cni.end(*pods)

    for _ in range(2):
        cycle()
    before = resident(pid), descriptors(pid)
    for _ in range(10):
        cycle()
    until(lambda: descriptors(pid) <= before[1], "no file left open")
    grown = resident(pid) - before[0]
    print(f"{before[0]} KiB, and {grown} more")
    assert grown < GROWTH
    inside = str(cni.podnet.request("GET", "/version")[1]["pid"])
    assert cni.host.run(["ps", "--ppid", inside, "-o", "stat="], check=False).stdout == ""


def test_pods_that_are_being_made_are_nobodys_leftovers(cni: Runtime) -> None:
    """S6: the agent looks and repairs all the time while two hundred are attached."""
    pods = cni.pods(200)
    damage = ["sh", "-c", "while ip address flush dev podnet0; do sleep 0.05; done"]
    with ThreadPoolExecutor(8) as pool:
        damaging = cni.host.popen(damage)
        results = list(pool.map(cni.add, pods))
        damaging.kill()
        damaging.wait()
    repairs = cni.podnet.log().count("ip address replace 172.17.0.1/16 dev podnet0")
    assert repairs > 1  # the first made it
    assert len(cni.host_ends()) == len(pods)
    reach(pods[0].place, icmp(results[0]["ips"][0]["gateway"]))
    for pod, result in zip(pods[::20], results[::20], strict=True):
        cni.check(pod, result)
    cni.collect()
    cni.is_empty()


# --- beside iptables ---


@contextmanager
def iptables_locked(host: Host) -> Iterator[None]:
    """Somebody holds the lock of iptables' older interface for the length of the block."""
    with host.path("/run/xtables.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_no_call_waits_for_the_lock_of_iptables(host: Host, policy: str) -> None:
    """S14: also where the agent has made exceptions, and just looks whether they are there."""
    for command in ("iptables-nft", "ip6tables-nft"):
        host.run([command, "-P", "FORWARD", policy])
    cni = started(host)
    cni.add(cni.pod("first"))
    until(lambda: exceptions(host) == (2 if policy == "DROP" else 0), "the exceptions")
    with iptables_locked(host):
        for number, pod in enumerate(cni.pods(4)):
            begin = time.monotonic()
            result = cni.add(pod, **ports((8080 + number, 80)))
            cni.check(pod, result)
            cni.delete(pod)
            assert time.monotonic() - begin < 5
            host.run(["ip", "address", "flush", "dev", "podnet0"])
            until(lambda: "172.17.0.1/16" in addresses(host), "the repair")


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
def test_where_only_the_older_interface_tells_it_is_not_waited_for_long(
    host: Host, policy: str
) -> None:
    """S14: neither by a call nor by an agent that begins; what needs the lock comes after."""
    for command in ("iptables-legacy", "ip6tables-legacy"):
        host.run([command, "-P", "FORWARD", policy])
    cni = started(host)
    cni.add(cni.pod("first"))
    with iptables_locked(host):
        cni.podnet.restart()
        for pod in cni.pods(4):
            host.run(["ip", "address", "flush", "dev", "podnet0"])  # a reason to look
            time.sleep(0.1)  # by then it looks, and waits
            begin = time.monotonic()
            cni.add(pod)
            cni.delete(pod)
            assert time.monotonic() - begin < 8
    until(lambda: "172.17.0.1/16" in addresses(host), "the repair", 30)
    wanted = 2 if policy == "DROP" else 0
    until(lambda: exceptions(host, "iptables-legacy") == wanted, "the exceptions", 30)


def addresses(host: Host) -> str:
    """Those of the bridge, as `ip` shows them."""
    return host.run(["ip", "-4", "address", "show", "podnet0"]).stdout


def exceptions(host: Host, command: str = "iptables-nft") -> int:
    """How many ACCEPTs of ours there are, in IPv4."""
    return host.run([command, "-S", "FORWARD"]).stdout.count("--comment podnet -j ACCEPT")


# --- rules and families ---


def test_rules_that_were_flushed_are_back(cni: Runtime) -> None:
    """S13: a Pod's published port leads to it again, and the next Pod's too."""
    web, client = cni.pod("web"), cni.pod("client")
    gateway = cni.add(web, **WEB)["ips"][0]["gateway"]
    cni.add(client)
    with serve(web.place, 80, name="web"):
        cni.host.run(["nft", "flush", "ruleset"])
        assert reach(client.place, tcp(gateway, 8080)).server == "web"
        assert reach(Place(cni.host), tcp("127.0.0.1", 8080)).server == "web"
    assert len(cni.elements("pn_any4")) == 1


def test_both_families_serve_when_add_has_answered(cni: Runtime) -> None:
    """S27: no address is tentative, no router is listened to, the node forwards."""
    cni.podnet.apply(DUAL)
    pod = cni.pod()
    result = cni.add(pod, podNetwork="dual")
    addresses = [ip_interface(each["address"]) for each in result["ips"]]
    found = pod.interfaces()["eth0"]["addr_info"]
    assert not any("tentative" in each for each in found), found
    assert [each.version for each in addresses] == [4, 6]
    assert {str(each.ip) for each in addresses} <= {each["local"] for each in found}
    read = ["cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"]
    assert cni.host.run(["nsenter", f"--net={pod.netns}", *read]).stdout == "0\n"
    assert cni.host.sysctl("net/ipv6/conf/all/forwarding") == "1"
    for each in result["ips"]:
        reach(pod.place, icmp(each["gateway"]))


NO_IPV6 = (
    "mkdir /run/net; mount --bind /proc/sys/net /run/net; mount -t tmpfs none /proc/sys/net;"
    "for each in /run/net/*; do name=${each#/run/net/}; [ $name = ipv6 ] && continue;"
    "  if [ -d $each ]; then mkdir /proc/sys/net/$name; mount --bind $each /proc/sys/net/$name;"
    "  else touch /proc/sys/net/$name; fi; done"
)
"""As the kernel's files look with ipv6.disable=1."""


def test_without_ipv6_in_the_kernel_it_says_so_and_the_other_family_works(host: Host) -> None:
    """S27."""
    host.run(["sh", "-ec", NO_IPV6])
    cni = started(host)
    cni.podnet.apply(DUAL)
    assert "IPv6 switched off (ipv6.disable=1)" in cni.podnet.why_not("dual", "podnetwork")
    assert refusal(cni, "STATUS", podNetwork="dual").code == 50
    assert refusal(cni, "ADD", cni.pod(), podNetwork="dual").code == 11
    pod = cni.pod()
    reach(pod.place, icmp(cni.add(pod)["ips"][0]["gateway"]))


# --- files, room, clock ---


def test_more_callers_than_files_wait_and_are_served_then(host: Host) -> None:
    """S36: nobody is let in for a moment; who stands there is not harmed."""
    podnet = Podnet(host, ["sh", "-c", f"ulimit -n 80; exec {PROGRAM} agent"])
    podnet.agent()
    cni = Runtime(podnet)
    pod = cni.pod()
    gateway = cni.add(pod)["ips"][0]["gateway"]
    silent = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    for each in silent:
        each.connect(str(host.path(SOCKET)))
    until(lambda: "nobody can be let in for a moment: Too many open files" in podnet.log(), "it")
    reach(pod.place, icmp(gateway))
    for each in silent:
        each.close()
    cni.status()
    cni.delete(pod)
    cni.is_empty()


def test_a_full_disk_refuses_a_pod_and_leaves_those_that_run(host: Host) -> None:
    """S36: code 11, nothing half made; with room again the next one is attached."""
    host.run(["mkdir", "-m", "700", "/run/podnet"])
    host.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", "/run/podnet"])
    cni = started(host)
    pod = cni.pod("pod")
    gateway = cni.add(pod)["ips"][0]["gateway"]
    host.run(["dd", "if=/dev/zero", "of=/run/podnet/fill", "bs=4k"], check=False)
    late, made = cni.pods(60), 0
    for each in late:  # until what SQLite has already is full too
        try:
            cni.add(each)
            made += 1
        except Refused as refused:
            assert (refused.code, "disk is full" in str(refused)) == (11, True)
            assert each.interfaces() == {}
            break
    else:
        raise AssertionError("the disk was never full")
    assert len(cni.host_ends()) == made + 1
    reach(pod.place, icmp(gateway))
    host.run(["rm", "/run/podnet/fill"])
    cni.add(late[made])
    cni.collect()
    cni.is_empty()


def test_calls_that_were_written_down_by_another_clock_are_done(cni: Runtime) -> None:
    """S36: the node's time was set back, or forward, between the program and the agent."""
    pods = cni.pods(3)
    for pod in pods:
        cni.add(pod)
    cni.podnet.kill()
    folder = cni.host.path(QUEUE)
    folder.mkdir(mode=0o700, exist_ok=True)
    names = ("00000000001.000000000-1", "99999999999.000000000-1", "01795914587.020327883-1")
    for name, pod in zip(names, pods, strict=True):
        (folder / name).write_bytes(request("DEL", pod, cni.config))
    cni.podnet.agent()
    cni.is_empty()
    assert list(folder.iterdir()) == []
