"""attach, plan, up and wait, against an agent that answers what it is told to."""

import json
import time
from pathlib import Path
from typing import Any

from support.commands import Typed
from support.fake_agent import FakeAgent, Stream


def test_attach_and_detach(agent: FakeAgent, podnet: Typed) -> None:
    attachment = {"addresses": ["10.0.0.2/24"], "mac": "02:42:0a:00:00:02"}
    agent.answers["POST /attachments"] = {"attachment": attachment}
    agent.answers["DELETE /attachments/default/web/eth1"] = ""
    words = ["web", "--network", "lan", "--address", "10.0.0.2", "--route", "10.1.0.0/16"]
    code, out, _ = podnet("attach", *words)
    said = "podsandbox.podnet.dev/web: eth1 attached to lan: 10.0.0.2/24 02:42:0a:00:00:02\n"
    assert (code, out) == (0, said)
    assert agent.asked[0][1] == {
        "sandbox": "web",
        "namespace": "default",
        "network": "lan",
        "ifname": "eth1",
        "addresses": ["10.0.0.2"],
        "mac": None,
        "routes": ["10.1.0.0/16"],
    }
    out = podnet("detach", "web")[1]
    assert out == "podsandbox.podnet.dev/web: eth1 detached\n"


def test_plan_prints_commands_under_their_causes(
    agent: FakeAgent, podnet: Typed, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text("{}")
    operations = [
        {"cause": "PodNetwork/lan spec.bridge", "commands": ["ip link add x", "ip link set x up"]},
        {"cause": "PodNetwork/lan spec.bridge", "commands": []},
        {"cause": "", "commands": ["ip link delete y"]},
    ]
    body = {"operations": operations, "conflicts": []}
    agent.answers["POST /plan"] = body
    lines = [
        "# PodNetwork/lan spec.bridge",
        "ip link add x",
        "ip link set x up",
        "# no longer wanted",
        "ip link delete y",
    ]
    words = ["plan", "-f", str(tmp_path / "m.yaml")]
    assert podnet(*words)[1].splitlines() == lines
    assert podnet(*words, "-o", "sh")[1].splitlines() == ["#!/bin/sh", "set -e", *lines]
    assert json.loads(podnet(*words, "-o", "json")[1]) == body
    agent.answers["POST /plan"] = {"operations": [], "conflicts": ["x exists but is a veth"]}
    code, _, err = podnet(*words)
    assert (code, err) == (1, "conflict: x exists but is a veth\n")


def test_up_waits_and_says_what_is_not_ready(
    agent: FakeAgent, podnet: Typed, tmp_path: Path
) -> None:
    (tmp_path / "m.yaml").write_text("{}")
    names = ("good", "bad")
    agent.answers["POST /apply"] = {
        "results": [
            {"kind": "PodSandbox", "namespace": "default", "name": name, "action": "created"}
            for name in names
        ]
    }

    def body(name: str, holds: str, message: str) -> dict[str, Any]:
        ready = {"type": "Ready", "status": holds, "reason": "R", "message": message}
        meta = {"name": name, "namespace": "default", "generation": 1}
        state = {"phase": "Pending", "conditions": [ready | {"observedGeneration": 1}]}
        return {"kind": "PodSandbox", "metadata": meta, "spec": {}, "status": state}

    events = [
        {"type": "BOOKMARK", "object": {}},
        {"type": "ADDED", "object": body("bad", "False", "there is no network lan")},
        {"type": "MODIFIED", "object": body("good", "True", "")},
    ]
    agent.answers["GET /watch/podsandboxes"] = Stream(events)
    words = ["up", str(tmp_path / "m.yaml"), "--timeout", "300ms"]
    code, out, err = podnet(*words)
    created = "".join(f"podsandbox.podnet.dev/{name} created\n" for name in names)
    assert (code, out) == (1, f"{created}podsandbox.podnet.dev/good ready\n")
    assert err == ("podsandbox.podnet.dev/bad is not ready after 0.3 s: there is no network lan\n")
    agent.answers["GET /watch/podsandboxes"] = Stream(
        [*events, {"type": "MODIFIED", "object": body("bad", "True", "")}]
    )
    code, out, err = podnet(*words)
    assert (code, err) == (0, "")
    assert out.endswith("good ready\npodsandbox.podnet.dev/bad ready\n")


def test_wait_meets_conditions_or_says_that_it_did_not(agent: FakeAgent, podnet: Typed) -> None:
    body = {
        "kind": "PodSandbox",
        "metadata": {"name": "job", "namespace": "default"},
        "status": {"phase": "Running"},
    }
    watch = "GET /watch/podsandboxes?namespace=default"
    mark = {"type": "BOOKMARK", "object": {}}
    there = [{"type": "ADDED", "object": body}, mark]
    agent.answers[watch] = Stream([*there, {"type": "DELETED", "object": body}])
    met = (0, "podsandbox.podnet.dev/job condition met\n", "")
    phase = "jsonpath={.status.phase}"
    for what in (f"{phase}=Running", phase, "delete", "create"):
        assert podnet("wait", "psb/job", f"--for={what}") == met
    agent.answers[watch] = Stream(there)
    for what in ("condition=Ready", f"{phase}=Failed", "delete"):
        code, _, err = podnet("wait", "psb", "job", "--for", what, "--timeout=100ms")
        assert code == 1
        assert err == "error: timed out waiting for the condition on podsandboxes/job\n"
    agent.answers[watch] = busy = Stream([mark, *[{"type": "MODIFIED", "object": body}] * 90])
    busy.pause = 0.05  # an object that changes all the time does not put the end off
    begin = time.monotonic()
    assert podnet("wait", "psb/job", "--for=create", "--timeout=0")[0] == 1
    assert podnet("wait", "psb/job", "--for=condition=Ready", "--timeout=200ms")[0] == 1
    assert time.monotonic() - begin < 2
    agent.answers[watch] = Stream([mark])
    assert podnet("wait", "psb/job", "--for=delete") == met
    _, _, err = podnet("wait", "psb/job", "--for=condition=Ready")
    assert err == 'Error from server (NotFound): podsandboxes.podnet.dev "job" not found\n'


def test_dashes_before_version_are_no_mistake(podnet: Typed) -> None:
    """As docker takes it; no agent is asked."""
    assert podnet("--version") == podnet("version", "--client")
    assert podnet("--version")[0] == 0
