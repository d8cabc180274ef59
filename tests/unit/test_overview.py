"""`podnet status`: one screen that says how all is, and of all that is wrong what helps."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from podnet_cli.overview import NODES_SHOWN, lines, of_cluster
from support.cluster_objects import HEALTHY, network, node, pod, sandbox
from support.commands import Typed
from support.fake_agent import FakeAgent, serve
from support.fake_kubectl import FakeKubectl


def test_status_is_one_screen_and_well_where_all_is(kubectl: FakeKubectl, podnet: Typed) -> None:
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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, podnet: Typed
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
