"""The manifests' parts fit together, as far as that can be seen without a cluster."""

import re
from pathlib import Path
from typing import Any

import yaml

from podnet_agent import health as agents
from podnet_agent.paths import Paths
from podnet_agent.runtime.containerd.config import CONFIG, CniFolders
from podnet_operator import health as operators

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_agent_that_is_the_cni_plugin_sees_where_containerd_looks() -> None:
    (agent,) = documents("base/agent.yaml", "DaemonSet")
    component = yaml.safe_load((DEPLOY / "cni/kustomization.yaml").read_text())
    for patch in component["patches"]:
        for operation in yaml.safe_load(patch["patch"]):
            patch_by(agent, operation)
    spec = agent["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][-1] == "--cni"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert len(volumes) == len(spec["volumes"]) == len(mounts)
    configurations = CniFolders().configurations.parent
    for path in (CniFolders().programs.parent, configurations, CONFIG.parent, Paths().results):
        assert volumes[mounts[str(path)]["name"]]["hostPath"]["path"] == str(path)


def test_the_operator_is_one_and_can_do_nothing_on_its_node() -> None:
    """Two at once would write the same objects; and nothing of it needs root."""
    (operator,) = documents("base/operator.yaml", "Deployment")
    assert operator["spec"]["replicas"] == 1
    assert operator["spec"]["strategy"] == {"type": "Recreate"}
    pod = operator["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostPID", "hostIPC", "initContainers"} & set(pod)
    assert [set(volume) for volume in pod["volumes"]] == [{"name", "configMap"}]


def test_the_operators_image_is_run_as_nobody() -> None:
    """The kubelet believes a number alone not to be root's."""
    _, _, stage = (DEPLOY / "Dockerfile").read_text().partition(" AS operator\n")
    (user,) = re.findall(r"^USER (\d+)", stage.partition("\nFROM ")[0], re.MULTILINE)
    assert int(user) > 0


def test_probes_ask_where_they_are_answered() -> None:
    (operator,) = documents("base/operator.yaml", "Deployment")
    (agent,) = documents("base/agent.yaml", "DaemonSet")
    assert operators.PORT != agents.PORT  # on one node, without a network of their own
    for owner, kind, paths in (
        (operator, operators, {"readinessProbe": "healthz", "livenessProbe": "healthz"}),
        (
            agent,
            agents,
            {"startupProbe": "healthz", "readinessProbe": "readyz", "livenessProbe": "healthz"},
        ),
    ):
        (container,) = owner["spec"]["template"]["spec"]["containers"]
        assert {
            name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")
        } == {
            name: {"host": kind.HOST, "port": kind.PORT, "path": f"/{path}"}
            for name, path in paths.items()
        }


def test_nothing_laid_over_the_base_changes_the_operator_but_its_image() -> None:
    for folder in ("base", "cni", "overlays/kind"):
        found = yaml.safe_load((DEPLOY / folder / "kustomization.yaml").read_text())
        assert not {"replicas", "replacements", "patchesStrategicMerge"} & set(found)
        assert {patch["target"]["kind"] for patch in found.get("patches", ())} <= {"DaemonSet"}


def documents(file: str, kind: str) -> list[dict[str, Any]]:
    """The objects of a kind in a file of `deploy`."""
    found = yaml.safe_load_all((DEPLOY / file).read_text())
    return [each for each in found if each["kind"] == kind]


def patch_by(document: Any, operation: dict[str, Any]) -> None:
    """JSON Patch's `add` at the end of a list (RFC 6902)."""
    *steps, last = operation["path"].strip("/").split("/")
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    assert (operation["op"], last) == ("add", "-")
    document.append(operation["value"])
