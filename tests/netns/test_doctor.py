"""`podnet doctor` says what a machine lacks, with the command that gets it, and leaves no trace."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from podnet_agent.checks import Check
from podnet_agent.trials import Trial
from support.host import Host
from support.node import Node
from support.podnet import Podnet
from support.values import DUAL
from support.wire import connect

AGENT = Path(sys.executable).with_name("podnet-agent")
Found = dict[str, dict[str, str]]


@pytest.fixture
def wired(make_host: Callable[..., Host]) -> Host:
    """A host with an uplink."""
    host = make_host()
    connect(host, make_host("outside"))
    return host


def doctor(host: Host, *before: str) -> tuple[int, Found]:
    """Exit code and checks by name; `before`: words before the command."""
    ended = host.run([*before, AGENT, "doctor", "-o", "json"], check=False)
    assert ended.stdout, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["fit"] == (ended.returncode == 0)
    return ended.returncode, {check["name"]: check for check in answer["checks"]}


def verdicts(found: Found, verdict: str) -> dict[str, str]:
    """The checks with that verdict, and their commands."""
    return {name: check["command"] for name, check in found.items() if check["verdict"] == verdict}


def test_a_machine_with_all_that_is_needed_is_fit(wired: Host) -> None:
    code, found = doctor(wired)
    assert (code, verdicts(found, "missing"), verdicts(found, "warning")) == (0, {}, {})
    assert found["uplink"]["sentence"] == "eth0, MTU 1500"
    assert found["namespaces"]["verdict"] == found["rules"]["verdict"] == "ok"


def test_people_get_lines_and_the_same_exit_code(wired: Host) -> None:
    said = Podnet(wired).run("doctor").stdout.splitlines()
    assert said[0].split() == ["ok", "root", "root"]
    assert said[-1] == "this machine is fit for podnet"


def test_what_was_tried_is_gone(host: Host) -> None:
    """Bridges, pairs, rules, namespaces and mounts were in namespaces that are gone."""

    def state() -> list[Any]:
        mounts = host.run(["cat", "/proc/self/mountinfo"]).stdout
        files = sorted(host.path("/run").iterdir())
        return [host.links(), host.nft_json(), host.ip_json("netns"), mounts, files]

    before = state()
    doctor(host)
    assert state() == before


def test_programs_that_are_missing_are_named_with_their_package(host: Host) -> None:
    code, found = doctor(host, "env", "PATH=/nowhere")
    assert code == 1
    assert verdicts(found, "missing") == {
        "runc": "apt-get install runc",
        "conmon": "apt-get install conmon",
    }


def test_a_library_that_is_missing_is_named_with_its_package(host: Host) -> None:
    known = host.run(["ldconfig", "-p"]).stdout.splitlines()
    (path,) = (line.split()[-1] for line in known if line.split()[0] == "libnftables.so.1")
    host.run(["mount", "--bind", "/dev/null", path])
    code, found = doctor(host)
    assert (code, verdicts(found, "missing")) == (
        1,
        {"libnftables": "apt-get install libnftables1"},
    )
    assert "rules" not in found


@pytest.mark.parametrize(
    ("attempt", "sentence"),
    [
        pytest.param(os.getcwd, "it works", id="one that works"),
        pytest.param(
            partial(os.rmdir, "/nowhere"),
            "it does not: [Errno 2] No such file or directory: '/nowhere'",
            id="one that is refused",
        ),
        pytest.param(partial(int, "x"), "it does not: it ended before it was done", id="a bug"),
        pytest.param(os.abort, "it does not: it was killed", id="one that is killed"),
        pytest.param(
            partial(Path("/tmp/podnet-trial").touch), "it works", id="one that writes to /tmp"
        ),
    ],
)
def test_a_trial_ends_in_a_verdict(host: Host, attempt: Any, sentence: str) -> None:
    trial = ("thing", attempt, "it works", "it does not", "modprobe thing")
    check = Node(host).call("podnet_agent.trials:tried", Trial(*trial))
    verdict = ("ok", "") if sentence == "it works" else ("missing", "modprobe thing")
    assert check == Check("thing", verdict[0], sentence, verdict[1])
    assert not Path("/tmp/podnet-trial").exists()


def test_whoever_is_not_root_is_told_first(host: Host) -> None:
    code, found = doctor(host, "unshare", "--user")
    assert code == 1
    assert verdicts(found, "missing") == {"root": "sudo podnet doctor"} and len(found) == 1


def test_root_of_a_container_that_is_not_privileged_is_not_enough(host: Host) -> None:
    code, found = doctor(host, "setpriv", "--bounding-set", "-sys_admin")
    assert code == 1
    assert found["root"]["sentence"] == (
        "root without CAP_SYS_ADMIN, as in a container that is not privileged"
    )


def test_without_a_default_route_pods_stay_among_themselves(host: Host) -> None:
    code, found = doctor(host)
    assert (code, list(verdicts(found, "warning"))) == (0, ["uplink"])


@pytest.mark.skipif(not shutil.which("iptables"), reason="no iptables: apt-get install iptables")
def test_a_chain_that_drops_needs_iptables(wired: Host) -> None:
    """S15: Docker's policy; podnet itself makes the exceptions."""
    wired.run(["iptables-nft", "-P", "FORWARD", "DROP"])
    code, found = doctor(wired)
    assert code == 0
    assert found["firewall"]["sentence"] == (
        "iptables: FORWARD drops: podnet makes its exceptions in FORWARD"
    )
    links = {name: shutil.which(name) for name in ("runc", "conmon")}
    for name, path in links.items():
        assert path is not None
        wired.run(["ln", "-s", path, f"/run/{name}"])
    code, found = doctor(wired, "env", "PATH=/run")
    assert (code, verdicts(found, "missing")) == (1, {"firewall": "apt-get install iptables"})


def test_the_command_against_a_foreign_chain_helps(wired: Host) -> None:
    rules = "table inet f { chain c { type filter hook forward priority 0; policy drop; }; }"
    wired.run(["nft", "-f", "-"], input=rules)
    code, found = doctor(wired)
    assert (code, list(verdicts(found, "warning"))) == (0, ["firewall"])
    wired.run(["sh", "-c", found["firewall"]["command"]])
    _, found = doctor(wired)
    assert verdicts(found, "warning") == {}


def test_what_an_agent_left_is_named(wired: Host) -> None:
    """S36: the agent is gone, what it made is there."""
    node = Node(wired)
    node.networks(DUAL)
    node.attach("web", DUAL)
    _, found = doctor(wired)
    assert found["leftovers"] == {
        "name": "leftovers",
        "verdict": "warning",
        "sentence": "no agent keeps podnet0, vethpn1, /run/netns/podnet-web: `podnet up` takes it"
        " over",
        "command": "podnet down",
    }


def test_an_agent_that_runs_keeps_what_is_there(wired: Host) -> None:
    podnet = Podnet(wired)
    podnet.agent()
    _, found = doctor(wired)
    assert found["agent"]["sentence"] == "runs"
    assert "leftovers" not in found
    assert verdicts(found, "missing") == verdicts(found, "warning") == {}


def test_records_on_a_disk_would_outlive_a_reboot(wired: Host) -> None:
    """S1: podnet mounts its own tmpfs there."""
    wired.run(["mount", "--bind", "/srv", "/run"])
    code, found = doctor(wired)
    assert (code, list(verdicts(found, "warning"))) == (0, ["/run"])
