"""`kubectl podnet`, with a kubectl that answers what it is told to; `podnet status`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from podnet_cli import main
from podnet_cli.kubectl import without_postscript
from podnet_cli.overview import NODES_SHOWN, lines, of_cluster
from support.fake_agent import FakeAgent, serve
from support.fake_kubectl import FakeKubectl

Podnet = Callable[..., tuple[int, str, str]]
POSTSCRIPT = "command terminated with exit code 7\n"
AGENTS = "get pods --namespace podnet-system --selector app.kubernetes.io/name=podnet-agent"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKubectl:
    monkeypatch.setattr(sys, "argv", ["/somewhere/kubectl-podnet"])
    return FakeKubectl(tmp_path, monkeypatch)


@pytest.fixture
def podnet(capfd: pytest.CaptureFixture[str]) -> Podnet:
    return lambda *arguments: (main.run(list(arguments)), *capfd.readouterr())


def ready(holds: str = "True", reason: str = "R", message: str = "") -> dict[str, Any]:
    return {"type": "Ready", "status": holds, "reason": reason, "message": message}


def node(name: str, **claim: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": [ready(**claim)]}}


def pod(name: str, program: str, where: str, waiting: str = "") -> dict[str, Any]:
    state = {"waiting": {"reason": waiting}} if waiting else {"running": {}}
    return {
        "metadata": {"name": name, "labels": {"app.kubernetes.io/name": program}},
        "spec": {"nodeName": where, "containers": [{"image": f"podnet/{program}:1"}]},
        "status": {
            "phase": "Running",
            "conditions": [ready("False" if waiting else "True")],
            "containerStatuses": [{"state": state}],
        },
    }


def sandbox(name: str, where: str | None, **claim: str) -> dict[str, Any]:
    spec = {"nodeName": where} if where else {}
    phase = "Pending" if claim else "Running"
    return {
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": "apps", "generation": 1},
        "spec": spec | {"network": {"mode": "Bridge"}, "containers": []},
        "status": {"phase": phase, "conditions": [ready(**claim)]},
    }


def network(**claim: str) -> dict[str, Any]:
    spec = {"backend": {"type": "HostGateway"}, "subnets": ["10.9.0.0/16"]}
    status = {"conditions": [ready(**claim)], "addressesUsed": 2, "addressesTotal": 506}
    return {"kind": "PodNetwork", "metadata": {"name": "lan"}, "spec": spec, "status": status}


def share(where: str, cidr: str, **claim: str) -> dict[str, Any]:
    spec = {"podNetwork": "lan", "nodeName": where, "podCIDRs": [cidr]}
    status = {"conditions": [ready(**claim)]}
    return {
        "kind": "NodeSubnet",
        "metadata": {"name": f"lan.{where}"},
        "spec": spec,
        "status": status,
    }


HEALTHY = (
    [node("n1"), node("n2")],
    [
        pod("op-1", "podnet-operator", "n1"),
        pod("a-1", "podnet-agent", "n1"),
        pod("a-2", "podnet-agent", "n2"),
    ],
    [network(), share("n1", "10.9.0.0/24"), share("n2", "10.9.1.0/24"), sandbox("web", "n2")],
)


def test_status_is_one_screen_and_well_where_all_is(kubectl: FakeKubectl, podnet: Podnet) -> None:
    nodes, pods, objects = HEALTHY
    kubectl.items("get podnetworks.podnet.dev,nodesubnets", objects)
    kubectl.items("get nodes", nodes)
    kubectl.items("get pods --namespace podnet-system", pods)
    code, out, err = podnet("status")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "2 nodes, 2 agents; the operator runs on n1",
        "",
        "NODE   AGENT     READY   SHARES",
        "n1     Running   0/0     lan 10.9.0.0/24",
        "n2     Running   1/1     lan 10.9.1.0/24",
        "",
        "NETWORK   BACKEND       SUBNETS       READY   USED",
        "lan       HostGateway   10.9.0.0/16   True    2/506",
        "",
        "✔ all is as it should be",
    ]


def test_status_says_of_all_that_is_wrong_what_helps() -> None:
    full = {"holds": "False", "reason": "SubnetExhausted", "message": "all are taken: add one"}
    overview = of_cluster(
        [node("n1"), node("n2"), node("n3", holds="Unknown", message="Kubelet stopped")],
        [
            pod("op-1", "podnet-operator", "n1", "CrashLoopBackOff"),
            pod("a-1", "podnet-agent", "n1", "ImagePullBackOff"),
        ],
        [
            network(**full),
            sandbox("web", "n2", holds="False", reason="X", message="not seen"),
            sandbox("lost", None, holds="False", reason="Unscheduled"),
            sandbox("bad", "n1", holds="False", reason="ImageNotPresent", message="no image x: y"),
        ],
    )
    assert list(overview.problems) == [
        "the operator does not run, so nothing new gets a share or a node (CrashLoopBackOff):"
        " kubectl -n podnet-system describe pod op-1",
        "Node n1's agent is ImagePullBackOff: kubectl -n podnet-system describe pod a-1",
        "Node n2 has no agent, so no sandbox starts or ends there:"
        " kubectl -n podnet-system describe daemonset podnet-agent",
        "Node n3 is not ready, so it can't be asked: Kubelet stopped",
        "PodNetwork/lan Ready is False (SubnetExhausted): all are taken: add one",
        "PodSandbox apps/web is not ready (X): node n2 has no agent: see above",
        "PodSandbox apps/lost is not ready (Pending): no node was chosen for it yet: the operator"
        " does so",
        "PodSandbox apps/bad is not ready (ImageNotPresent): no image x: y",
    ]


def test_a_large_cluster_fits_one_screen_and_none_that_is_unwell_is_left_out() -> None:
    names = [f"n{number:03}" for number in range(200)]
    pods = [pod(f"a-{name}", "podnet-agent", name) for name in names[:-1]]
    screen = list(lines(of_cluster([node(name) for name in names], pods, [])))
    shown = [line for line in screen if line.startswith("n")]
    assert len(shown) == NODES_SHOWN + 1
    assert shown[-1].split()[:2] == ["n199", "<none>"]
    assert f"and {200 - NODES_SHOWN - 1} nodes more, all well" in screen


def test_one_machine_has_the_same_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podnet: Podnet
) -> None:
    monkeypatch.setenv("PODNET_SOCKET", str(tmp_path / "agent.sock"))
    agents: Iterator[FakeAgent] = serve(tmp_path)
    for agent in agents:
        agent.answers["GET /version"] = {"version": "1", "pid": 7}
        agent.objects(network(), sandbox("web", None))
        code, out, _ = podnet("status")
        assert (code, out.splitlines()[0]) == (0, "agent 1, process 7")
        assert out.splitlines()[3].split() == [os.uname().nodename, "Running", "1/1", "<none>"]
        agent.objects(sandbox("web", None, holds="False", reason="NoRoom", message="x: y"))
        code, out, _ = podnet("status")
        assert code == 1
        assert "✘ PodSandbox apps/web is not ready (NoRoom): x: y" in out


@pytest.fixture
def placed(kubectl: FakeKubectl) -> FakeKubectl:
    kubectl.answer("get podsandboxes.podnet.dev web", sandbox("web", "n2"))
    kubectl.items(f"{AGENTS} --field-selector spec.nodeName=n2", [HEALTHY[1][2]])
    return kubectl


INSIDE = "exec --namespace podnet-system a-2 --container agent"


def test_exec_is_done_by_the_agent_of_the_sandboxs_node(
    placed: FakeKubectl, podnet: Podnet
) -> None:
    placed.answer("exec", "out\n", f"err\n{POSTSCRIPT}", code=7)
    done = podnet("exec", "-i", "-c", "c1", "psb/web", "-n", "apps", "--", "ls", "-l")
    assert done == (7, "out\n", "err\n")
    assert placed.asked[0].startswith("get podsandboxes.podnet.dev web --namespace apps ")
    assert placed.asked[-1] == (
        f"{INSIDE} --stdin -- podnet --namespace apps exec --container=c1 --stdin -- web ls -l"
    )


def test_options_of_the_cluster_stand_anywhere_and_go_to_kubectl(
    kubectl: FakeKubectl, podnet: Podnet
) -> None:
    beginning = "--context far --kubeconfig /k"
    kubectl.answer(f"{beginning} get podsandboxes.podnet.dev web", sandbox("web", "n2"))
    kubectl.items(f"{beginning} {AGENTS}", [HEALTHY[1][2]])
    kubectl.answer(f"{beginning} exec", "eth1 detached\n")
    words = ("detach", "web", "--ifname", "eth7", "--kubeconfig", "/k")
    assert podnet("--context", "far", *words) == (0, "eth1 detached\n", "")
    assert kubectl.asked[-1].endswith("podnet --namespace apps detach --ifname=eth7 -- web")


def test_attach_passes_everything_on(placed: FakeKubectl, podnet: Podnet) -> None:
    placed.answer("exec", "attached\n")
    routes = ("--route", "10.1.0.0/16", "--route", "10.2.0.0/16")
    assert podnet("attach", "web", "--network", "lan", *routes)[0] == 0
    assert placed.asked[-1].endswith(
        "attach --network=lan --ifname=eth1 --route=10.1.0.0/16 --route=10.2.0.0/16 -- web"
    )


def test_a_followed_log_ends_with_who_follows_it(placed: FakeKubectl, podnet: Podnet) -> None:
    placed.answer("exec", "line\n")
    assert podnet("logs", "-f", "web")[:2] == (0, "line\n")
    assert placed.asked[-1] == (
        f"{INSIDE} --stdin -- podnet --namespace apps logs --follow --tail=-1 --until-stdin-ends"
        " -- web"
    )


def test_explain_is_drawn_here_from_what_the_agent_sees(
    placed: FakeKubectl, podnet: Podnet
) -> None:
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


def test_a_pod_is_explained_by_the_agent_of_its_node(kubectl: FakeKubectl, podnet: Podnet) -> None:
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
    podnet: Podnet,
) -> None:
    kubectl.answer("get pod shop", {"metadata": {"name": "shop", "namespace": "x"}, "spec": spec})
    assert podnet("explain", *words) == (1, "", f"error: {sentence}\n")


def test_explain_tells_what_the_status_holds_where_nobody_can_be_asked(
    placed: FakeKubectl, podnet: Podnet
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
    placed: FakeKubectl, podnet: Podnet, answers: dict[str, Any], sentence: str
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
    kubectl: FakeKubectl, podnet: Podnet, said: str, sentence: str
) -> None:
    kubectl.answer("get", "", f"{said}\n", code=1)
    assert podnet("logs", "web") == (1, "", f"{sentence}\n")


def test_without_kubectl_that_is_said(
    kubectl: FakeKubectl, podnet: Podnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = "error: kubectl is not there, and the cluster is asked through it: install it\n"
    assert podnet("status") == (1, "", said)


def test_what_one_machine_has_is_refused_with_what_to_do_instead(
    kubectl: FakeKubectl, podnet: Podnet
) -> None:
    assert podnet("run", "--rm", "--", "true")[2] == (
        "error: run is for one machine without a cluster: here, write a PodSandbox and"
        " `kubectl apply -f` it\n"
    )
    assert podnet("exek")[2].startswith("error: No such command 'exek'. Did you mean exec?")


def test_doctor_asks_every_node_or_one(kubectl: FakeKubectl, podnet: Podnet) -> None:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podnet: Podnet
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
