"""The same containers under Debian's dockerd and under podnet, side by side: what they see.

Whatever is not in support/differences.py is the same, to the letter.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from podnet.addresses import mac_for
from support.differences import DIFFERENCES, as_podnet
from support.host import Host, until
from support.twins import Twins

DOCUMENT = Path(__file__).parents[2] / "docs/docker.md"
MODES = ("none", "bridge", "host", "container")


LOOK = """
section() { echo "== $1"; }
section identity; id; pwd; hostname; cat /etc/hostname; cat /proc/self/oom_score_adj
section environment; cat /proc/1/environ | tr '\\0' '\\n' | grep -v ^LOOK= | sort
section hosts; cat /etc/hosts
section resolv; cat /etc/resolv.conf
section sysctls
cd /proc/sys/net
for name in all default lo eth0; do
  for key in ipv6/conf/NAME/disable_ipv6 ipv6/conf/NAME/accept_ra ipv6/conf/NAME/forwarding \
             ipv4/conf/NAME/rp_filter ipv4/conf/NAME/forwarding ipv4/conf/NAME/route_localnet; do
    file=$(echo $key | sed s/NAME/$name/)
    [ -e $file ] && echo ${file#ipv?/conf/} $(cat $file)
  done
done
for file in ipv4/ping_group_range ipv4/ip_unprivileged_port_start ipv4/ip_forward core/somaxconn; do
  echo $file $(cat $file)
done
cd /
section status
grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp|Sig(Blk|Ign)|Umask)' /proc/1/status
section limits; cat /proc/1/limits
section mounts
awk '{print $2, $3, $3 == "overlay" ? substr($4, 1, 2) : $4}' /proc/mounts | sort
section files; stat -c '%n %F %a %u %g %t %T' /dev /dev/* /etc/host* /etc/resolv.conf /tmp
section hidden
for path in asound acpi kcore keys latency_stats timer_list timer_stats sched_debug scsi; do
  [ -e /proc/$path ] && echo $path $(ls -A /proc/$path | head -n 3) $(head -c 9 /proc/$path 2>&1)
done
ls -A /sys/firmware
section writable
for path in sys/kernel/hostname sys/net/ipv4/ip_forward sysrq-trigger irq bus fs; do
  [ -w /proc/$path ]; echo $path $?
done
section devices; cat /sys/fs/cgroup/devices/devices.list 2> /dev/null
section cgroup; cat /proc/1/cgroup | cut -d: -f3 | sort -u | sed 's/^/cgroup /'; ls /sys/fs/cgroup
section root; find / -xdev -path /bin -prune -o -print | sort
section process; cut -d' ' -f4-7 /proc/1/stat; tr '\\0' ' ' < /proc/1/cmdline | head -c 6
section end
"""
SECTIONS = re.findall(r"^section (\w+)", LOOK, re.MULTILINE)[:-1]


@pytest.fixture(scope="module")
def seen(twins: Twins) -> Iterator[dict[str, tuple[dict[str, str], dict[str, str]]]]:
    """What a container of each mode sees: docker's sections and podnet's."""
    options = {
        "bridge": ["--hostname=h.example.org", "--add-host=db:192.0.2.9"],
        "none": ["--network=none", "--hostname=h"],
        "host": ["--network=host"],
        "container": ["--network=container:bridge"],
    }
    try:
        for mode, words in options.items():
            twins.start(mode, *words, command=["sh", "-c", f"{LOOK}\nexec sleep 1000"])
        yield {mode: tuple(map(sections, logs(twins, mode))) for mode in MODES}  # type: ignore[misc]
    finally:
        twins.remove(*MODES)


def logs(twins: Twins, name: str) -> tuple[str, str]:
    """What both have written up to the last section."""

    def whole() -> tuple[str, str] | None:
        texts = twins.docker.docker("logs", name).stdout, twins.podnet.run("logs", name).stdout
        return texts if all(text.endswith("== end\n") for text in texts) else None

    found: tuple[str, str] = until(whole, f"the last section of {name}", 10)
    return found


def sections(text: str) -> dict[str, str]:
    """By name; ids of containers are all one."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    parts = re.split(r"^== (\w+)\n", text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_a_container_sees_the_same(mode: str, section: str, seen: Any) -> None:
    docker, podnet = seen[mode]
    assert podnet[section] == as_podnet(docker[section], section, mode)


def test_every_difference_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [one.name for one in DIFFERENCES if f"| {one.name} |" not in text] == []


# --- its network and namespaces, from outside ---


def network(host: Host, netns: str) -> str:
    """Interfaces, addresses and routes, a line each, without what differs from run to run."""
    lines = []
    for link in host.ip_json("address", netns=netns):
        kind = link.get("linkinfo", {}).get("info_kind", link["link_type"])
        queue = link.get("txqlen", 0)
        what = f"{link['address']} mtu {link['mtu']} txqlen {queue} {link['operstate']}"
        lines.append(f"{link['ifname']} {kind} {what} {','.join(link['flags'])}")
        for one in link["addr_info"]:
            where = f"{one['local']}/{one['prefixlen']} {one['scope']}"
            lines.append(f"{link['ifname']} {one['family']} {where}")
            assert one["valid_life_time"] == 2**32 - 1
    for family in "-4", "-6":
        lines += host.run(["ip", family, "route"], netns=netns).stdout.splitlines()
    return "".join(f"{line}\n" for line in lines)


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("mode", ["bridge", "none"])
def test_interfaces_and_routes_are_the_same(mode: str, twins: Twins) -> None:
    docker, podnet = map(network, twins.hosts, twins.netns(mode))
    assert podnet == as_podnet(docker, "network", mode)


@pytest.mark.usefixtures("seen")
def test_mac_and_peer_follow_from_address_and_index(twins: Twins) -> None:
    bridges = ("docker0", "podnet0")
    for host, netns, bridge in zip(twins.hosts, twins.netns("bridge"), bridges, strict=True):
        (eth0,) = host.ip_json("address", "show", "eth0", netns=netns)
        assert eth0["address"] == mac_for(ip_address(eth0["addr_info"][0]["local"]))
        (peer,) = [link for link in host.links().values() if link["ifindex"] == eth0["link_index"]]
        assert (peer["master"], peer["link_index"]) == (bridge, eth0["ifindex"])


KINDS = ("net", "uts", "ipc", "pid", "mnt", "cgroup", "user", "time")


def namespaces(host: Host, pid: int, joined: int) -> str:
    """Whose the process's namespaces are."""
    files = [f"/proc/{each}/ns/{kind}" for kind in KINDS for each in (pid, 1, joined)]
    found = host.run(["readlink", *files]).stdout.split()
    whose = {}
    for number, kind in enumerate(KINDS):
        own, hosts, other = found[3 * number : 3 * number + 3]
        whose[kind] = (
            "the host's" if own == hosts else "the joined's" if own == other else "its own"
        )
    return "".join(f"{kind}: {name}\n" for kind, name in whose.items())


@pytest.mark.usefixtures("seen")
@pytest.mark.parametrize("mode", ["none", "host", "container"])
def test_the_same_namespaces_are_shared(mode: str, twins: Twins) -> None:
    docker, podnet = map(namespaces, twins.hosts, twins.pids(mode), twins.pids("bridge"))
    assert ("net: its own" in docker) == (mode == "none")
    assert podnet == as_podnet(docker, "namespaces", mode)
