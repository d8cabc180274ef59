"""The same commands under Debian's dockerd and under podnet: what they are given, how they end."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from support.differences import as_podnet
from support.host import until
from support.twins import SECONDS, Twins, environment, words

LIMITS = (
    "cd /sys/fs/cgroup; cat memory.max memory.swap.max cpu.max pids.max 2> /dev/null ||"
    " cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes cpu/cpu.cfs_*_us"
    " pids/pids.max"
)
RUNS = {
    "true": ([], "true"),
    "false": ([], "false"),
    "an exit code above 255": ([], "exit 300"),
    "a signal without a handler": ([], "kill -TERM $$; echo still here; exit 3"),
    "streams apart": ([], "echo out; echo err >&2"),
    "out of memory": (["--memory=8m"], "dd if=/dev/zero of=/dev/null bs=100M count=1"),
    "user number": (["-u", "1000"], "id; grep -E '^(Cap|Groups)' /proc/self/status; echo $HOME"),
    "user and group": (["-u", "root:7"], "id"),
    "number and group name": (["-u", "7:root"], "id"),
    "working directory": (["-w", "/made/here"], "pwd; stat -c '%a %u' /made /made/here"),
    "working directory of a user": (["-u", "7", "-w", "/made/here"], "pwd; touch x"),
    "variables": (["-e", "A=1", "-e", "FROM_OUTSIDE", "-e", "NOWHERE", "-e", "PATH=/bin"], "env"),
    "hostname as variable": (["-e", "HOSTNAME=other"], "env; hostname"),
    "hostname": (["--hostname=h.example.org"], "hostname; cat /etc/hostname; echo $HOSTNAME"),
    "no limits": ([], LIMITS),
    "limits": (["--memory=32m", "--cpus=0.5", "--pids-limit=7"], LIMITS),
    "limits that are none": (["--memory=0", "--cpus=0", "--pids-limit=-1"], LIMITS),
    "no processes limit": (["--pids-limit=0"], LIMITS),
    "read-only root": (
        ["--read-only"],
        "for f in /x /tmp/x /run/x /etc/hosts /etc/resolv.conf /dev/shm/x; do (: >> $f); done",
    ),
    "volume": (
        ["-v", "/run/volume:/data"],
        "cat /data/file; : >> /data/file; grep /data /proc/self/mounts | grep -v overlay",
    ),
    "read-only volume": (["-v", "/run/volume:/data:ro"], "cat /data/file; : >> /data/file"),
    "volume over /tmp of a read-only root": (
        ["--read-only", "-v", "/run/volume:/tmp"],
        ": >> /tmp/other && cat /tmp/file",
    ),
    "a file as volume": (
        ["-v", "/run/volume/file:/new/place:ro"],
        "cat /new/place; : >> /new/place",
    ),
    "hosts as volume": (["-v", "/run/volume/file:/etc/hosts"], "cat /etc/hosts"),
    "terminal without one": (["-t"], "tty; echo $TERM; printf 'a\\nb\\n'; echo e >&2"),
    "a MAC of one's own": (
        ["--network=bridge", "--mac-address=02:00:00:00:00:07"],
        "cat /sys/class/net/eth0/address",
    ),
    "hostname in host mode": (["--network=host", "--hostname=other"], "hostname; cat /etc/host*"),
    "hosts": (
        ["--network=none", "--hostname=h", "--add-host=db:192.0.2.1", "--add-host=v6:2001:db8::1"],
        "grep -v -E '^f[ef]00' /etc/hosts",
    ),
    "hosts in host mode": (["--network=host", "--add-host=db:192.0.2.1"], "cat /etc/hosts"),
    "name in capitals": (["--name=Given_Name", "--network=none"], "true"),
    "hostname left out": (["--name=given", "--network=none"], "hostname"),
    "detached": (["-d", "--name=given", "--network=none"], "true"),
    "input that is no terminal": (["-it"], "true"),
    "volume of nothing": (["-v", "/run/missing:/data"], "ls /data"),
    "more processors than there are": (["--cpus=500"], "true"),
    "published port in none mode": (["--network=none", "-p", "8080:80"], "true"),
    "MAC in none mode": (["--network=none", "--mac-address=02:00:00:00:00:07"], "true"),
    "published port in host mode": (["--network=host", "-p", "8080:80"], "true"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_command_runs_and_ends_the_same(name: str, twins: Twins) -> None:
    for host in twins.hosts:
        host.run(["sh", "-c", "mkdir -p /run/volume; echo there > /run/volume/file"])
        host.path("/etc/hosts").write_text("127.0.0.1 localhost\n127.0.0.9 own\n")
    options, script = RUNS[name]
    alone = not any(word.startswith("--network") for word in options)
    usual = ["--network=none", "--hostname=h"] if alone else []
    docker, podnet = twins.run(["--rm", *usual, *options], "sh", "-c", script)
    assert docker.out or docker.err or docker.code or script in ("true", "ls /data")
    assert str(podnet) == as_podnet(str(docker), name)


REFUSALS = {
    "hostname of the joined": (
        ["--network=container:any", "--hostname=h"],
        "conflicting options: hostname and the network mode",
    ),
    "nameserver of the joined": (
        ["--network=container:any", "--dns=192.0.2.7"],
        "conflicting options: dns and the network mode",
    ),
    "hosts of the joined": (
        ["--network=container:any", "--add-host=a:192.0.2.1"],
        "conflicting options: custom host-to-IP mapping and the network mode",
    ),
    "ports of the joined": (
        ["--network=container:any", "-p", "8080:80"],
        "conflicting options: port publishing and the container type network mode",
    ),
    "MAC of the joined": (
        ["--network=container:any", "--mac-address=02:00:00:00:00:07"],
        "conflicting options: mac-address and the network mode",
    ),
    "MAC of the host": (
        ["--network=host", "--mac-address=02:00:00:00:00:07"],
        "conflicting options: mac-address and the network mode",
    ),
    "oneself": (["--name=oneself", "--network=container:oneself"], "cannot join own network"),
    "who does not run": (["--network=container:ended"], " of a non running container: "),
    "who is not there": (["--network=container:missing"], "missing"),
    "a network that is not there": (["--network=missing"], "missing"),
    "a name that is taken": (["--name=ended"], "ended"),
    "a user that is not there": (["-u", "nobody-here"], "nobody-here"),
    "a group that is not there": (["-u", "0:nobody-here"], "nobody-here"),
    "a relative working directory": (["-w", "relative"], "relative"),
    "too little memory": (["--memory=1m"], "emory"),
    "too little of a processor": (["--cpus=0.001"], "cpu"),
    "a size that is none": (["--memory=32x"], "32x"),
    "a group address as MAC": (["--mac-address=01:00:00:00:00:07"], "01:00:00:00:00:07"),
    "restarts of what is removed": (["--restart=always"], "onflicting options: --restart and --rm"),
}
COMMANDS = {
    "no-such": (127, "executable file not found in $PATH"),
    "/no/such": (127, "stat /no/such: no such file or directory"),
    "/etc": (126, "permission denied"),
    "/etc/passwd": (126, "permission denied"),
}


@pytest.fixture(scope="module")
def ended(twins: Twins) -> Iterator[None]:
    """A container that has ended is there."""
    twins.run(["--name=ended", "--network=none"], "true")
    yield
    twins.remove("ended")


@pytest.mark.usefixtures("ended")
@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_refused_is_the_same(name: str, twins: Twins) -> None:
    options, sentence = REFUSALS[name]
    for done in twins.run(["--rm", *options], "true"):
        assert (done.code, done.out) == (125, "")
        assert sentence in done.err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_cannot_run_is_the_same(command: str, twins: Twins) -> None:
    code, sentence = COMMANDS[command]
    for done in twins.run(["--rm", "--network=none"], command):
        assert (done.code, done.out) == (code, "")
        assert f'"{command}": {sentence}' in done.err


ENTERED = (
    "id; pwd; hostname; env | sort; grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; tty;"
    " echo e >&2; exit 4"
)
EXECUTED = {
    ENTERED: ["sh", "-c", ENTERED],
    "no-such": ["no-such"],
    "/etc": ["/etc"],
}


def test_exec_enters_the_same(twins: Twins) -> None:
    twins.start("entered", "--network=none", "--hostname=h", "-u", "7:8", "-w", "/tmp", "-e", "A=1")
    for name, command in EXECUTED.items():
        docker, podnet = twins.execute("entered", *command)
        assert docker.code != 0
        assert str(podnet) == as_podnet(str(docker), f"exec {name}")
    twins.remove("entered")


# --- resolv.conf ---

MACHINES = {
    "what a Debian has": "nameserver 192.0.2.53\nsearch example.test\n",
    "a resolver on the machine": (
        "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch a.test b.test\n"
    ),
    "some that can be reached": (
        "# by hand\nnameserver 127.0.0.1\nnameserver 192.0.2.3\nnameserver ::1\n"
        "nameserver 2001:db8::53\ndomain x.test\noptions ndots:2\nsortlist 192.0.2.0\n"
    ),
    "nothing": "",
}


def meaning(text: str) -> dict[str, list[str]]:
    """Of a resolv.conf: the order of its lines, and which word names the domain, are all one."""
    found: dict[str, list[str]] = {"nameserver": [], "search": [], "options": [], "sortlist": []}
    for line in text.splitlines():
        key, *values = line.split() or ["#"]
        if key == "nameserver":
            found[key] += values
        elif not key.startswith("#"):
            found["search" if key == "domain" else key] = values
    return found


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest, twins: Twins) -> Iterator[str]:
    """The hosts' resolv.conf meanwhile."""
    before = [host.path("/etc/resolv.conf").read_text() for host in twins.hosts]
    for host in twins.hosts:
        host.path("/etc/resolv.conf").write_text(MACHINES[request.param])
    yield MACHINES[request.param]
    for host, text in zip(twins.hosts, before, strict=True):
        host.path("/etc/resolv.conf").write_text(text)


@pytest.mark.parametrize("mode", ["bridge", "none"])
def test_resolv_conf_means_the_same(mode: str, machine: str, twins: Twins) -> None:
    done = twins.run(["--rm", f"--network={mode}"], "cat", "/etc/resolv.conf")
    docker, podnet = (meaning(one.out) for one in done)
    assert podnet == docker
    assert not any(server.startswith("127.") or ":" in server for server in podnet["nameserver"])
    assert podnet["nameserver"] != [] and ("192" in machine or "8.8.8.8" in podnet["nameserver"])


def test_resolv_conf_in_host_mode_is_the_hosts(machine: str, twins: Twins) -> None:
    done = twins.run(["--rm", "--network=host"], "cat", "/etc/resolv.conf")
    assert [one.out for one in done] == [machine] * 2


@pytest.mark.parametrize("mode", ["bridge", "none", "host"])
def test_given_nameservers_replace_the_hosts(mode: str, twins: Twins) -> None:
    servers = ["--dns=192.0.2.7", "--dns=2001:db8::2"]
    done = twins.run(["--rm", f"--network={mode}", *servers], "cat", "/etc/resolv.conf")
    docker, podnet = (meaning(one.out) for one in done)
    assert podnet == docker
    assert podnet["nameserver"] == ["192.0.2.7", "2001:db8::2"]


# --- streams, signals, terminals ---


@pytest.mark.parametrize("options", [[], ["-i"]], ids=["without -i", "with -i"])
@pytest.mark.parametrize("command", ["cat", "true"])
def test_input_is_passed_on_the_same(options: list[str], command: str, twins: Twins) -> None:
    text = "x" * 300_000
    done = twins.run(["--rm", "--network=none", *options], command, input=text)
    assert done.podnet == done.docker
    assert done.podnet.out == (text if options and command == "cat" else "")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
def test_signals_are_passed_on_the_same(name: str, twins: Twins) -> None:
    script = f"trap 'echo {name}; exit 7' {name}; echo up; while :; do sleep 0.02; done"
    started = _started(twins, ["--rm", "--network=none"], script)
    for process in started:
        process.send_signal(signal.Signals[f"SIG{name}"])
    ends = [(process.communicate(timeout=SECONDS), process.returncode) for process in started]
    assert ends == [((f"{name}\n", ""), 7)] * 2


def test_a_container_that_is_killed_ends_the_same(twins: Twins) -> None:
    started = _started(twins, ["--name=victim", "--network=none"], "echo up; exec sleep 1000")
    for host, pid in zip(twins.hosts, twins.pids("victim"), strict=True):
        host.run(["kill", "-KILL", str(pid)])
    ends = [(process.communicate(timeout=SECONDS), process.returncode) for process in started]
    assert ends == [(("", ""), 137)] * 2
    twins.remove("victim")


def _started(twins: Twins, options: list[str], script: str) -> list["subprocess.Popen[str]"]:
    """Both, once they have said `up`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    started = [
        host.popen(argv, text=True, env=environment(), **pipes)
        for host, argv in zip(twins.hosts, words(options, ["sh", "-c", script]), strict=True)
    ]
    for process in started:
        assert process.stdout.readline() == "up\n"
    return started


def test_a_terminal_has_our_size_and_its_own_line_ends(twins: Twins) -> None:
    wait = (
        "until [ \"$(stty size 2> /dev/null)\" = '33 99' ]; do sleep 0.02; done"  # docker's is late
    )
    script = f"{wait}; stty size; tty; [ -c /dev/console ] && echo a; echo b >&2; exit 3"
    ends = twins.terminal(["--rm", "--network=none"], "sh", "-c", script, rows=33, columns=99)
    assert ends == [(3, b"33 99\r\n/dev/pts/0\r\na\r\nb\r\n")] * 2


# --- restarts ---

RESTARTS = {
    ("no", 0): False,
    ("no", 3): False,
    ("on-failure", 0): False,
    ("on-failure", 3): True,
    ("always", 0): True,
    ("unless-stopped", 0): True,
}


def test_the_same_is_restarted(twins: Twins) -> None:
    """How long they wait is not the same: docs/docker.md."""
    names = {case: f"restart-{number}" for number, case in enumerate(RESTARTS)}
    for (policy, code), name in names.items():
        options = ["--network=none", f"--restart={policy}"]
        twins.start(name, *options, command=["sh", "-c", f"exit {code}"])

    def found() -> list[dict[tuple[str, int], bool]]:
        status = {
            body["metadata"]["name"]: body["status"]["containers"][0]
            for body in twins.podnet.json("get", "podsandboxes")["items"]
        }
        return [
            {case: twins.docker.inspect(name)["RestartCount"] > 0 for case, name in names.items()},
            {case: status[name]["restarts"] > 0 for case, name in names.items()},
        ]

    until(lambda: found() == [RESTARTS] * 2, f"{RESTARTS}, both", 10)
    twins.remove(*names.values())
