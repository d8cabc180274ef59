"""The command line with kubectl's verbs, against an agent that answers what it is told to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.commands import Typed
from support.fake_agent import FakeAgent, Stream, status


def sandbox(name: str, *, version: int = 1, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": name,
            "generation": 1,
            "resourceVersion": str(version),
            "creationTimestamp": "2001-01-01T00:00:00Z",
            "labels": {"app": name},
        },
        "spec": {"containers": [{"name": "c", "image": "host"}]},
        "status": {"phase": "Running", **status},
    }


def ready(holds: str, message: str = "") -> dict[str, Any]:
    condition = {"type": "Ready", "status": holds, "reason": "R", "message": message}
    return {"conditions": [condition | {"observedGeneration": 1}]}


NETWORK = {
    "apiVersion": "podnet.dev/v1alpha1",
    "kind": "PodNetwork",
    "metadata": {"name": "default", "uid": "n", "creationTimestamp": "2001-01-01T00:00:00Z"},
    "spec": {},
    "status": {"subnets": ["172.17.0.0/16"], "bridge": "podnet0", **ready("True")},
}
NOT_FOUND = status(404, "NotFound", 'podsandboxes.podnet.dev "x" not found')
SENTENCE = 'Error from server (NotFound): podsandboxes.podnet.dev "x" not found\n'


def test_a_table_has_kubectls_shape(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"), sandbox("api-gateway"))
    code, out, err = podnet("get", "psb")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["NAME", "MODE", "READY", "STATUS", "RESTARTS", "IP", "AGE"]
    assert lines[1].startswith("web           Bridge   0/1     Running   0          <none>   ")
    assert "\x1b" not in out


def test_several_kinds_are_told_apart(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"), NETWORK)
    _, out, _ = podnet("get", "psb,pnet")
    first, second = out.split("\n\n")
    assert "podsandbox.podnet.dev/web " in first
    assert "podnetwork.podnet.dev/default   172.17.0.0/16   podnet0   True" in second


@pytest.mark.parametrize("words", [["psb", "web"], ["psb/web"], ["PodSandbox", "web"]])
def test_one_object_is_what_the_agent_gave(
    words: list[str], agent: FakeAgent, podnet: Typed
) -> None:
    agent.objects(sandbox("web"))
    _, out, _ = podnet("get", *words, "-o", "json")
    assert json.loads(out) == sandbox("web")
    assert podnet("get", *words, "-o", "name")[1] == "podsandbox.podnet.dev/web\n"
    assert podnet("get", *words, "-o", "jsonpath={.status.phase}")[1] == "Running"
    assert "\n  phase: Running" in podnet("get", *words, "-oyaml")[1]


def test_labels_choose(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"), sandbox("api"))
    out = podnet("get", "psb", "-l", "app in (web, db)", "-o", "name")[1]
    assert out == "podsandbox.podnet.dev/web\n"


def test_nothing_there_is_said(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects()
    assert podnet("get", "psb") == (0, "", "No resources found in default namespace.\n")
    assert podnet("get", "psb", "-A") == (0, "", "No resources found\n")
    assert podnet("-n", "default", "get", "psb")[2].endswith("in default namespace.\n")


def test_what_is_missing_does_not_hide_what_is_there(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"))
    agent.answers["GET /objects/podsandboxes/default/x"] = NOT_FOUND
    code, out, err = podnet("get", "psb", "x", "web", "-o", "name")
    assert (code, out, err) == (1, "podsandbox.podnet.dev/web\n", SENTENCE)


def test_watch_tells_each_change_once(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"))
    agent.answers["GET /watch/podsandboxes?namespace=default"] = Stream(
        [
            {"type": "ADDED", "object": sandbox("web")},
            {"type": "BOOKMARK", "object": {}},
            {"type": "MODIFIED", "object": sandbox("web", version=2, phase="Failed")},
        ]
    )
    agent.answers["GET /watch/podsandboxes?namespace=default"].ends = True
    code, out, err = podnet("get", "psb", "-w")
    assert [line.split()[3] for line in out.splitlines()] == ["STATUS", "Running", "Failed"]
    assert code == 1
    assert "the agent went away" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["get"], "error: name what you mean"),
        (["get", "pods"], 'error: the server doesn\'t have a resource type "pods"'),
        (["get", "psb", "-o", "xml"], "error: -o xml is not known"),
        (["get", "psb", "--frob"], "error: option --frob not recognized: `podnet get --help`"),
        (["get", "psb", "pnet/x"], "error: psb is not KIND/NAME"),
        (["get", "psb,pnet", "-w"], "error: one kind can be watched at a time"),
        (["get", "psb", "-l", "a=b=c"], "error: 'a=b=c' is no label selector"),
        (["frob"], "error: No such command 'frob': see `podnet --help`"),
        (["gte", "psb"], "error: No such command 'gte'. Did you mean get? See `podnet --help`"),
        (
            ["completion"],
            "error: Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish:",
        ),
        (["agent", "--frob"], "error: No such option '--frob': see `podnet agent --help`"),
        (["delete", "psb", "--all"], "No resources found"),
        (["apply"], "error: say which manifests"),
        (["plan"], "error: say which manifests"),
        (["apply", "-f", "no.yaml"], "error: no.yaml can't be read: No such file or directory"),
        (["delete", "psb"], "error: say which podsandboxes: NAME..., -l LABELS or --all"),
        (["wait", "psb/x", "--for=joy"], "error: --for=joy is not known"),
        (["wait", "psb/x"], "error: Missing option '--for': see `podnet wait --help`"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: list[str], sentence: str, agent: FakeAgent, podnet: Typed
) -> None:
    agent.objects()
    code, out, err = podnet(*arguments)
    assert (code, out) == (0 if "--all" in arguments else 1, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1


def test_an_agent_that_is_away_gets_one_sentence(
    podnet: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PODNET_SOCKET", str(tmp_path / "agent.sock"))
    for arguments in (["get", "psb"], ["apply", "-f", str(__file__)], ["describe", "psb", "x"]):
        code, _, err = podnet(*arguments)
        assert code == 1
        assert err == (
            f"error: no agent answers on {tmp_path}/agent.sock (No such file or directory):"
            " `podnet up` starts one\n"
        )


def test_apply_says_what_became_of_each_object(
    agent: FakeAgent, podnet: Typed, tmp_path: Path
) -> None:
    for name in ("b.yml", "a.yaml", "c.txt"):
        (tmp_path / name).write_text(f"name: {name}")
    agent.answers["POST /apply"] = {
        "results": [
            {"kind": "PodNetwork", "namespace": "", "name": "lan", "action": "unchanged"},
            {"kind": "PodSandbox", "namespace": "x", "name": "web", "action": "created"},
        ],
        "warnings": ["Published ports are discarded when using host network mode"],
    }
    code, out, err = podnet("apply", "-n", "x", "-f", str(tmp_path))
    assert code == 0
    assert out == "podnetwork.podnet.dev/lan unchanged\npodsandbox.podnet.dev/web created\n"
    assert err == "Warning: Published ports are discarded when using host network mode\n"
    sources = [{"name": f"{tmp_path}/{n}", "text": f"name: {n}"} for n in ("a.yaml", "b.yml")]
    assert agent.asked == [("POST /apply", {"sources": sources, "namespace": "x"})]


def test_every_problem_is_a_line(agent: FakeAgent, podnet: Typed, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("kind: PodSandbox")
    problems = [
        {"place": "m.yaml: document 1: spec.x", "message": "no such field"},
        {"place": "m.yaml: document 1: metadata", "message": "is missing"},
    ]
    agent.answers["POST /apply"] = status(400, "Invalid", "2 problems", problems=problems)
    code, out, err = podnet("apply", "-f", str(tmp_path / "m.yaml"))
    assert (code, out) == (1, "")
    assert err.splitlines() == [
        "m.yaml: document 1: spec.x: no such field",
        "m.yaml: document 1: metadata: is missing",
    ]


def test_manifests_are_bounded_and_text(agent: FakeAgent, podnet: Typed, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    for content, sentence in (
        (b"x" * 10_000_001, "manifests of one command are at most 10 MB together"),
        (b"a\0b", "is not a manifest: it holds binary data"),
        (b"a: \xff", "is not UTF-8 at byte 3"),
    ):
        file.write_bytes(content)
        code, _, err = podnet("apply", "-f", str(file))
        assert code == 1
        assert sentence in err
    assert agent.asked == []


def test_delete_says_what_went_and_what_was_not_there(agent: FakeAgent, podnet: Typed) -> None:
    agent.objects(sandbox("web"), sandbox("api"))
    agent.answers["DELETE /objects/podsandboxes/default/x"] = NOT_FOUND
    gone = 'podsandbox.podnet.dev "web" deleted from default namespace\n'
    assert podnet("delete", "psb", "x", "web") == (1, gone, SENTENCE)
    assert podnet("delete", "psb", "x", "web", "--ignore-not-found") == (0, gone, "")
    assert podnet("delete", "psb", "-l", "app=web") == (0, gone, "")
    podnet("delete", "psb/web", "--wait=false", "--now")
    path = "/objects/podsandboxes/default/web?wait=false&grace=1"
    assert agent.asked[-1][0] == f"DELETE {path}"


def test_describe_is_a_page(agent: FakeAgent, podnet: Typed) -> None:
    interface = {"name": "eth0", "ifindex": 19, "peer": {"name": "vethpn1", "ifindex": 20}}
    body = sandbox("web", interfaces=[interface], **ready("False", "because"))
    agent.objects(body, NETWORK)
    code, out, _ = podnet("describe", "psb", "web")
    assert code == 0
    for line in (
        "Name:            web",
        "Labels:          app=web",
        "  eth0:",
        "    Peer:            vethpn1 (index 20)",
    ):
        assert line in out.splitlines()
    assert out.splitlines()[-1].split() == ["Ready", "False", "R", "<unknown>", "because"]
    assert "Subnets:         172.17.0.0/16\n" in podnet("describe", "pnet/default")[1]


def test_get_loads_nothing_that_is_slow(agent: FakeAgent) -> None:
    agent.objects(sandbox("web"))
    code = (
        "import sys; from podnet_cli.main import run; run(['get', 'psb', '-o', 'wide']);"
        "slow = {'asyncio', 'click', 'dataclasses', 'http.client', 'kubernetes', 'pydantic',"
        " 'rich', 'subprocess', 'typing', 'urllib.parse', 'yaml'};"
        "print(sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PODNET_SOCKET": str(agent.path)},
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_leaves_is_no_error(agent: FakeAgent) -> None:
    agent.objects(*(sandbox(f"web-{number}") for number in range(2000)))
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"{sys.executable} -c 'from podnet_cli.main import main; main()'"
            " get psb -o json | head -n 1",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PODNET_SOCKET": str(agent.path)},
    )
    assert (done.stdout, done.stderr) == ("{\n", "")
