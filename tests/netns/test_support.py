"""The ground the other tests stand on: private hosts are private, whole, and gone afterwards."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import keeper
from support.guard import Remains, changes, left_of, machine_state, until_nothing_left
from support.host import Host, HostError, until
from support.wire import connect

TESTS = Path(__file__).parents[1]


def own_cgroups(host: Host) -> list[Path]:
    """The host's control groups as the machine sees them."""
    name = f"{keeper.CGROUP_PREFIX}{host.keeper_pid}-"
    return [
        Path(parent, below)
        for *_, where, _ in keeper.mounted_hierarchies()
        for parent, folders, _ in os.walk(where)
        for below in folders
        if below.startswith(name)
    ]


def test_a_host_has_everything_of_its_own(host: Host) -> None:
    for kind in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
        assert os.readlink(host.namespace(kind)) != os.readlink(f"/proc/self/ns/{kind}")
        inside = host.run(["readlink", f"/proc/self/ns/{kind}"]).stdout.strip()
        assert inside == os.readlink(host.namespace(kind))
    assert set(host.links()) == {"lo"}
    assert host.links()["lo"]["flags"] == ["LOOPBACK", "UP", "LOWER_UP"]
    assert host.run(["hostname"]).stdout == "host\n"
    assert host.nft_json() == []


@pytest.mark.parametrize("place", ["/run", "/etc", "/var/lib", "/var/lib/podnet", "/run/netns"])
def test_what_is_written_stays_inside(host: Host, place: str) -> None:
    host.run(["mkdir", "-p", place])
    host.run(["tee", f"{place}/written"], input="inside")
    assert host.path(f"{place}/written").read_text() == "inside"
    assert not Path(place, "written").exists()


def test_etc_files_can_be_replaced_by_rename(host: Host) -> None:
    before = Path("/etc/hosts").read_text()
    host.run(["sh", "-c", "echo 192.0.2.7 other > /etc/new; mv /etc/new /etc/hosts"])
    assert host.run(["getent", "hosts", "other"]).stdout.split()[0] == "192.0.2.7"
    assert Path("/etc/hosts").read_text() == before
    assert host.run(["cat", "/etc/resolv.conf"]).stdout == keeper.RESOLV_CONF


@pytest.mark.parametrize("on", [False, True])
def test_bridged_frames_pass_the_firewall_only_if_asked(
    make_host: Callable[..., Host], on: bool
) -> None:
    host = make_host(bridge_nf=on)
    if not Path("/proc/sys/net/bridge").exists():
        pytest.skip("this kernel has no br_netfilter loaded: frames never pass the firewall")
    assert host.sysctl("net.bridge.bridge-nf-call-iptables") == str(int(on))


def test_sysctls_are_the_hosts_own(host: Host) -> None:
    machine = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
    other = str(1 - int(machine))
    assert host.sysctl("net.ipv4.ip_forward", other) == other
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == machine


def test_commands_answer_and_fail_as_commands(host: Host) -> None:
    assert host.run(["cat"], input="text").stdout == "text"
    assert host.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    with pytest.raises(HostError, match=r"exit 2: .*no-such-file"):
        host.run(["ls", "/no-such-file"])
    assert host.python("import sys; print(sys.argv[1:])", "a b").stdout == "['a b']\n"
    assert host.run(["pwd"], cwd="/usr/bin").stdout == "/usr/bin\n"


def test_a_timeout_ends_the_command_itself(host: Host) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        host.run(["sleep", "1000"], timeout=0.1)
    assert "sleep" not in host.run(["ps", "ax"]).stdout


def test_a_host_is_soon_made_and_entered(make_host: Callable[..., Host]) -> None:
    # Some 35 and 2.5 ms; ten times that would make the tests take minutes. The best of five.
    def seconds(action: Callable[[], object]) -> float:
        begin = time.monotonic()
        action()
        return time.monotonic() - begin

    assert min(seconds(make_host) for _ in range(5)) < 0.35
    host = make_host()
    assert min(seconds(lambda: host.run(["true"])) for _ in range(5)) < 0.03


def test_orphans_of_a_host_are_reaped(host: Host) -> None:
    host.run(["sh", "-c", "sleep 0.05 & sleep 0.05 & exit 0"], stdout=subprocess.DEVNULL)
    until(lambda: "sleep" not in host.run(["ps", "axo", "comm"]).stdout, "no orphan left")


def test_control_groups_lie_below_the_hosts_own(host: Host) -> None:
    hierarchies = [where for *_, where, _ in keeper.mounted_hierarchies()]
    assert hierarchies
    host.run(["mkdir", *(f"{where}/podnet" for where in hierarchies)])
    own = own_cgroups(host)
    assert len(own) == len(hierarchies)
    assert all((folder / "podnet").is_dir() for folder in own)
    host.run(["rmdir", *(f"{where}/podnet" for where in hierarchies)])
    assert not any((folder / "podnet").exists() for folder in own)


def test_closing_ends_all_there_is(make_host: Callable[..., Host]) -> None:
    before = machine_state()
    host = make_host()
    process = host.popen(["sleep", "1000"])
    detached = host.popen(["setsid", "sh", "-c", "sleep 1000 & sleep 1000 & wait"])
    hierarchy = next(where for *_, where, _ in keeper.mounted_hierarchies())
    host.run(["mkdir", "-p", f"{hierarchy}/podnet/one"])
    own = own_cgroups(host)
    host.close()
    host.close()
    assert process.returncode == detached.returncode == -signal.SIGKILL
    assert not any(folder.exists() for folder in own)
    assert changes(before, machine_state()) == ""


def test_what_is_missing_is_said(host: Host) -> None:
    with pytest.raises(HostError, match=r"was not made: .*'hostname'"):
        Host("x" * 65)
    with pytest.raises(HostError, match=r"exit 127: .*No such file"):
        host.run(["no-such-program"])


# --- wires ---


def test_a_wire_joins_two_hosts(make_host: Callable[..., Host]) -> None:
    node, outside = make_host("node"), make_host("outside")
    near, far = connect(node, outside, ifnames=("eth0", "wan"))
    for end, other in ((near, far), (far, near)):
        shown = end.host.ip_json("addr", "show", end.ifname)[0]
        addresses = {f"{one['local']}/{one['prefixlen']}" for one in shown["addr_info"]}
        assert {str(end.ipv4), str(end.ipv6)} <= addresses
        assert not [one for one in shown["addr_info"] if "tentative" in one]
        for address in (other.ipv4.ip, other.ipv6.ip):
            route = end.host.ip_json("route", "get", str(address))[0]
            assert route["dev"] == end.ifname
    for family in ("-4", "-6"):
        assert node.ip_json(family, "route", "show", "default")
        assert not outside.ip_json(family, "route", "show", "default")


# --- nothing left behind, however it ends ---

OWNER = """
import sys, time
from support.host import Host
from support.keeper import mounted_hierarchies
host = Host("doomed")
host.popen(["setsid", "sleep", "1000"])
host.run(["mkdir", "-p", "/run/netns", *(m[2] + "/podnet/one" for m in mounted_hierarchies())])
host.run(["ip", "netns", "add", "pinned"])
host.run(["ip", "link", "add", "podnet0", "type", "bridge"])
print(host.pid, host.keeper_pid, flush=True)
time.sleep(1000)
"""


@dataclass(frozen=True)
class Owned:
    """A process with a host in use."""

    owner: subprocess.Popen[str]
    remains: Remains


@contextmanager
def owning() -> Iterator[Owned]:
    before = machine_state()
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    remains = Remains.of(*map(int, owner.stdout.readline().split()))
    with owner.stdout:
        try:
            yield Owned(owner, remains)
        finally:
            owner.kill()
            owner.wait()
    assert changes(before, machine_state()) == ""


@pytest.fixture
def owned() -> Iterator[Owned]:
    with owning() as owned:
        yield owned


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_is_left_when_the_owner_is_killed(owned: Owned, number: signal.Signals) -> None:
    assert len(left_of(owned.remains)) > 3  # it can be seen
    owned.owner.send_signal(number)
    owned.owner.wait()
    until_nothing_left(owned.remains)


def kill_keeper(owned: Owned) -> None:
    os.kill(owned.remains.keeper, signal.SIGKILL)
    owned.owner.kill()  # who would have to reap what it started there
    owned.owner.wait()
    init = owned.remains.init
    until(lambda: not keeper.start_time(init), "the host died with its keeper", 30)


def test_the_next_host_clears_up_after_a_killed_keeper() -> None:
    for _ in range(10):
        with owning() as owned:
            kill_keeper(owned)
            left = left_of(owned.remains)
            assert all(Path(folder).is_relative_to(keeper.CGROUP_MOUNT) for folder in left)
            Host().close()
            assert left_of(owned.remains) == []
        if left:
            return  # else a host of another test, run beside this one, was the next
    pytest.fail("there was never anything to clear up")


def test_a_killed_keeper_started_elsewhere_is_cleared_up_after_too() -> None:
    """As one of another login session, whose folder lies in another control group."""
    place = Path(keeper.mounted_hierarchies()[0][2], f"elsewhere-{os.getpid()}")
    left = place / f"{keeper.CGROUP_PREFIX}{os.getpid()}-1"  # no process started then
    left.mkdir(parents=True)
    try:
        Host().close()
        assert not left.exists()
    finally:
        keeper.remove_cgroup(str(place))


def test_nothing_is_left_of_a_test_run_that_is_killed(tmp_path: Path) -> None:
    """A whole pytest with hosts in use, killed in the middle of a test."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "conftest.py").write_text((TESTS / "netns/conftest.py").read_text())
    (folder / "test_doomed.py").write_text(
        "import time\n"
        "def test_doomed(make_host):\n"
        "    hosts = [make_host(), make_host()]\n"
        "    hosts[0].popen(['setsid', 'sleep', '1000'])\n"
        "    print('HOSTS', *(n for h in hosts for n in (h.pid, h.keeper_pid)), flush=True)\n"
        "    time.sleep(1000)\n"
    )
    before = machine_state()
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", str(folder)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert run.stdout is not None
    line = next(line for line in run.stdout if "HOSTS" in line)
    numbers = list(map(int, line.split()[-4:]))
    hosts = [Remains.of(*numbers[:2]), Remains.of(*numbers[2:])]
    run.kill()
    run.communicate()
    for remains in hosts:
        until_nothing_left(remains)
    assert changes(before, machine_state()) == ""


# --- the guard sees what it is for ---


def test_the_guard_sees_a_change_in_what_it_watches(host: Host) -> None:
    """The machine's own network can't be changed to try it, so the guard runs in a host."""
    look = (
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "import json; from support.guard import machine_state\n"
        "print(json.dumps(machine_state()))"
    )

    def state() -> dict[str, object]:
        found: dict[str, object] = json.loads(host.python(look).stdout)
        return found

    before = state()
    assert changes(before, state()) == ""
    for command, seen in (
        ("ip link add podnet0 type bridge", "links"),
        ("ip addr add 192.0.2.9/32 dev lo", "addresses"),
        ("ip route add unreachable 198.51.100.0/24", "routes"),
        ("ip -6 route add unreachable 2001:db8:9::/64", "routes, IPv6"),
        ("nft add table inet podnet", "rules"),
        ("sysctl -qw net.ipv4.conf.lo.route_localnet=1", "settings"),
        ("ip netns add podnet-x", "namespaces"),
        ("mkdir -p /run/podnet/x", "agent"),
        (f"mkdir {keeper.mounted_hierarchies()[0][2]}/podnet", "control groups"),
    ):
        before = state()
        host.run(command.split())
        assert f"{seen}: was" in changes(before, state()), command
    before = state()
    host.run(["rmdir", f"{keeper.mounted_hierarchies()[0][2]}/podnet"])
    assert changes(before, state()) == ""
