"""`kubectl podnet`: what a node knows, through the API server only."""

import json
import os
import subprocess
from typing import Any

import pytest

from support.cluster import BUSYBOX, FOLDER, Cluster
from support.host import until
from support.plane import event, in_agent
from support.podnet import PROGRAM

Done = subprocess.CompletedProcess[str]
ENVIRONMENT = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
SCREEN_LINES = 40
FOLLOWING = r"for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline; echo; done 2> /dev/null"


def podnet(*words: str, stdin: str = "") -> Done:
    command = [FOLDER / "in", "kubectl", "podnet", *words]
    return subprocess.run(
        command, input=stdin, capture_output=True, text=True, env=ENVIRONMENT, timeout=120
    )


@pytest.fixture
def web(deployed: Cluster, namespace: str) -> dict[str, Any]:
    """A sandbox of which the log says `begun`."""
    words = ["sh", "-c", "echo begun; exec sleep 1d"]
    container = {"name": "web", "image": f"docker.io/{BUSYBOX}", "command": words}
    spec = {"nodeName": deployed.workers()[0], "containers": [container]}
    meta = {"name": "web", "namespace": namespace}
    kind = {"apiVersion": "podnet.dev/v1alpha1", "kind": "PodSandbox"}
    deployed.apply(kind | {"metadata": meta, "spec": spec})
    here = ("--namespace", namespace)
    deployed.kubectl("wait", *here, "--for=condition=Ready", "psb/web", "--timeout=120s")
    return deployed.get("psb", "web", *here)


@pytest.fixture
def pod(deployed: Cluster, namespace: str) -> dict[str, Any]:
    """A Pod of the same namespace."""
    here = ("--namespace", namespace)
    deployed.kubectl("run", "pod", *here, f"--image={BUSYBOX}", "--command", "--", "sleep", "1d")
    deployed.kubectl("wait", *here, "--for=condition=Ready", "pod/pod", "--timeout=120s")
    return deployed.get("pod", "pod", *here)


def test_a_sandbox_is_reached_by_the_agent_of_its_node(web: dict[str, Any], namespace: str) -> None:
    here = ("--namespace", namespace)
    done = podnet("exec", "-i", *here, "web", "--", "sh", "-c", "cat; exit 7", stdin="said\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "said\n", "")
    assert podnet("logs", *here, "web").stdout == "begun\n"
    explained = podnet("explain", *here, "web")
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert web["status"]["podIPs"][0]["ip"] in explained.stdout
    look = ("exec", *here, "web", "--", "ip", "link", "show", "eth1")
    assert "eth1 attached to default" in podnet("attach", *here, "web").stdout
    assert podnet(*look).returncode == 0
    assert "eth1 detached" in podnet("detach", *here, "web").stdout
    assert podnet(*look).returncode == 2  # of busybox: there is no such device


def test_its_names_are_looked_up_as_a_pods_of_its_namespace(
    deployed: Cluster, web: dict[str, Any], pod: dict[str, Any], namespace: str
) -> None:
    here = ("--namespace", namespace)
    read = ("--", "cat", "/etc/resolv.conf")
    of_pod = deployed.kubectl("exec", *here, "pod", *read)
    of_sandbox = podnet("exec", *here, "web", *read).stdout
    assert f"search {namespace}.svc." in of_sandbox
    assert sorted(of_sandbox.splitlines()) == sorted(of_pod.splitlines())
    service = deployed.get("service", "kubernetes", "--namespace=default")
    asked = podnet("exec", *here, "web", "--", "ping", "-c", "1", "-W", "1", "kubernetes.default")
    assert f"PING kubernetes.default ({service['spec']['clusterIP']})" in asked.stdout


def test_a_pod_is_explained_as_a_sandbox_is(pod: dict[str, Any], namespace: str) -> None:
    explained = podnet("explain", "--namespace", namespace, "pod/pod")
    assert explained.returncode == 0, explained.stdout + explained.stderr
    assert f"address {pod['status']['podIP']}/32" in explained.stdout
    assert f"<- Pod/{namespace}/pod" in explained.stdout


def test_kubectl_gets_all_kinds_by_one_word(
    deployed: Cluster, web: dict[str, Any], namespace: str
) -> None:
    node, ip = web["spec"]["nodeName"], web["status"]["podIPs"][0]["ip"]
    for wide in ((), ("--output", "wide")):
        said = deployed.kubectl("get", "podnet", "--all-namespaces", *wide)
        rows = [line.split() for line in said.splitlines()]
        assert any("podnetwork.podnet.dev/default" in row for row in rows)
        assert any(f"nodesubnet.podnet.dev/default.{node}" in row for row in rows)
        (ours,) = [row for row in rows if row[:2] == [namespace, "podsandbox.podnet.dev/web"]]
        assert ip in ours
        assert (web["status"]["netns"]["path"] in ours) == bool(wide)
        assert "<none>" not in ours


def test_who_writes_what_of_a_sandbox_is_told_by_its_fields(
    deployed: Cluster, web: dict[str, Any], namespace: str
) -> None:
    """Statuses are applied by the server: each writer owns its own fields (server-side apply)."""
    here = ("psb", "web", "--namespace", namespace, "--show-managed-fields")
    entries = deployed.get(*here)["metadata"]["managedFields"]
    (agent,) = [each for each in entries if each["manager"] == "podnet-agent"]
    assert (agent["operation"], agent["subresource"]) == ("Apply", "status")
    assert {"f:podIPs", "f:containers"} <= set(agent["fieldsV1"]["f:status"])
    for entry in entries:
        if entry["manager"] not in ("podnet-agent", "podnet-operator"):
            assert "f:status" not in entry["fieldsV1"], entry["manager"]


def test_a_sandbox_is_known_to_its_own_agent_and_to_no_kubelet(
    deployed: Cluster, web: dict[str, Any], namespace: str
) -> None:
    identity = web["status"]["sandboxID"]
    for node in deployed.workers():
        here = in_agent(deployed, node, "podnet", "get", "psb", "--all-namespaces", "-o", "json")
        names = {
            (each["metadata"]["namespace"], each["metadata"]["name"])
            for each in json.loads(here)["items"]
        }
        assert ((namespace, "web") in names) == (node == web["spec"]["nodeName"])
        for page in ("pods", "stats/summary"):
            said = deployed.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/{page}")
            assert "kube-proxy" in said  # it does name what it runs
            assert identity not in said


def test_status_is_one_screen_and_well_where_all_is(deployed: Cluster, web: dict[str, Any]) -> None:
    def well() -> bool:
        done.append(podnet("status"))
        return done[-1].returncode == 0

    done: list[Any] = []
    until(well, "what other tests leave to be gone", 90)
    said = done[-1].stdout
    assert "all is as it should be" in said
    assert len(said.splitlines()) <= SCREEN_LINES


def test_its_course_is_told_in_events(
    deployed: Cluster, web: dict[str, Any], namespace: str
) -> None:
    here = ("psb", "web", "--namespace", namespace)
    ip = web["status"]["podIPs"][0]["ip"]
    assert f"eth0 is on PodNetwork default: {ip}/32, MAC" in event(deployed, "Attached", *here)
    assert "container web runs" in event(deployed, "Started", *here)
    node, pid = web["spec"]["nodeName"], web["status"]["containers"][0]["pid"]
    deployed.node(node, "kill", "-KILL", str(pid))
    assert "container web runs, for the 2nd time" in event(deployed, "2nd time", *here)


def test_a_followed_log_leaves_nothing_behind(
    deployed: Cluster, web: dict[str, Any], namespace: str
) -> None:
    command = [FOLDER / "in", "kubectl", "podnet", "logs", "-f", "-n", namespace, "web"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.terminate()
    process.wait(10)

    def is_gone() -> bool:
        seen = deployed.node(web["spec"]["nodeName"], "sh", "-c", FOLLOWING)
        return f"--namespace {namespace} logs" not in seen

    until(is_gone, "who followed it on the node to end", 20)


def test_status_names_the_sandbox_that_is_not_ready(deployed: Cluster, namespace: str) -> None:
    container = {"name": "c", "image": "nowhere.invalid/none:1"}
    deployed.apply(
        {
            "apiVersion": "podnet.dev/v1alpha1",
            "kind": "PodSandbox",
            "metadata": {"name": "bad", "namespace": namespace},
            "spec": {"containers": [container]},
        }
    )

    def told() -> bool:
        done = podnet("status")
        return done.returncode == 1 and "nowhere.invalid/none:1" in done.stdout

    until(told, "status to say why", 60)
