"""What is a containerd's own: its images, what the CRI sees, restarts of it, exec's streams."""

import time
from collections.abc import Iterator

import pytest

from support.containerd import AGENT, Containerd
from support.host import Host, until
from support.podnet import PROGRAM, Podnet
from support.sandboxes import ended, inside, leftovers, runs, sandbox, state, states

BUSYBOX = {"image": "busybox:1"}


class Node:
    """A host with a containerd that has busybox, and an agent that uses it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.containerd = Containerd(host)
        self.containerd.import_busybox()
        self.podnet = Podnet(host, AGENT)
        self.podnet.agent()

    def is_clean(self) -> bool:
        return self.containerd.left() == [] and leftovers(self.podnet) == []


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """One for the tests that leave it as it was. Name sandboxes after the test."""
    with Host("node") as host:
        yield Node(host)


@pytest.fixture
def own(host: Host) -> Node:
    """One of the test's own."""
    return Node(host)


# --- what others see ---


def test_the_cri_sees_none_of_ours(node: Node) -> None:
    podnet, containerd = node.podnet, node.containerd
    podnet.up(sandbox("unseen", BUSYBOX))
    key = state(podnet, "unseen")["id"]
    assert set(containerd.labels(key)) == {"podnet.dev/sandbox", "podnet.dev/container"}
    assert containerd.cri("ListContainers") == containerd.cri("ListPodSandbox") == b""
    assert containerd.cri("ListImages") != b""  # the question was understood
    podnet.run("delete", "podsandbox", "unseen")
    until(node.is_clean, "nothing left")


def test_others_of_the_same_namespace_are_left_alone(own: Node) -> None:
    name = "docker.io/library/busybox:1"
    own.containerd.ctr("run", "-d", name, "foreign", "sleep", "1001")
    own.podnet.up(sandbox("ours", BUSYBOX))
    own.podnet.restart()
    own.podnet.run("down")
    assert own.host.run(["find", "/var/lib/podnet", "-type", "f"]).stdout == ""
    assert set(own.containerd.left()) == {"foreign"}
    assert "RUNNING" in own.containerd.ctr("tasks", "ls").stdout


# --- images ---


def test_an_image_says_what_runs_and_as_whom(node: Node) -> None:
    node.containerd.import_busybox(
        "example.org/app:2",
        Entrypoint=["sh", "-c", 'id; pwd; echo "$A"; exec sleep 1000'],
        Env=["A=of the image"],
        WorkingDir="/srv/made",
        User="app",
    )
    podnet = node.podnet
    podnet.up(sandbox("imaged", {"image": "example.org/app:2", "command": None}))
    until(lambda: podnet.run("logs", "imaged").stdout.count("\n") == 3, "three lines")
    assert podnet.run("logs", "imaged").stdout.splitlines() == [
        "uid=7(app) gid=7(app) groups=7(app),8(also)",
        "/srv/made",
        "of the image",
    ]
    podnet.run("delete", "podsandbox", "imaged")


def test_an_image_that_is_missing_is_said_and_taken_when_it_comes(node: Node) -> None:
    podnet = node.podnet
    podnet.apply(sandbox("missing", {"image": "missing:3"}))
    until(lambda: state(podnet, "missing").get("reason"), "what is wrong")
    found = state(podnet, "missing")
    assert found["reason"] == "ImageNotPresent", found
    assert found["state"] == "waiting"
    condition = podnet.condition("missing", what="ContainersReady")
    assert (condition["status"], condition["reason"]) == ("False", "ImageNotPresent")
    assert found["message"] in condition["message"]
    assert found["message"].startswith("image docker.io/library/missing:3 is not on this node")
    assert node.containerd.left() == []
    node.containerd.import_busybox("docker.io/library/missing:3")
    until(lambda: runs(podnet, "missing"), "the image to be used", 15)
    podnet.run("delete", "podsandbox", "missing")


def test_containers_outlive_their_images_name_and_are_made_anew_without_it(node: Node) -> None:
    """The kubelet's garbage collection asks the CRI, which knows none of ours."""
    node.containerd.import_busybox("example.org/gone:1")
    podnet = node.podnet
    podnet.up(sandbox("outliving", {"image": "example.org/gone:1"}))
    node.containerd.ctr("images", "rm", "--sync", "example.org/gone:1")
    assert inside(podnet, "outliving", "ls /bin/busybox") == "/bin/busybox"
    podnet.restart()  # so that nothing is remembered
    until(lambda: runs(podnet, "outliving"), "adoption")
    pid = state(podnet, "outliving")["pid"]
    podnet.host.run(["kill", "-9", str(pid)])
    until(lambda: state(podnet, "outliving")["restarts"] == 1, "another run of the same image")
    podnet.run("delete", "podsandbox", "outliving")


@pytest.mark.parametrize(
    ("wrong", "code", "sentence"),
    [
        ({"command": ["no-such"]}, 127, 'command "no-such": executable file not found in $PATH'),
        ({"command": ["/no/such"]}, 127, 'command "/no/such": stat /no/such: no such file'),
        ({"command": ["/etc/passwd"]}, 126, 'command "/etc/passwd": permission denied'),
        ({"user": "nobody-here"}, None, "user 'nobody-here' is not in the image's /etc/passwd"),
        ({"mounts": [{"source": "/no/such", "target": "/x"}]}, None, "/no/such"),
    ],
)
def test_what_cannot_run_is_said(
    wrong: dict[str, object], code: int | None, sentence: str, node: Node
) -> None:
    podnet = node.podnet
    podnet.apply(sandbox("wrong", {**BUSYBOX, **wrong}, restartPolicy="Never"))
    until(lambda: state(podnet, "wrong").get("message"), "what is wrong")
    found = state(podnet, "wrong")
    assert (found["exitCode"], sentence in found["message"]) == (code, True), found
    podnet.run("delete", "podsandbox", "wrong")
    until(node.is_clean, "nothing left")


def test_names_that_containerd_does_not_take_do(node: Node) -> None:
    podnet = node.podnet
    podnet.up(sandbox("odd", {**BUSYBOX, "name": "a--b"}, {**BUSYBOX, "name": "a---b"}))
    assert inside(podnet, "odd", "hostname", "a--b") == "odd"
    podnet.restart()
    until(lambda: [each["state"] for each in states(podnet, "odd")] == ["running"] * 2, "adoption")
    podnet.run("delete", "podsandbox", "odd")
    until(node.is_clean, "nothing left")


def test_run_is_refused_with_what_to_do_instead(node: Node) -> None:
    done = node.podnet.run("run", "--net=none", "--", "true", check=False)
    assert done.returncode == 125
    assert "apply a PodSandbox" in done.stderr
    until(node.is_clean, "nothing left")


# --- exec ---


@pytest.fixture(scope="module")
def running(node: Node) -> Iterator[Node]:
    """With a sandbox `entered`."""
    node.podnet.up(sandbox("entered", {**BUSYBOX, "env": [{"name": "A", "value": "1"}]}))
    yield node
    node.podnet.run("delete", "podsandbox", "entered")


def test_exec_keeps_streams_apart_and_whole(running: Node) -> None:
    text = "0123456789" * 100_000 + "\n"
    words = ["exec", "-i", "entered", "--", "sh", "-c", "cat; echo end >&2; exit 7"]
    done = running.podnet.run(*words, input=text, check=False)
    assert (done.returncode, done.stdout == text, done.stderr) == (7, True, "end\n")


def test_exec_without_input_gives_it_none(running: Node) -> None:
    assert running.podnet.run("exec", "entered", "--", "cat", input="x").stdout == ""


@pytest.mark.parametrize(
    ("command", "code", "sentence"),
    [
        (["no-such"], 127, 'command "no-such": executable file not found in $PATH'),
        (["/etc/passwd"], 126, 'command "/etc/passwd": permission denied'),
    ],
)
def test_exec_says_what_cannot_run(
    command: list[str], code: int, sentence: str, running: Node
) -> None:
    done = running.podnet.run("exec", "entered", "--", *command, check=False)
    assert (done.returncode, sentence in done.stderr) == (code, True), done.stderr


def test_execs_terminal_is_as_large_as_ours(running: Node) -> None:
    script = "tty; stty size; echo $TERM-$A; exit 3"
    inner = f"stty rows 33 cols 111; {PROGRAM} exec -it entered -- sh -c '{script}'"
    done = running.host.run(["script", "-qec", inner, "/dev/null"], check=False)
    said = done.stdout.replace("^@", "").split()  # script(1) types a NUL where its input ends
    assert (done.returncode, said) == (3, ["/dev/pts/0", "33", "111", "xterm-1"])


def test_a_signal_to_exec_reaches_the_command(running: Node) -> None:
    script = "trap 'echo caught; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    process = running.host.popen(
        [PROGRAM, "exec", "entered", "--", "sh", "-c", script], stdout=-1, text=True
    )
    assert process.stdout.readline() == "up\n"
    process.terminate()
    assert process.stdout.read() == "caught\n"
    assert process.wait(10) == 4


def test_exec_leaves_nothing(running: Node) -> None:
    running.podnet.run("exec", "entered", "--", "true")
    key = state(running.podnet, "entered")["id"]
    found = running.host.run(["ls", f"/run/podnet/containers/{key}"])
    assert found.stdout.split() == ["pid"]


def test_a_signal_reaches_the_first_process(node: Node) -> None:
    podnet = node.podnet
    command = ["sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.05; done"]
    podnet.up(sandbox("signalled", {**BUSYBOX, "command": command}, restartPolicy="Never"))
    until(lambda: podnet.run("logs", "signalled").stdout, "a first word")
    path = "/kill/default/signalled?container=c0&signal=USR1"
    assert podnet.request("POST", path)[0] == 200
    until(lambda: ended(podnet, "signalled"), "its end")
    assert state(podnet, "signalled")["exitCode"] == 5
    assert podnet.request("POST", path)[0] >= 400
    podnet.run("delete", "podsandbox", "signalled")


# --- restarts of others ---


def test_containers_go_on_while_containerd_is_started_anew(own: Node) -> None:
    podnet = own.podnet
    command = ["sh", "-c", "while ! test -e /tmp/end; do sleep 0.05; done; exit 6"]
    podnet.up(sandbox("going-on", {**BUSYBOX, "command": command}, BUSYBOX, restartPolicy="Never"))
    before = states(podnet, "going-on")
    own.host.run(["touch", f"/proc/{before[0]['pid']}/root/tmp/end"])
    own.containerd.stop()
    own.containerd.start()
    until(lambda: ended(podnet, "going-on"), "the end to be noticed", 15)
    assert state(podnet, "going-on")["exitCode"] == 6
    assert state(podnet, "going-on", 1) == before[1]
    assert inside(podnet, "going-on", "hostname", "c1") == "going-on"
    podnet.run("delete", "podsandbox", "going-on")
    until(own.is_clean, "nothing left")


def test_what_ended_without_containerd_and_agent_is_known(own: Node) -> None:
    podnet = own.podnet
    podnet.up(sandbox("unwatched", {**BUSYBOX, "command": ["sh", "-c", "sleep 1000; exit 4"]}))
    pid = state(podnet, "unwatched")["pid"]
    podnet.kill()
    own.containerd.stop()
    own.host.run(["pkill", "-P", str(pid)])
    until(lambda: not own.host.path(f"/proc/{pid}").exists(), "its end")
    own.containerd.start()
    podnet.agent()
    until(lambda: state(podnet, "unwatched")["restarts"] == 1, "the end to be noticed", 15)
    podnet.run("delete", "podsandbox", "unwatched")
    until(own.is_clean, "nothing left")


def test_what_is_wanted_without_containerd_comes_with_it(own: Node) -> None:
    podnet = own.podnet
    podnet.up(sandbox("before", BUSYBOX))
    own.containerd.stop()
    podnet.apply(sandbox("during", BUSYBOX))
    own.containerd.start()
    until(lambda: runs(podnet, "during") and runs(podnet, "before"), "both", 20)
    podnet.run("delete", "podsandbox", "before", "during")
    until(own.is_clean, "nothing left")


def test_what_a_reboot_left_in_containerd_is_removed(own: Node) -> None:
    """/run is empty then, and containerd keeps its records."""
    own.podnet.up(sandbox("rebooted", BUSYBOX))
    own.podnet.kill()
    own.host.run(["pkill", "-KILL", "^containerd-shim"])
    own.host.run(["sh", "-c", "umount /run/podnet/containers; rm -rf /run/podnet/* || true"])
    assert own.containerd.left()
    own.podnet.agent()
    until(lambda: own.containerd.left() == [], f"nothing left: {own.containerd.left()}")


def test_fifty_at_once(own: Node) -> None:
    begin = time.monotonic()
    own.podnet.up("\n---\n".join(sandbox(f"s{n}", BUSYBOX) for n in range(50)), timeout=60)
    print(f"50 at once: {time.monotonic() - begin:.1f} s")
    own.podnet.run("delete", "podsandbox", *(f"s{n}" for n in range(50)), timeout=60)
    until(own.is_clean, "nothing left", 20)
