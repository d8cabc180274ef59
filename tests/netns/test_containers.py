"""Containers as a user has them: the program in a private host, image `host` for the most part."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.containerd import with_agent
from support.host import Host, until
from support.podnet import PROGRAM, Podnet
from support.sandboxes import ended, inside, run, sandbox, states


@pytest.fixture(scope="module", params=["runc", "containerd"])
def node(request: pytest.FixtureRequest) -> Iterator[Podnet]:
    """Such a host, and one whose agent runs containers by containerd."""
    if request.param == "runc":
        yield request.getfixturevalue("machine")
        return
    with Host("machine") as host:
        yield with_agent(host, request.param)


# --- image `host` ---


def test_image_host_is_the_machines_root_with_a_layer_of_its_own(machine: Podnet) -> None:
    machine.host.run(["sh", "-c", "echo machine > /run/secret; echo machine > /tmp/podnet-secret"])
    try:
        script = (
            "ls -A /run /tmp /var/lib/podnet 2>&1; echo x > /usr/x && cat /usr/x;"
            "rm /etc/os-release && test ! -e /etc/os-release && echo gone;"
            "ls /proc | grep -c '^[0-9]'"
        )
        code, out, err = run(machine, "--", "sh", "-c", script)
        assert (code, err) == (0, "")
        assert "secret" not in out and "agent.sock" not in out
        assert out.splitlines()[-3:] == ["x", "gone", "3"]  # sh, ls, grep
    finally:
        machine.host.run(["rm", "/tmp/podnet-secret"])
    assert not Path("/usr/x").exists()
    assert Path("/etc/os-release").exists()


REFUSED = {
    "unshare": "unshare -U true",
    "mount": "mount -t tmpfs x /mnt",
    "sysctl": "echo 1 > /proc/sys/kernel/core_uses_pid",
    "device": "mknod /d b 8 0 && cat /d",
    "firmware": "ls -A /sys/firmware | grep .",
    "time": "date -s @0",
}
ALLOWED = {
    "chroot": "chroot / true",
    "chown": "touch /f && chown 7 /f",
    "null": "echo x > /dev/null && mknod /n c 1 3 && echo x > /n",
    "low port": "timeout 0.1 busybox nc -l -p 80; test $? -gt 1",
}


def test_root_in_a_container_has_dockers_powers_and_no_more(machine: Podnet) -> None:
    attempts = (REFUSED | ALLOWED).items()
    script = "".join(f"({command}) > /dev/null 2>&1 && echo {word};" for word, command in attempts)
    code, out, _ = run(machine, "--", "sh", "-c", f"{script} grep -E 'Cap|Seccomp:' /proc/1/status")
    lines = out.splitlines()
    assert lines[: len(ALLOWED)] == list(ALLOWED)
    facts = {line.split(":")[0]: line.split()[1] for line in lines[len(ALLOWED) :]}
    assert facts == {
        "CapInh": "0000000000000000",
        "CapPrm": "00000000a80425fb",
        "CapEff": "00000000a80425fb",
        "CapBnd": "00000000a80425fb",
        "CapAmb": "0000000000000000",
        "Seccomp": "2",
    }
    assert code == 0


def test_the_process_is_what_was_asked_for(machine: Podnet) -> None:
    script = "id; pwd; echo $A-$HOSTNAME-$HOME; echo $PATH; touch /x; cat /data/hosts | wc -l"
    words = ["-e", "A=1", "-u", "games:adm", "-w", "/srv/made", "--read-only"]
    code, out, err = run(
        machine, *words, "--hostname=h", "-v", "/etc:/data:ro", "--", "sh", "-c", script
    )
    lines = out.splitlines()
    assert lines[0] == "uid=5(games) gid=4(adm) groups=4(adm)"
    assert lines[1:4] == [
        "/srv/made",
        "1-h-/usr/games",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ]
    assert code == 0 and "Read-only file system" in err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--", "no-such-command"], 127, 'command "no-such-command": executable file not found'),
        (["--", "/no/such"], 127, 'command "/no/such": stat /no/such: no such file or directory'),
        (["--", "/etc/passwd"], 126, 'command "/etc/passwd": permission denied'),
        (
            ["-u", "nobody-here", "--", "id"],
            125,
            "user 'nobody-here' is not in the image's /etc/pa",
        ),
        (["-v", "/no/such:/x", "--", "id"], 125, "mount source /no/such does not exist: create it"),
        (["--image", "/no/such", "id"], 125, "image /no/such does not exist"),
        (["--image", "busybox", "id"], 125, "is neither `host` nor an absolute path"),
    ],
)
def test_what_cannot_run_is_said_with_dockers_exit_code(
    words: list[str], code: int, sentence: str, machine: Podnet
) -> None:
    found, out, err = run(machine, *words)
    assert (found, out) == (code, "")
    assert sentence in err
    assert machine.json("get", "podsandboxes")["items"] == []


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("exit 0", 0),
        ("exit 42", 42),
        ("kill -9 $$; sleep 9", 137),
        ("trap 'exit 5' TERM; kill $$", 5),
    ],
)
def test_run_exits_as_the_command_does(script: str, code: int, machine: Podnet) -> None:
    # The first process of a pid namespace can't kill itself: a child of it does.
    words = ["sh", "-c", f"sh -c '{script}'"] if "-9" in script else ["sh", "-c", script]
    assert run(machine, "--", *words)[0] == code


def test_streams_are_kept_apart_and_input_reaches_the_command(machine: Podnet) -> None:
    text = "x" * 100_000 + "\n"
    assert run(machine, "-i", "--", "sh", "-c", "cat; echo e >&2", input=text) == (0, text, "e\n")
    assert run(machine, "--", "cat", input=text) == (0, "", "")


def test_a_terminal_is_one(machine: Podnet) -> None:
    inner = f"{PROGRAM} run --rm -it --net none -- sh -c 'tty; echo $TERM; exit 3'"
    done = machine.host.run(["script", "-qec", inner, "/dev/null"], check=False)
    said = done.stdout.replace("^@", "").split()  # script(1) types a NUL where its input ends
    assert (done.returncode, said) == (3, ["/dev/pts/0", os.environ["TERM"]])


# --- several containers ---


def test_containers_of_a_sandbox_share_net_ipc_hostname_and_memory_only(node: Podnet) -> None:
    """S1 of a pod: localhost, shared memory and /dev/shm reach the other container."""
    node.up(sandbox("shared", {}, {}))
    links = [
        inside(node, "shared", "readlink /proc/1/ns/* | sort | tr '\\n' ' '", container).split()
        for container in ("c0", "c1")
    ]
    kinds = {link.split(":")[0] for link in set(links[0]) & set(links[1])}
    assert kinds == {"net", "ipc", "uts", "user", "time"}
    inside(node, "shared", "echo there > /dev/shm/x; echo mine > /tmp/x")
    assert inside(node, "shared", "cat /dev/shm/x; ls /tmp", "c1") == "there"
    assert inside(node, "shared", "hostname; cat /etc/hostname", "c1") == "shared\nshared"
    node.run("delete", "podsandbox", "shared")


def test_container_mode_joins_the_network_and_the_three_files(node: Podnet) -> None:
    node.up(sandbox("owner", {}, hostname="name-of-owner"))
    node.up(sandbox("joiner", {}, mode={"mode": "Container", "sandbox": "owner"}))
    script = (
        "stat -c %i /etc/hosts /etc/hostname /etc/resolv.conf; hostname; readlink /proc/1/ns/net"
    )
    assert inside(node, "owner", script) == inside(node, "joiner", script)
    assert "name-of-owner" in inside(node, "joiner", script)
    own = "readlink /proc/1/ns/ipc /proc/1/ns/uts"
    assert not set(inside(node, "owner", own).split()) & set(inside(node, "joiner", own).split())
    node.run("delete", "podsandbox", "joiner", "owner")


def test_a_sandbox_without_containers_can_be_joined_and_so_can_who_joins(node: Podnet) -> None:
    node.up(sandbox("bare", hostname="bare-name"))
    node.up(sandbox("first", {}, mode={"mode": "Container", "sandbox": "bare"}))
    node.up(sandbox("second", {}, mode={"mode": "Container", "sandbox": "first"}))
    script = "hostname; readlink /proc/1/ns/net; stat -c %i /etc/hosts"
    assert inside(node, "first", script) == inside(node, "second", script)
    assert inside(node, "second", "hostname") == "bare-name"
    node.run("delete", "podsandbox", "second", "first", "bare")


def test_host_mode_has_the_machines_network_and_copies_of_its_files(node: Podnet) -> None:
    node.host.run(["sh", "-c", "echo 192.0.2.9 machine-alias >> /etc/hosts"])
    aliases = [{"ip": "192.0.2.1", "hostnames": ["a", "b"]}]
    node.up(sandbox("hosted", {}, mode="Host", hostAliases=aliases))
    net = node.host.run(["readlink", "/proc/1/ns/net"]).stdout.strip()
    assert inside(node, "hosted", "readlink /proc/1/ns/net") == net
    assert inside(node, "hosted", "hostname") == "machine"
    hosts = inside(node, "hosted", "cat /etc/hosts; echo inside >> /etc/hosts").splitlines()
    assert hosts[-2:] == ["192.0.2.9 machine-alias", "192.0.2.1\ta b"]
    assert inside(node, "hosted", "cat /etc/resolv.conf").splitlines()[0] == (
        "nameserver 192.0.2.53"
    )
    assert "inside" not in node.host.run(["cat", "/etc/hosts"]).stdout
    inside(node, "hosted", "hostname other 2> /dev/null || true")
    assert node.host.run(["hostname"]).stdout.strip() == "machine"
    node.run("delete", "podsandbox", "hosted")


def test_in_bridge_mode_hosts_has_the_sandboxs_address(node: Podnet) -> None:
    aliases = [{"ip": "192.0.2.1", "hostnames": ["db", "db.example"]}]
    node.up(sandbox("bridged", {}, mode="Bridge", hostAliases=aliases, hostname="web"))
    ip = node.json("get", "psb", "bridged")["status"]["podIPs"][0]["ip"]
    hosts = inside(node, "bridged", "cat /etc/hosts").splitlines()
    assert hosts[0] == "127.0.0.1\tlocalhost"
    assert hosts[-2:] == ["192.0.2.1\tdb db.example", f"{ip}\tweb"]
    assert inside(node, "bridged", "getent hosts web | tr -s ' '") == f"{ip} web"
    node.run("delete", "podsandbox", "bridged")


def test_logs_have_both_streams(node: Podnet) -> None:
    script = "echo one; echo two >&2; echo three; exec sleep 1000"
    node.up(sandbox("logged", {"command": ["sh", "-c", script]}))
    until(lambda: set(logged(node, "logged")) == {"one", "two", "three"}, "the log's words")
    assert logged(node, "logged").index("one") < logged(node, "logged").index("three")
    node.run("delete", "podsandbox", "logged")


def logged(podnet: Podnet, name: str) -> list[str]:
    return podnet.run("logs", name).stdout.split()


def test_exec_is_in_the_container_as_its_process_is(node: Podnet) -> None:
    node.up(sandbox("entered", {"user": "5", "env": [{"name": "A", "value": "1"}]}))
    assert inside(node, "entered", "id -un; echo $A; cat /proc/1/cmdline | tr '\\0' ' '") == (
        "games\n1\nsleep 1000"
    )
    done = node.run("exec", "entered", "--", "sh", "-c", "exit 9", check=False)
    assert done.returncode == 9
    got = node.run("exec", "-i", "entered", "--", "cat", input="through\n").stdout
    assert got == "through\n"
    node.run("delete", "podsandbox", "entered")


# --- limits ---


def test_limits_hold(node: Podnet) -> None:
    limits = {"memory": "32Mi", "cpu": "500m", "pids": 5}
    eater = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    resources = {"resources": {"limits": limits}}
    node.apply(
        sandbox(
            "limited",
            {**resources},
            {**resources, "command": eater},
            restartPolicy="Never",
        )
    )
    until(lambda: ended(node, "limited", 1), "the end of what ate too much", 30)
    killed = states(node, "limited")[1]
    assert (killed["exitCode"], killed["reason"]) == (137, "OOMKilled")
    forking = "for i in 1 2 3 4 5 6 7; do sleep 9 > /dev/null 2>&1 & done"
    done = node.run("exec", "limited", "-c", "c0", "--", "sh", "-c", forking, check=False)
    # The shell meets the limit, or the threads of the runtime that brings it there do.
    limit = ("Cannot fork", "Resource temporarily unavailable", "read init-p: connection reset")
    assert any(words in done.stderr for words in limit), done.stderr
    quota = node.host.run(
        [
            "sh",
            "-c",
            "cd /sys/fs/cgroup; cat cpu/podnet/*-c0/cpu.cfs_quota_us || cat podnet/*-c0/cpu.max",
        ]
    ).stdout.split()
    assert quota[0] == "50000"
    node.run("delete", "podsandbox", "limited", "--grace-period=0", check=False)


# --- ends ---


@pytest.mark.parametrize(
    ("script", "least", "most"),
    [
        pytest.param("exec sleep 1000", 0.0, 0.8, id="who has no handler is killed at once"),
        pytest.param(
            "trap 'exit 0' TERM; while :; do sleep 0.05; done", 0.0, 1.5, id="who heeds it ends"
        ),
        pytest.param(
            "trap '' TERM; while :; do sleep 0.05; done", 1.0, 2.5, id="who does not is killed"
        ),
    ],
)
def test_deletion_gives_the_containers_their_time(
    script: str, least: float, most: float, node: Podnet
) -> None:
    node.up(sandbox("ending", {"command": ["sh", "-c", f"echo up; {script}"]}))
    until(lambda: "up" in node.run("logs", "ending").stdout, "a first word")
    start = time.monotonic()
    status, _ = node.request("DELETE", "/objects/podsandboxes/default/ending?grace=1")
    assert status == 200
    assert least <= time.monotonic() - start <= most
