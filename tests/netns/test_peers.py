"""What podnet is compared with runs here, in private hosts: Debian's dockerd and CNI plugins."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import docker as docker_module
from support.docker import Docker
from support.guard import Remains, changes, left_of, machine_state, until_nothing_left
from support.host import Host, HostError, until
from support.traffic import Outcome, Place, blocked, icmp, reach, tcp
from support.wire import connect

TESTS = Path(__file__).parents[1]


def test_docker_runs_a_container_in_bridge_mode(dockerd: Docker) -> None:
    """With the numbers that facts about Docker up to 27 are known by."""
    dockerd.docker("run", "-d", "--name", "bridged", "busybox", "sleep", "1000")
    (eth0,) = dockerd.host.ip_json("addr", "show", "eth0", netns=dockerd.netns("bridged"))
    assert eth0["address"] == "02:42:ac:11:00:02"
    assert [one["local"] for one in eth0["addr_info"] if one["family"] == "inet"] == ["172.17.0.2"]
    assert dockerd.docker("version", "-f", "{{.Server.Version}}").stdout.startswith("20.10.")
    hosts = dockerd.docker("exec", "bridged", "cat", "/etc/hosts").stdout
    assert "172.17.0.2" in hosts.splitlines()[-1]
    dockerd.docker("rm", "-f", "bridged")


def test_docker_says_what_it_refuses(dockerd: Docker) -> None:
    with pytest.raises(HostError, match="conflicting options: hostname and the network mode"):
        dockerd.docker("run", "--network", "container:x", "--hostname", "h", "busybox", "true")
    with pytest.raises(HostError, match="stopped does not run"):
        dockerd.docker("create", "--name", "stopped", "busybox", "true")
        dockerd.netns("stopped")
    dockerd.docker("rm", "stopped")


def test_traffic_of_docker_reaches_a_neighbour(
    dockerd: Docker, make_host: Callable[..., Host]
) -> None:
    outside = make_host("outside")
    near, _ = connect(dockerd.host, outside)
    dockerd.docker(
        "run", "-d", "--name", "web", "-p", "8080:80", "busybox",
        "sh", "-c", "echo hello > index.html; httpd -p 81; exec httpd -f",
    )  # fmt: skip
    fetch = ["curl", "-sm5", f"http://{near.ipv4.ip}:8080"]
    until(lambda: outside.run(fetch, check=False).stdout == "hello\n", "the published port")
    reach(dockerd.place("web"), icmp("192.0.2.2"))
    outside.run(["ip", "route", "add", "172.17.0.0/16", "via", str(near.ipv4.ip)])
    answer = blocked(Place(outside), tcp("172.17.0.2", 81), beside=icmp(near.ipv4.ip))
    assert answer.outcome is Outcome.SILENT
    dockerd.docker("rm", "-f", "web")


def test_control_groups_of_docker_lie_in_its_host(dockerd: Docker) -> None:
    before = machine_state()
    dockerd.docker("run", "-d", "--name", "grouped", "--memory", "32m", "busybox", "sleep", "1000")
    identity = dockerd.inspect("grouped")["Id"]
    inside = dockerd.host.run(["find", "/sys/fs/cgroup", "-name", identity]).stdout.split()
    assert inside
    assert not any(Path(folder).exists() for folder in inside)
    assert changes(before, machine_state()) == ""
    dockerd.docker("rm", "-f", "grouped")


def test_why_docker_cannot_run_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert docker_module.why_not() == ""
    monkeypatch.setattr(docker_module, "DOCKERD", Path("/no/dockerd"))
    assert docker_module.why_not() == (
        "/no/dockerd missing: apt-get install docker.io busybox-static"
    )
    with Host() as host, pytest.raises(HostError, match=r"dockerd ended, exit 127:.*\n.*/no/"):
        Docker(host)


def test_nothing_of_docker_is_left_when_its_owner_is_killed() -> None:
    before = machine_state()
    code = (
        "import time\n"
        "from support.host import Host\n"
        "from support.docker import Docker\n"
        "host = Host('docker')\n"
        "docker = Docker(host)\n"
        "docker.import_busybox()\n"
        "docker.docker('run', '-d', '--name', 'web', 'busybox', 'sleep', '1000')\n"
        "print(host.pid, host.keeper_pid, docker.inspect('web')['State']['Pid'], flush=True)\n"
        "time.sleep(1000)\n"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    init, keeper_pid, container = map(int, owner.stdout.readline().split())
    host = Remains.of(init, keeper_pid)
    inside = os.stat(f"/proc/{init}/root/proc/{container}/ns/net").st_ino
    assert len(left_of(host)) > 10  # it can be seen
    assert inside in _network_namespaces()
    owner.kill()
    owner.communicate()
    until_nothing_left(host)
    assert inside not in _network_namespaces()
    assert changes(before, machine_state()) == ""


def _network_namespaces() -> set[int]:
    found = set()
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            found.add(entry.stat().st_ino)
    return found


CNI = """
import json, os, sys
from support.cni import CniError, bridge
network = bridge()
os.system("ip netns add pod")
ports = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
result = network.add("c1", "/run/netns/pod", portMappings=ports)
try:
    network.add("c1", "/run/netns/pod")
except CniError as error:
    result["twice"] = str(error)
result["allocated"] = os.listdir("/run/cni/cni")
result["rules"] = os.popen("iptables-save -t nat").read()
network.delete("c1", "/run/netns/pod", result={k: result[k] for k in
               ("cniVersion", "interfaces", "ips", "routes", "dns")}, portMappings=ports)
result["left"] = os.listdir("/run/cni/cni")
print(json.dumps(result))
"""


def test_cni_bridge_attaches_and_detaches(host: Host) -> None:
    before = machine_state()
    done = host.run([sys.executable, "-c", CNI], env={**os.environ, "PYTHONPATH": str(TESTS)})
    result = json.loads(done.stdout)
    assert [one["name"] for one in result["interfaces"]][::2] == ["cni0", "eth0"]
    assert result["ips"][0]["address"] == "10.88.0.2/16"
    assert "10.88.0.2" in result["allocated"] and "10.88.0.2" not in result["left"]
    assert "8080" in result["rules"] and "MASQUERADE" in result["rules"]
    assert result["twice"].startswith("bridge ADD: error ")
    assert set(host.links()) == {"lo", "cni0"}
    assert not Path("/run/cni").exists() and not Path("/var/lib/cni").exists()
    assert changes(before, machine_state()) == ""
