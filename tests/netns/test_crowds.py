"""Many sandboxes, few addresses, reboots: nothing is given twice, lost or left behind."""

import re
import subprocess
import time

import pytest

from support.bodies import FOREVER, network, published, sandbox
from support.host import Host, until
from support.podnet import PROGRAM, Podnet, hours_later
from support.traffic import Place, icmp, reach, serve, tcp, udp
from support.usage import agent_pid, descriptors, resident

SMALL = network("small", subnets=["10.30.0.0/29"])
"""Five addresses for pods: .2 to .6."""
ON_SMALL = {"podNetwork": "small"}


@pytest.fixture
def podnet(host: Host) -> Podnet:
    """A host with an agent that was started here."""
    podnet = Podnet(host)
    podnet.agent()
    return podnet


def wait_ready(podnet: Podnet, *names: str, seconds: float = 10) -> None:
    podnet.run("wait", "psb", *names, "--for=condition=Ready", f"--timeout={seconds}s", timeout=60)


def links(host: Host) -> list[str]:
    """Every link but lo."""
    return sorted(set(host.links()) - {"lo"})


def elements(host: Host) -> set[str]:
    """What stands in the sets and maps of our table."""
    text = host.run(["nft", "list", "table", "inet", "podnet"]).stdout
    found = re.findall(r"elements = \{(.*?)\}", text, re.DOTALL)
    return {each.strip() for several in found for each in several.split(",")}


# --- many at once ---


def test_two_hundred_at_once_come_and_go_without_a_trace(podnet: Podnet) -> None:
    """S7: addresses are unique, nothing fails; links, addresses, elements, files are given back."""
    pid = agent_pid(podnet)
    podnet.up(sandbox("first", net=published(7999)))
    podnet.run("delete", "psb", "first")
    until(lambda: links(podnet.host) == ["podnet0"], "no link of a sandbox")
    before = elements(podnet.host), descriptors(pid)
    names = [f"s{number:03}" for number in range(200)]
    manifests = [sandbox(name, net=published(8000 + n)) for n, name in enumerate(names)]
    begin = time.monotonic()
    podnet.up("".join(manifests), timeout=60)
    took = time.monotonic() - begin
    bodies = podnet.json("get", "psb")["items"]
    addresses = {body["status"]["podIPs"][0]["ip"] for body in bodies}
    macs = {body["status"]["interfaces"][0]["mac"] for body in bodies}
    ends = {body["status"]["interfaces"][0]["peer"]["name"] for body in bodies}
    assert len(addresses) == len(macs) == len(ends) == 200
    assert ends == set(links(podnet.host)) - {"podnet0"}
    assert not [line for line in podnet.log().splitlines() if "WARNING" in line or "ERROR" in line]
    assert took < 20
    podnet.run("delete", "psb", *names, timeout=60)
    until(lambda: links(podnet.host) == ["podnet0"], "no link of a sandbox", 10)
    until(lambda: (elements(podnet.host), descriptors(pid)) == before, "what there was before")
    assert podnet.host.run(["ls", "/run/netns", "/run/podnet/sandboxes"]).stdout.split() == [
        "/run/netns:",
        "/run/podnet/sandboxes:",
    ]
    podnet.run("wait", "pnet/default", "--for=jsonpath={.status.addressesUsed}=0", "--timeout=15s")


def test_what_hundreds_took_is_given_back(podnet: Podnet) -> None:
    """S42, in small: after a warm-up memory stays, no file and no process is left behind.

    The full thousand is in bench/size.py.
    """
    pid = agent_pid(podnet)
    names = [f"s{number}" for number in range(50)]
    manifests = "".join(sandbox(name) for name in names)

    def cycle() -> None:
        podnet.up(manifests, timeout=60)
        podnet.run("delete", "psb", *names, timeout=60)

    for _ in range(2):
        cycle()
    until(lambda: links(podnet.host) == ["podnet0"], "no link of a sandbox", 10)
    before = resident(pid), descriptors(pid)
    for _ in range(4):
        cycle()
    until(lambda: links(podnet.host) == ["podnet0"], "no link of a sandbox", 10)
    until(lambda: descriptors(pid) <= before[1], "no file left open")
    assert resident(pid) - before[0] < 1024
    children = podnet.host.run(["ps", "--ppid", "1", "-o", "stat=,args="], check=False).stdout
    assert "Z" not in children


# --- few addresses ---


def test_a_full_network_says_so_and_recovers_by_itself(podnet: Podnet) -> None:
    """S8: who came too late knows why, deletion works, and the first free address is used."""
    podnet.up(SMALL)
    podnet.up("".join(sandbox(f"s{number}", net=ON_SMALL) for number in range(5)))
    podnet.apply(sandbox("late", net=ON_SMALL))
    assert podnet.why_not("late") == (
        "PodSandbox/default/late: PodNetwork/small has no free address in 10.30.0.0/29: delete"
        " sandboxes (an address rests 30 s) or use another network"
    )
    address = podnet.ip("s3")
    podnet.run("delete", "psb", "s3")
    assert podnet.condition("late")["status"] == "False"
    hours_later(podnet)
    podnet.run("delete", "psb", "s4")  # whatever goes is an occasion to look again
    wait_ready(podnet, "late", seconds=5)
    assert podnet.ip("late") == address
    reach(podnet.place("late"), icmp(podnet.ip("s0")))


def test_addresses_go_round_and_rest(podnet: Podnet) -> None:
    """S9: an address that was just released is the last to be given again."""
    podnet.up(SMALL)
    given = []
    for number in range(5):
        podnet.up(sandbox(f"s{number}", net=ON_SMALL))
        given.append(podnet.ip(f"s{number}"))
        podnet.run("delete", "psb", f"s{number}")
    assert given == [f"10.30.0.{number}" for number in range(2, 7)]
    podnet.apply(sandbox("again", net=ON_SMALL))
    assert "has no free address" in podnet.why_not("again")
    hours_later(podnet)
    podnet.run("apply", "-f", "-", input=sandbox("again", net=ON_SMALL))
    wait_ready(podnet, "again", seconds=3)
    assert podnet.ip("again") == "10.30.0.2"


def test_a_reused_address_is_reached_at_once(podnet: Podnet) -> None:
    """S9: with another MAC than neighbours remember; it is announced."""
    podnet.up(SMALL + sandbox("peer", net=ON_SMALL))
    address = "10.30.0.5"
    fixed = {**ON_SMALL, "addresses": [address]}
    podnet.up(sandbox("old", net={**fixed, "mac": "02:00:00:00:00:01"}))
    peer = podnet.place("peer")
    reach(peer, icmp(address))
    podnet.run("delete", "psb", "old")
    hours_later(podnet)
    stale = ["ip", "neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", "eth0"]
    podnet.host.run([*stale, "nud", "stale"], netns=peer.netns)
    podnet.up(sandbox("new", net={**fixed, "mac": "02:00:00:00:00:02"}))
    begin = time.monotonic()
    reach(peer, icmp(address), 1.0)
    assert time.monotonic() - begin < 1
    (neighbour,) = podnet.host.ip_json("neigh", "show", address, netns=peer.netns)
    assert neighbour["lladdr"] == "02:00:00:00:00:02"


def test_a_late_deletion_does_not_hit_a_successor(podnet: Podnet) -> None:
    """S5, S28: deletion goes on in the background while the same name comes again."""
    wanted = sandbox("web", FOREVER, net=published(8080))
    for _ in range(3):
        podnet.up(wanted)
        old = podnet.status("web")
        podnet.run("delete", "psb", "web", "--wait=false")
        until(lambda: podnet.apply(wanted, check=False).returncode == 0, "it to be taken again")
        wait_ready(podnet, "web")
        new = podnet.status("web")
        assert new["sandboxID"] != old["sandboxID"]
        assert new["interfaces"][0]["peer"]["name"] != old["interfaces"][0]["peer"]["name"]
        with serve(podnet.place("web"), 80, name=new["sandboxID"]):
            answer = reach(Place(podnet.host), tcp("127.0.0.1", 8080))
            assert answer.server == new["sandboxID"]
    assert podnet.run("explain", "web", check=False).returncode == 0
    assert len(podnet.host.run(["ls", "/run/netns"]).stdout.split()) == 1


def test_deleting_twice_at_once_is_deleting_once(podnet: Podnet) -> None:
    """S2: whoever comes second finds it gone or on its way."""
    podnet.up(sandbox("web", FOREVER))
    pipe = subprocess.PIPE
    both = [
        podnet.host.popen([PROGRAM, "delete", "psb", "web"], text=True, stdout=pipe, stderr=pipe)
        for _ in range(3)
    ]
    ends = [(*process.communicate(timeout=20), process.returncode) for process in both]
    assert any(code == 0 for _, _, code in ends)
    assert all(code == 0 or "not found" in err for _, err, code in ends)
    assert podnet.json("get", "psb")["items"] == []


@pytest.mark.parametrize(
    "damage",
    [
        "ip netns del {netns}",
        "ip link del {end}",
        "nft delete table inet podnet",
        "ip link del podnet0",
        "umount -l /run/netns/{netns}; rm /run/netns/{netns}; ip link del {end}",
        "true",
    ],
)
def test_whatever_is_gone_already_is_no_obstacle(damage: str, podnet: Podnet) -> None:
    """S2: deletion ends well, and nothing is left of the sandbox."""
    podnet.up(sandbox("web", FOREVER, net=published(8080)))
    status = podnet.status("web")
    names = {
        "netns": status["netns"]["path"].removeprefix("/run/netns/"),
        "end": status["interfaces"][0]["peer"]["name"],
    }
    podnet.host.run(["sh", "-c", damage.format(**names)], check=False)
    podnet.run("delete", "psb", "web")
    until(lambda: names["end"] not in podnet.host.links(), "no link")
    assert podnet.host.run(["ls", "/run/netns"]).stdout == ""
    until(lambda: not any("8080" in each for each in elements(podnet.host)), "no element")
    assert "sleep 1000" not in podnet.host.run(["ps", "-eo", "args"]).stdout


def test_a_stale_udp_flow_does_not_lead_to_a_sandbox_that_is_gone(podnet: Podnet) -> None:
    """S16, S17: one socket goes on asking; from the replacement on, the replacement answers."""
    podnet.up(sandbox("old", net=published(5353, protocol="UDP")))
    here = Place(podnet.host)
    with serve(podnet.place("old"), 80, name="old"):
        assert reach(here, udp("127.0.0.1", 5353)).server == "old"
    podnet.run("delete", "psb", "old")
    podnet.up(sandbox("new", net=published(5353, protocol="UDP")))
    with serve(podnet.place("new"), 80, name="new"):
        assert reach(here, udp("127.0.0.1", 5353), 1.0).server == "new"


# --- reboots ---


def reboot(podnet: Podnet) -> None:
    """All that a reboot takes: processes, mounts and files of /run, links, rules."""
    podnet.kill()
    podnet.host.run(["sh", "-c", "kill -KILL $(ps -eo pid= | grep -vwE '1|'$$)"], check=False)
    script = (
        "for mount in $(grep -o ' /run/[^ ]*' /proc/mounts | tac); do umount -l $mount; done;"
        "rm -rf /run/netns /run/podnet; nft flush ruleset;"
        "for link in $(ls /sys/class/net | grep -v -w lo); do ip link del $link; done;"
        "sysctl -qw net.ipv4.ip_forward=0"
    )
    podnet.host.run(["sh", "-c", script], check=False)
    until(lambda: links(podnet.host) == [], "a fresh machine")


def test_a_pool_does_not_shrink_over_reboots(podnet: Podnet) -> None:
    """S1: three sandboxes of five addresses; had one reboot leaked two, the next would fail."""
    manifests = SMALL + "".join(sandbox(f"s{number}", FOREVER, net=ON_SMALL) for number in range(3))
    for _ in range(4):
        podnet.up(manifests)
        podnet.run("wait", "pnet/small", "--for=jsonpath={.status.addressesUsed}=3")
        reach(podnet.place("s0"), icmp(podnet.ip("s2")))
        reboot(podnet)
        podnet.agent()
        assert podnet.json("get", "psb")["items"] == []


def test_records_that_outlive_a_reboot_build_the_same_again(podnet: Podnet) -> None:
    """S1: where /run did survive, all is made anew, under the same addresses."""
    podnet.up(SMALL + "".join(sandbox(f"s{number}", net=ON_SMALL) for number in range(3)))
    before = {name: podnet.ip(name) for name in ("s0", "s1", "s2")}
    for _ in range(3):
        podnet.host.run(["cp", "-a", "/run/podnet/store.db", "/run/podnet/store.db-wal", "/run/"])
        reboot(podnet)
        podnet.host.run(["mkdir", "-m", "700", "/run/podnet"])
        podnet.host.run(["sh", "-c", "mv /run/store.db* /run/podnet/"])
        podnet.agent()
        wait_ready(podnet, *before)
        assert {name: podnet.ip(name) for name in before} == before
        reach(podnet.place("s0"), icmp(podnet.ip("s2")))
