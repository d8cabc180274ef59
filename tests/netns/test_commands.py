"""The command line with a real agent behind it: what is printed, what is waited for, exit codes."""

import json
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support.bodies import FOREVER, sandbox
from support.host import Host, until
from support.podnet import PROGRAM, Podnet


@pytest.fixture(scope="module")
def machine() -> Iterator[Podnet]:
    """A machine with a sandbox `web` that every test leaves as it is."""
    with Host("machine") as host:
        podnet = Podnet(host)
        podnet.agent()
        podnet.up(sandbox("web", ["sh", "-c", "echo one; echo two; exec sleep 1000"]))
        yield podnet


def test_get_shows_an_object_in_every_form(machine: Podnet) -> None:
    row = machine.run("get", "psb", "web").stdout.splitlines()[1].split()
    assert row[:6] == ["web", "Bridge", "1/1", "Running", "0", machine.ip("web")]
    wide = machine.run("get", "psb", "web", "-o", "wide").stdout
    (eth0,) = machine.status("web")["interfaces"]
    for fact in (eth0["mac"], eth0["peer"]["name"], "podnet0", machine.status("web")["netns"]):
        assert (fact["path"] if isinstance(fact, dict) else fact) in wide
    assert machine.run("get", "psb", "-o", "name").stdout == "podsandbox.podnet.dev/web\n"
    yaml = machine.run("get", "psb", "web", "-o", "yaml").stdout
    assert f"mac: {eth0['mac']}" in yaml
    path = "-o=jsonpath={.status.interfaces[0].peer.name}"
    assert machine.run("get", "psb", "web", path).stdout == eth0["peer"]["name"]
    both = json.loads(machine.run("get", "psb,pnet", "-o", "json").stdout)
    assert [body["kind"] for body in both["items"]] == ["PodSandbox", "PodNetwork"]


def test_what_was_printed_can_be_applied(machine: Podnet) -> None:
    """`get -o yaml | apply -f -` changes nothing."""
    text = machine.run("get", "psb", "web", "-o", "yaml").stdout
    assert machine.apply(text).stdout == "podsandbox.podnet.dev/web unchanged\n"


def test_the_network_counts_its_addresses(machine: Podnet) -> None:
    machine.run("wait", "pnet/default", "--for=jsonpath={.status.addressesUsed}=1")


def test_describe_tells_all_of_status(machine: Podnet) -> None:
    page = machine.run("describe", "psb", "web").stdout
    status = machine.status("web")
    (eth0,), (container,) = status["interfaces"], status["containers"]
    for fact in (
        status["netns"]["path"],
        status["netns"]["inode"],
        eth0["mac"],
        eth0["addresses"][0],
        f"{eth0['peer']['name']} (index {eth0['peer']['ifindex']})",
        container["pid"],
        "NetworkReady",
    ):
        assert str(fact) in page


def test_wait_ends_as_soon_as_it_is_so(machine: Podnet) -> None:
    machine.run("wait", "psb/web", "--for=condition=Ready", "--timeout=5s")
    done = machine.run("wait", "psb/web", "--for=delete", "--timeout=0.1s", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: timed out waiting for the condition on podsandboxes/web\n",
    )
    waiting = start(machine, "wait", "psb/later", "--for=create")
    machine.apply(sandbox("later", net="None"))
    assert waiting.communicate(timeout=5)[0] == "podsandbox.podnet.dev/later condition met\n"
    waiting = start(machine, "wait", "psb/later", "--for=delete")
    machine.run("delete", "psb", "later")
    assert waiting.wait(5) == 0


def start(podnet: Podnet, *words: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return podnet.host.popen([PROGRAM, *words], text=True, stdout=pipe, stderr=pipe)


def test_watched_objects_are_printed_as_they_change(machine: Podnet) -> None:
    watching = start(machine, "get", "psb", "-w", "-o", "name")
    assert watching.stdout is not None
    assert watching.stdout.readline() == "podsandbox.podnet.dev/web\n"
    machine.up(sandbox("watched", net="None"))
    assert watching.stdout.readline() == "podsandbox.podnet.dev/watched\n"
    watching.kill()
    machine.run("delete", "psb", "watched")


def test_a_followed_log_ends_with_its_container(machine: Podnet) -> None:
    script = "echo begin; while ! test -e /tmp/go; do sleep 0.02; done; echo end"
    machine.apply(sandbox("said", ["sh", "-c", script], net="None", restartPolicy="Never"))
    machine.run("wait", "psb/said", "--for=condition=Ready")
    following = start(machine, "logs", "-f", "said")
    assert following.stdout is not None
    assert following.stdout.readline() == "begin\n"
    machine.inside("said", "touch", "/tmp/go")
    assert following.communicate(timeout=5)[0] == "end\n"
    assert following.returncode == 0
    machine.run("delete", "psb", "said")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -9 $$"], 137),
        (["sh", "-c", "kill -15 $$"], 143),
    ],
    ids=["success", "a code", "killed", "ended"],
)
def test_exec_exits_as_the_command_does(words: Any, code: int, machine: Podnet) -> None:
    assert machine.run("exec", "web", "--", *words, check=False).returncode == code


NOT_FOUND = 'Error from server (NotFound): podsandboxes.podnet.dev "nobody" not found'


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["get", "psb", "nobody"], NOT_FOUND),
        (["describe", "psb", "nobody"], NOT_FOUND),
        (["delete", "psb", "nobody"], NOT_FOUND),
        (["logs", "nobody"], NOT_FOUND),
        (["exec", "nobody", "--", "true"], NOT_FOUND),
        (["explain", "nobody"], NOT_FOUND),
        (["wait", "psb/nobody", "--for=condition=Ready"], NOT_FOUND),
        (["logs", "web", "-c", "../../x"], "error: container ../../x is not valid for sandbox web"),
        (["get", "psb", "../web"], "error: psb is not KIND/NAME: write it so, or KIND NAME"),
        (["exec", "../web", "--", "true"], "error: the server doesn't have a resource type"),
        (["get", "tea"], 'error: the server doesn\'t have a resource type "tea": it has podnetwo'),
        (["get", "psb", "-o", "tea"], "error: -o tea is not known: it is wide, name, json, yaml"),
        (["delete", "pnet", "default"], "Error from server (Conflict): PodNetwork/default is in"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there_is_said_in_one_sentence(
    words: list[str], sentence: str, machine: Podnet
) -> None:
    done = machine.run(*words, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "-: holds no object: write a PodNetwork or PodSandbox"),
        ("\x00\x01", "error: - is not a manifest: it holds binary data"),
        (sandbox("../web"), "- line 1 metadata.name: is ../web: write DNS labels"),
        (
            sandbox("web", FOREVER, hostname="new"),
            "- line 1 spec.hostname: is immutable and was left out, not new: delete",
        ),
        (
            sandbox("m", FOREVER).replace(
                '"image": "host"',
                '"image": "host", "mounts": [{"source": "/etc/../x", "target": "/a"}]',
            ),
            "- line 1 spec.containers[0].mounts[0].source: is /etc/../x: write the path without ..",
        ),
        (
            sandbox("m", FOREVER).replace('"name": "c0"', '"name": "../../c"'),
            "- line 1 spec.containers[0].name: is ../../c: ",
        ),
    ],
    ids=["nothing", "binary", "a path for a name", "a change", "a path with dots", "a container"],
)
def test_what_cannot_be_applied_changes_nothing(text: str, sentence: str, machine: Podnet) -> None:
    before = machine.json("get", "psb,pnet")
    for verb in (["apply", "-f", "-"], ["up", "-"]):
        done = machine.run(*verb, input=text, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert sentence in done.stderr
    assert machine.json("get", "psb,pnet") == before


def test_one_bad_object_keeps_all_of_a_file_from_being_applied(machine: Podnet) -> None:
    done = machine.run(
        "apply", "-f", "-", input=sandbox("good") + sandbox("bad", net="Bad"), check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert machine.run("get", "psb", "-o", "name").stdout == "podsandbox.podnet.dev/web\n"


def test_a_command_that_runs_detached_goes_on(machine: Podnet) -> None:
    machine.run("run", "-d", "--name", "away", "--net", "none", "--", "sleep", "1000")
    assert machine.status("away")["phase"] == "Running"
    done = machine.run("run", "--name", "away", "--", "true", check=False)
    assert (done.returncode, "exists already" in done.stderr) == (125, True)
    machine.run("delete", "psb", "away")


def test_an_interrupted_run_takes_its_sandbox_along(machine: Podnet) -> None:
    words = ["run", "--rm", "--name", "busy", "--net", "none", "--", "sh", "-c"]
    running = start(machine, *words, "trap 'exit 3' INT; echo up; while :; do sleep 0.02; done")
    assert running.stdout is not None
    assert running.stdout.readline() == "up\n"
    running.send_signal(2)
    assert running.wait(20) == 3
    assert "busy" not in machine.run("get", "psb", "-o", "name").stdout


def test_up_says_what_it_waits_for_when_the_time_is_over(machine: Podnet) -> None:
    begin = time.monotonic()
    wanted = sandbox("stuck", net={"addresses": ["10.1.1.1"]})
    done = machine.run("up", "-", "--timeout=0.5s", input=wanted, check=False)
    assert done.returncode == 1
    assert time.monotonic() - begin < 2
    assert done.stderr == (
        "podsandbox.podnet.dev/stuck is not ready after 0.5 s: PodSandbox/default/stuck"
        " spec.network.addresses: 10.1.1.1 lies outside PodNetwork/default, whose range is"
        " 172.17.0.0/16\n"
    )
    machine.run("delete", "psb", "stuck")
    until(lambda: "stuck" not in machine.run("get", "psb", "-o", "name").stdout, "it to be gone")
