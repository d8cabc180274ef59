"""The program on machines that lack something, or where others were first: what it says and leaves.

Each test's host is its own. What is missing is hidden in that host alone, under a bind mount.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.bodies import FOREVER, network, published, sandbox
from support.host import Host, until
from support.podnet import PROGRAM, START_SECONDS, Podnet
from support.traffic import Place, icmp, reach, serve, tcp
from support.wire import connect

STORE = "/run/podnet/store.db"


@pytest.fixture
def podnet(host: Host) -> Podnet:
    """The program in a host of the test's own; no agent runs yet."""
    return Podnet(host)


def hide(host: Host, *paths: str) -> None:
    """Make files of the host useless: neither programs nor libraries."""
    for path in paths:
        host.run(["mount", "--bind", "/dev/null", path])


def failure(podnet: Podnet, *words: str, text: str | None = None) -> str:
    """What a command that fails says on standard error."""
    done = podnet.run(*words, input=text, check=False)
    assert done.returncode, done.stdout
    return done.stderr


def wait_ready(podnet: Podnet, *names: str, seconds: int = 10) -> None:
    podnet.run("wait", *names, "--for=condition=Ready", f"--timeout={seconds}s")


# --- what a machine lacks ---


@pytest.mark.parametrize("program", ["runc", "conmon"])
def test_without_a_program_for_containers_networks_still_work(program: str, podnet: Podnet) -> None:
    podnet.agent()
    found = podnet.host.run(["which", program]).stdout.strip()
    hide(podnet.host, found)
    podnet.apply(sandbox("empty") + sandbox("full", FOREVER))
    wait_ready(podnet, "psb/empty")
    assert podnet.why_not("full") == (
        f"container c0: {program} is not installed: apt-get install {program}"
    )
    said = failure(podnet, "run", "--net=none", "--", "true")
    assert f"{program} is not installed: apt-get install {program}" in said
    reach(podnet.place("empty"), icmp("172.17.0.1"))


def test_without_libnftables_nothing_is_begun(podnet: Podnet) -> None:
    libraries = Path("/usr/lib").glob("*/libnftables.so*")
    hide(podnet.host, *map(str, libraries))
    sentence = "libnftables.so.1 is not on this machine: apt-get install libnftables1\n"
    said = failure(podnet, "up", "-", text=sandbox("web"))
    assert said == f"error: the agent did not start: {sentence}"
    assert failure(podnet, "agent") == f"podnet-agent: {sentence}"
    assert sorted(podnet.host.links()) == ["lo"]
    assert podnet.run("down").stdout == "nothing of podnet's is on this machine\n"


@pytest.mark.parametrize(
    "words", [["up", "-"], ["run", "--", "true"], ["down"], ["get", "psb"]], ids=lambda w: w[0]
)
@pytest.mark.parametrize("running", [False, True], ids=["no agent", "an agent"])
def test_nobody_but_root_may(words: list[str], running: bool, podnet: Podnet) -> None:
    if running:
        podnet.agent()
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = podnet.host.run([*nobody, PROGRAM, *words], input=sandbox("web"), check=False)
    assert done.returncode and done.stdout == ""
    if words != ["get", "psb"]:
        assert done.stderr == "error: podnet makes namespaces and links: run it as root\n"
    elif running:
        assert done.stderr == "error: /run/podnet/agent.sock is root's: run podnet as root\n"
    if running:
        mode = podnet.host.run(["stat", "-c", "%a %u", "/run/podnet/agent.sock"]).stdout
        assert mode == "600 0\n"
        assert podnet.answers()


def test_where_settings_cannot_be_written_it_says_so_until_they_can(podnet: Podnet) -> None:
    """S36: /proc/sys mounted read-only, as in many a container."""
    podnet.host.run(["mount", "--bind", "/proc/sys", "/proc/sys"])
    podnet.host.run(["mount", "-o", "remount,ro,bind", "/proc/sys"])
    podnet.agent()
    podnet.apply(sandbox("web"))
    remedy = "Read-only file system: mount /proc/sys so that it can be written"
    assert podnet.why_not("web").endswith(remedy)
    assert podnet.why_not("default", "podnetwork").endswith(remedy)
    assert podnet.host.run(["ls", "/run/netns"]).stdout == ""
    podnet.host.run(["umount", "/proc/sys"])
    wait_ready(podnet, "psb/web", "pnet/default", seconds=15)
    reach(podnet.place("web"), icmp("172.17.0.1"))


def test_without_ipv6_the_other_family_works(podnet: Podnet) -> None:
    """S27: every interface's IPv6 is switched off; a network of IPv4 alone is as ever."""
    for name in ("all", "default"):
        podnet.host.sysctl(f"net/ipv6/conf/{name}/disable_ipv6", 1)
    podnet.up(sandbox("web") + sandbox("client"))
    with serve(podnet.place("web"), 80):
        reach(podnet.place("client"), tcp(podnet.ip("web"), 80))
    podnet.run("down")


def test_a_hardened_machine_is_as_good_as_any(make_host: Callable[..., Host]) -> None:
    """S19: strict reverse paths, ARP only for the interface's own, no redirects, no forwarding."""
    host, outside = make_host("node"), make_host("outside")
    for name in ("all", "default"):
        for setting, value in (
            ("rp_filter", 1),
            ("arp_ignore", 2),
            ("arp_announce", 2),
            ("accept_redirects", 0),
            ("send_redirects", 0),
            ("route_localnet", 0),
            ("accept_local", 0),
        ):
            host.sysctl(f"net/ipv4/conf/{name}/{setting}", value)
    connect(host, outside)
    podnet = Podnet(host)
    podnet.up(sandbox("web", net=published(8080)) + sandbox("client"))
    web, client, node = podnet.place("web"), podnet.place("client"), Place(host)
    with serve(web, 80), serve(Place(outside), 81):
        for place, address in (
            (node, "127.0.0.1"),
            (node, "192.0.2.1"),
            (Place(outside), "192.0.2.1"),
            (client, "172.17.0.1"),
            (web, "192.0.2.1"),
        ):
            reach(place, tcp(address, 8080))
        reach(client, tcp(podnet.ip("web"), 80))
        reach(client, tcp("192.0.2.2", 81))


def test_macs_are_set_as_links_are_made(podnet: Podnet) -> None:
    """S21: NET_ADDR_SET (3) tells udev's MACAddressPolicy to leave them alone."""
    podnet.up(sandbox("web"))
    files = ["/sys/class/net/eth0/addr_assign_type", "/sys/class/net/eth0/address"]
    netns = podnet.status("web")["netns"]["path"].removeprefix("/run/netns/")
    said = podnet.host.run(["ip", "netns", "exec", netns, "cat", *files]).stdout.split()
    assert said == ["3", "02:42:ac:11:00:02"]
    bridge = podnet.host.run(["cat", "/sys/class/net/podnet0/addr_assign_type"]).stdout.strip()
    assert bridge == "3"


def test_a_low_limit_of_open_files_costs_only_what_is_beyond_it(podnet: Podnet) -> None:
    """S36: the agent lives on, says what it ran into, and takes all away in the end."""
    script = f"ulimit -n 110; exec {PROGRAM} agent > /run/agent.log 2>&1"
    agent = podnet.host.popen(["sh", "-c", script])
    until(podnet.answers, "an answer", START_SECONDS)
    podnet.up(sandbox("early"))
    many = [sandbox(f"s{number}", net=published(9000 + number)) for number in range(30)]
    podnet.apply("".join(many))

    def refused() -> bool:
        items = podnet.json("get", "psb")["items"]
        said = [each["status"].get("conditions", [{}])[-1].get("message", "") for each in items]
        return any("may have no more than 110 files open" in message for message in said)

    until(refused, "a condition that tells of open files")
    podnet.run("delete", "psb", *(f"s{number}" for number in range(30)))
    podnet.up(sandbox("late", net=published(9000)))
    reach(podnet.place("early"), icmp(podnet.ip("late")))
    podnet.run("down")
    assert agent.wait(5) == 0
    assert sorted(podnet.host.links()) == ["lo"]


def test_the_usual_limit_of_open_files_bounds_containers_alone(podnet: Podnet) -> None:
    """S36: the agent takes what it may, each container is a file of its; they keep the usual."""
    script = f"ulimit -Sn 100; exec {PROGRAM} agent > /run/agent.log 2>&1"
    podnet.host.popen(["sh", "-c", script])
    until(podnet.answers, "an answer", START_SECONDS)
    ports = [sandbox(f"s{number}", net=published(9000 + number)) for number in range(40)]
    podnet.up("".join(ports) + sandbox("full", FOREVER))
    limits = podnet.inside("full", "grep", "open files", "/proc/1/limits").split()
    assert limits[3] == "100"


# --- its records ---


def test_a_full_disk_is_named_and_nothing_that_runs_is_harmed(podnet: Podnet) -> None:
    """S36: no object is half written; with room again all goes on, without a restart."""
    podnet.host.run(["mkdir", "/run/podnet"])
    podnet.host.run(["mount", "-t", "tmpfs", "-o", "size=8m", "small", "/run/podnet"])
    agent = podnet.agent()
    podnet.up(sandbox("before") + sandbox("other"))
    podnet.host.run(["dd", "if=/dev/zero", "of=/run/podnet/fill", "bs=4k"], check=False)
    # What SQLite has already is filled by what others do.
    said = until(lambda: refusal(podnet), "a refusal", 10)
    assert said.endswith("database or disk is full: free space there or mend the disk\n")
    assert STORE in said
    reach(podnet.place("before"), icmp(podnet.ip("other")))
    failure(podnet, "delete", "psb", "before")
    reach(podnet.place("before"), icmp(podnet.ip("other")))
    podnet.host.run(["rm", "/run/podnet/fill"])
    podnet.up(sandbox("after"))
    reach(podnet.place("before"), icmp(podnet.ip("after")))
    assert podnet.request("GET", "/version")[1]["pid"] == agent_inside(podnet, agent)
    podnet.run("delete", "psb", "before")


def refusal(podnet: Podnet) -> str:
    """What applying one more object fails with; empty where it does not."""
    name = f"more-{os.urandom(4).hex()}"
    return podnet.apply(sandbox(name, net="None"), check=False).stderr


def agent_inside(podnet: Podnet, pid: int) -> int:
    """The agent's process id as the host counts."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("NSpid"))
    return int(line.split()[-1])


BROKEN = {
    "truncated": ["truncate", "-s", "5000", STORE],
    "of no bytes": ["truncate", "-s", "0", STORE],
    "overwritten": ["dd", "if=/dev/urandom", f"of={STORE}", "bs=1k", "count=9", "conv=notrunc"],
    "no database": ["sh", "-c", f"echo hello > {STORE}"],
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
def test_broken_records_are_set_aside_and_the_node_is_made_clean(
    damage: list[str], podnet: Podnet
) -> None:
    """S10: the agent starts; what it has no record of goes, and everything can be built again."""
    podnet.agent()
    podnet.up(network("more", subnets=["10.9.0.0/24"]) + sandbox("web", FOREVER))
    podnet.kill()
    podnet.host.run(["sh", "-c", f"rm -f {STORE}-wal {STORE}-shm"])
    podnet.host.run(damage)
    podnet.agent()
    assert podnet.json("get", "psb")["items"] == []
    until(lambda: sorted(podnet.host.links()) == ["lo", "podnet0"], "no link of nobody's")
    until(lambda: podnet.host.run(["ls", "/run/netns"]).stdout == "", "no namespace of nobody's")
    processes = podnet.host.run(["ps", "-eo", "args"]).stdout
    assert "sleep 1000" not in processes
    podnet.up(sandbox("web", FOREVER) + sandbox("client"))
    reach(podnet.place("client"), icmp(podnet.ip("web")))
    podnet.run("down")
    assert "podnet" not in podnet.host.run(["ls", "/run"]).stdout.split()


# --- others were first ---


def test_a_port_that_a_foreign_process_holds_is_not_taken(podnet: Podnet) -> None:
    """S16: the sandbox says who has it, and has it itself once it is free."""
    podnet.agent()
    holder = podnet.host.popen(["busybox", "httpd", "-f", "-p", "8080"])
    until(lambda: ":8080" in podnet.host.run(["ss", "-ltn"]).stdout, "the foreign server")
    podnet.apply(sandbox("web", net=published(8080)))
    said = podnet.why_not("web")
    assert said.startswith("port 8080/tcp of this machine is taken by busybox (process ")
    assert said.endswith("): end that or choose another hostPort")
    assert "8080" not in podnet.host.run(["nft", "list", "ruleset"]).stdout
    assert podnet.host.run(["ls", "/run/netns"]).stdout == ""
    holder.kill()
    holder.wait()
    wait_ready(podnet, "psb/web")
    with serve(podnet.place("web"), 80):
        reach(Place(podnet.host), tcp("127.0.0.1", 8080))


def test_two_sandboxes_want_one_port(podnet: Podnet) -> None:
    """S16: the second waits, and gets it as soon as the first has gone; S17: nothing shadows it."""
    podnet.up(sandbox("first", net=published(8080)))
    podnet.apply(sandbox("second", net=published(8080)))
    assert podnet.why_not("second") == (
        "PodSandbox/default/second spec.network.ports: host port 8080/tcp is published by"
        " PodSandbox/default/first already: choose another hostPort or hostIP"
    )
    podnet.run("delete", "psb", "first")
    wait_ready(podnet, "psb/second", seconds=2)
    with serve(podnet.place("second"), 80, name="second"):
        assert reach(Place(podnet.host), tcp("127.0.0.1", 8080)).server == "second"


def test_a_foreign_link_in_a_bridges_place_stays(podnet: Podnet) -> None:
    """Nothing is put onto it; once it has gone, the network is built at once."""
    host = podnet.host
    host.run(["ip", "link", "add", "podnet0", "type", "bridge"])
    host.run(["ip", "address", "add", "192.0.2.1/24", "dev", "podnet0"])
    before = host.ip_json("address", "show", "podnet0")
    podnet.agent()
    podnet.apply(sandbox("web"))
    assert podnet.why_not("default", "podnetwork").startswith(
        "link podnet0 exists and is not podnet's (a link of kind bridge"
    )
    assert podnet.why_not("web").startswith("link podnet0 is not podnet's;")
    podnet.restart()
    assert host.ip_json("address", "show", "podnet0") == before
    assert podnet.host.run(["ls", "/run/netns"]).stdout == ""
    host.run(["ip", "link", "del", "podnet0"])
    wait_ready(podnet, "psb/web", "pnet/default", seconds=5)


def test_leftovers_that_are_not_ours_are_in_nobodys_way(podnet: Podnet) -> None:
    """S36: namespaces and files in /run/netns, by others or by a crash of somebody's."""
    host = podnet.host
    host.run(["ip", "netns", "add", "theirs"])
    host.run(["ip", "netns", "add", "podnet-mine"])
    host.run(["sh", "-c", "touch /run/netns/podnet-0123456789ab /run/netns/other"])
    podnet.up(sandbox("web"))
    podnet.run("down")
    names = set(host.run(["ls", "/run/netns"]).stdout.split())
    assert {"theirs", "podnet-mine", "other"} <= names
    host.run(["ip", "netns", "exec", "theirs", "true"])


# --- more than one at once ---


def test_several_ups_at_once_start_one_agent(podnet: Podnet) -> None:
    pipe = subprocess.PIPE
    started = [
        podnet.host.popen([PROGRAM, "up", "-"], text=True, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(4)
    ]
    for number, process in enumerate(started):
        assert process.stdin is not None
        process.stdin.write(sandbox(f"s{number}"))
        process.stdin.close()
        process.stdin = None
    for number, process in enumerate(started):
        out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert f"podsandbox.podnet.dev/s{number} ready" in out
    agents = podnet.host.run(["pgrep", "-fc", "podnet_agent serve"]).stdout.strip()
    assert agents == "1"


def test_a_second_agent_is_refused_and_the_first_goes_on(podnet: Podnet) -> None:
    podnet.agent()
    assert failure(podnet, "agent") == (
        "podnet-agent: an agent runs already on this machine (it holds /run/podnet/agent.lock):"
        " `podnet down` ends it with all that it built\n"
    )
    podnet.up(sandbox("web"))


def test_a_pin_that_is_mounted_once_more_is_named_and_goes_when_it_can(podnet: Podnet) -> None:
    """As in a container that sees its own root in a folder of the node's."""
    podnet.agent()
    podnet.apply(sandbox("web", FOREVER))
    wait_ready(podnet, "psb/web")
    host, twin = podnet.host, "/run/twin"
    identity = podnet.json("get", "psb", "web")["status"]["sandboxID"]
    host.run(["mkdir", twin])
    host.run(["mount", "--rbind", "/run/podnet", twin])
    host.run(["mount", "--make-rprivate", twin])
    podnet.run("delete", "psb", "web", "--wait=false")
    folder = f"/run/podnet/sandboxes/{identity}"
    until(lambda: "can't be removed: Device or resource busy" in podnet.why_not("web"), "a word")
    assert f"`grep {folder} /proc/self/mountinfo`" in podnet.why_not("web")
    host.run(["umount", "--recursive", "--lazy", twin])
    until(lambda: not host.path(folder).exists(), "it to be gone", 15)
    until(lambda: podnet.run("get", "psb", "web", check=False).returncode, "no object", 5)
