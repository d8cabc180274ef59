"""`kubectl podnet`, with a kubectl that answers what it is told to."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from podnet_cli.kubectl import without_postscript
from support.cluster_objects import HEALTHY, pod, sandbox
from support.commands import Typed
from support.fake_agent import serve
from support.fake_kubectl import FakeKubectl

POSTSCRIPT = "command terminated with exit code 7\n"
AGENTS = "get pods --namespace podnet-system --selector app.kubernetes.io/name=podnet-agent"


@pytest.fixture
def placed(kubectl: FakeKubectl) -> FakeKubectl:
    kubectl.answer("get podsandboxes.podnet.dev web", sandbox("web", "n2"))
    kubectl.items(f"{AGENTS} --field-selector spec.nodeName=n2", [HEALTHY[1][2]])
    return kubectl


INSIDE = "exec --namespace podnet-system a-2 --container agent"


def test_exec_is_done_by_the_agent_of_the_sandboxs_node(placed: FakeKubectl, podnet: Typed) -> None:
    placed.answer("exec", "out\n", f"err\n{POSTSCRIPT}", code=7)
    done = podnet("exec", "-i", "-c", "c1", "psb/web", "-n", "apps", "--", "ls", "-l")
    assert done == (7, "out\n", "err\n")
    assert placed.asked[0].startswith("get podsandboxes.podnet.dev web --namespace apps ")
    assert placed.asked[-1] == (
        f"{INSIDE} --stdin -- podnet --namespace apps exec --container=c1 --stdin -- web ls -l"
    )


def test_options_of_the_cluster_stand_anywhere_and_go_to_kubectl(
    kubectl: FakeKubectl, podnet: Typed
) -> None:
    beginning = "--context far --kubeconfig /k"
    kubectl.answer(f"{beginning} get podsandboxes.podnet.dev web", sandbox("web", "n2"))
    kubectl.items(f"{beginning} {AGENTS}", [HEALTHY[1][2]])
    kubectl.answer(f"{beginning} exec", "eth1 detached\n")
    words = ("detach", "web", "--ifname", "eth7", "--kubeconfig", "/k")
    assert podnet("--context", "far", *words) == (0, "eth1 detached\n", "")
    assert kubectl.asked[-1].endswith("podnet --namespace apps detach --ifname=eth7 -- web")


def test_attach_passes_everything_on(placed: FakeKubectl, podnet: Typed) -> None:
    placed.answer("exec", "attached\n")
    routes = ("--route", "10.1.0.0/16", "--route", "10.2.0.0/16")
    assert podnet("attach", "web", "--network", "lan", *routes)[0] == 0
    assert placed.asked[-1].endswith(
        "attach --network=lan --ifname=eth1 --route=10.1.0.0/16 --route=10.2.0.0/16 -- web"
    )


def test_a_followed_log_ends_with_who_follows_it(placed: FakeKubectl, podnet: Typed) -> None:
    placed.answer("exec", "line\n")
    assert podnet("logs", "-f", "web")[:2] == (0, "line\n")
    assert placed.asked[-1] == (
        f"{INSIDE} --stdin -- podnet --namespace apps logs --follow --tail=-1 --until-stdin-ends"
        " -- web"
    )


def test_explain_is_drawn_here_from_what_the_agent_sees(placed: FakeKubectl, podnet: Typed) -> None:
    placed.items("get podsandboxes.podnet.dev --all-namespaces", [sandbox("web", "n2")])
    what = {"ifname": "eth0", "destination": "0.0.0.0/0", "gateway": "10.9.1.1"}
    line = {"kind": "route", "what": what, "cause": "PodNetwork/lan spec.subnets", "name": "r"}
    line |= {"commands": ["ip route add"], "verdict": "missing"}
    body = {"sandbox": sandbox("web", "n2"), "lines": [line]}
    placed.answer("exec", body, POSTSCRIPT, code=1)
    code, out, err = podnet("explain", "web")
    assert (code, err) == (1, "")
    assert out.splitlines()[0] == "PodSandbox apps/web  Running, Bridge mode, PodNetwork default"
    assert "✘ route 0.0.0.0/0 via 10.9.1.1 dev eth0: missing" in out


def test_a_pod_is_explained_by_the_agent_of_its_node(kubectl: FakeKubectl, podnet: Typed) -> None:
    meta = {"metadata": {"name": "shop", "namespace": "apps"}}
    kubectl.answer("get pod shop --namespace apps", meta | {"spec": {"nodeName": "n2"}})
    kubectl.items(AGENTS, [pod("a-2", "podnet-agent", "n2")])
    seen = sandbox("shop", "n2") | {"kind": "Pod"}
    inside = "exec --namespace podnet-system a-2 --container agent -- podnet"
    kubectl.answer(f"{inside} --namespace apps explain", {"sandbox": seen, "lines": []})
    kubectl.items(f"{inside} get attachments", [])
    code, out, err = podnet("explain", "pod/shop", "-n", "apps")
    assert (code, err) == (0, "")
    assert out.startswith("Pod apps/shop  Running")
    (asked,) = (line for line in kubectl.asked if " explain " in line)
    assert asked.endswith("explain --output json pod/shop")


@pytest.mark.parametrize(
    ("words", "spec", "sentence"),
    [
        (
            ("pod/shop",),
            {"nodeName": "n2", "hostNetwork": True},
            "pod shop is in its node's network, so nothing of it is podnet's",
        ),
        (
            ("pod", "shop"),
            {},
            "pod shop has no node yet: kubectl describe pod shop says why",
        ),
        (
            ("container/0123",),
            {},
            "a container that is no Pod's is known on its node alone: podnet there",
        ),
    ],
    ids=["the node's network", "no node", "no pod's"],
)
def test_what_can_not_be_explained_says_why(
    words: tuple[str, ...],
    spec: dict[str, Any],
    sentence: str,
    kubectl: FakeKubectl,
    podnet: Typed,
) -> None:
    kubectl.answer("get pod shop", {"metadata": {"name": "shop", "namespace": "x"}, "spec": spec})
    assert podnet("explain", *words) == (1, "", f"error: {sentence}\n")


def test_explain_tells_what_the_status_holds_where_nobody_can_be_asked(
    placed: FakeKubectl, podnet: Typed
) -> None:
    placed.items("get podsandboxes.podnet.dev --all-namespaces", [])
    refused = 'Error from server (Forbidden): pods "a-2" is forbidden'
    placed.answer("exec", "", f"{refused}\n", code=1)
    code, out, err = podnet("explain", "web")
    assert code == 1
    assert out.splitlines()[0] == "PodSandbox apps/web  Running, Bridge mode, PodNetwork default"
    assert err == f"error: {refused}: so this is what the status holds, and no more\n"


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            {"get podsandboxes.podnet.dev web": sandbox("web", None)},
            "error: podsandbox web has no node yet: the operator chooses one",
        ),
        (
            {AGENTS: {"items": []}},
            "error: node n2 has no agent, and only that one can be asked:"
            " kubectl -n podnet-system describe daemonset podnet-agent",
        ),
        (
            {AGENTS: {"items": [pod("a-2", "podnet-agent", "n2", "CrashLoopBackOff")]}},
            "error: the agent of node n2 does not run (CrashLoopBackOff), and only that one can be"
            " asked: kubectl -n podnet-system describe pod a-2",
        ),
    ],
    ids=["no node", "no agent", "an agent that does not run"],
)
def test_who_cant_be_asked_is_said_with_the_remedy(
    placed: FakeKubectl, podnet: Typed, answers: dict[str, Any], sentence: str
) -> None:
    for begins, answer in answers.items():
        placed.answer(begins, answer)
    assert podnet("exec", "web", "--", "true") == (1, "", f"{sentence}\n")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            'E1 memcache.go:265] "Unhandled"\nerror: the server doesn\'t have a resource type "x"',
            "error: this cluster has no podnet: kubectl apply -k deploy/overlays/kind",
        ),
        (
            "Unable to connect to the server: dial tcp: no route",
            "error: no cluster answers (Unable to connect to the server: dial tcp: no route):"
            " name another one with --context",
        ),
        (
            'Error from server (NotFound): podsandboxes.podnet.dev "web" not found',
            'Error from server (NotFound): podsandboxes.podnet.dev "web" not found',
        ),
    ],
    ids=["no podnet", "no cluster", "no sandbox"],
)
def test_what_kubectl_refuses_is_one_sentence(
    kubectl: FakeKubectl, podnet: Typed, said: str, sentence: str
) -> None:
    kubectl.answer("get", "", f"{said}\n", code=1)
    assert podnet("logs", "web") == (1, "", f"{sentence}\n")


def test_without_kubectl_that_is_said(
    kubectl: FakeKubectl, podnet: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = "error: kubectl is not there, and the cluster is asked through it: install it\n"
    assert podnet("status") == (1, "", said)


def test_what_one_machine_has_is_refused_with_what_to_do_instead(
    kubectl: FakeKubectl, podnet: Typed
) -> None:
    assert podnet("run", "--rm", "--", "true")[2] == (
        "error: run is for one machine without a cluster: here, write a PodSandbox and"
        " `kubectl apply -f` it\n"
    )
    assert podnet("exek")[2].startswith("error: No such command 'exek'. Did you mean exec?")


def test_doctor_asks_every_node_or_one(kubectl: FakeKubectl, podnet: Typed) -> None:
    kubectl.items(AGENTS, HEALTHY[1][1:])
    kubectl.answer("exec", "ok  root\n")
    assert podnet("doctor")[:2] == (0, "# n1\nok  root\n# n2\nok  root\n")
    kubectl.items(f"{AGENTS} --field-selector spec.nodeName=n2", [HEALTHY[1][2]])
    kubectl.answer("exec --namespace podnet-system a-2", "missing  x\n", POSTSCRIPT, code=1)
    assert podnet("doctor", "--node", "n2") == (1, "# n2\nmissing  x\n", "")


def test_kubectls_own_verbs_are_kubectls(kubectl: FakeKubectl, tmp_path: Path) -> None:
    kubectl.answer("--context far get", "a table\n", code=3)
    program = f"import sys; sys.argv = ['kubectl-podnet', {', '.join(map(repr, WORDS))}]\n"
    program += "from podnet_cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "a table\n")
    assert kubectl.asked == ["--context far get --namespace apps psb -o wide --help"]


WORDS = ("-n", "apps", "--context", "far", "get", "psb", "-o", "wide", "--help")


def test_as_kubectl_itself_the_word_podnet_means_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podnet: Typed
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/kubectl"])
    monkeypatch.setenv("PODNET_SOCKET", str(tmp_path / "agent.sock"))
    for agent in serve(tmp_path):
        agent.objects(sandbox("web", None))
        first, second = podnet("get", "psb", "-o", "json"), podnet("podnet", "get", "psb", "-ojson")
        assert first == second
        assert json.loads(first[1])["items"] == [sandbox("web", None)]


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize(
    ("said", "left"),
    [
        (POSTSCRIPT, ""),
        (f"no such file\n{POSTSCRIPT}", "no such file\n"),
        ("command not found\n", "command not found\n"),
        (f"{POSTSCRIPT}more", f"{POSTSCRIPT}more"),
        ("prompt: comm", "prompt: comm"),
    ],
)
def test_only_what_kubectl_adds_is_left_out(said: str, left: str, size: int) -> None:
    pieces = [said[at : at + size].encode() for at in range(0, len(said), size)]
    assert b"".join(without_postscript(pieces)).decode() == left
