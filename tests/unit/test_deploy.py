"""The manifests' parts fit together, as far as that can be seen without a cluster."""

from pathlib import Path
from typing import Any

import yaml

from podnet_agent.paths import Paths
from podnet_agent.runtime.containerd.config import CONFIG, CniFolders

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_agent_that_is_the_cni_plugin_sees_where_containerd_looks() -> None:
    documents = yaml.safe_load_all((DEPLOY / "base/agent.yaml").read_text())
    agent = next(each for each in documents if each["kind"] == "DaemonSet")
    component = yaml.safe_load((DEPLOY / "cni/kustomization.yaml").read_text())
    for patch in component["patches"]:
        for operation in yaml.safe_load(patch["patch"]):
            append(agent, operation)
    spec = agent["spec"]["template"]["spec"]
    assert spec["containers"][0]["args"][-1] == "--cni"
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert len(volumes) == len(spec["volumes"]) == len(mounts)
    configurations = CniFolders().configurations.parent
    for path in (CniFolders().programs.parent, configurations, CONFIG.parent, Paths().results):
        assert volumes[mounts[str(path)]["name"]]["hostPath"]["path"] == str(path)


def append(document: Any, operation: dict[str, Any]) -> None:
    """JSON Patch's `add` at the end of a list (RFC 6902)."""
    *steps, last = operation["path"].strip("/").split("/")
    assert (operation["op"], last) == ("add", "-")
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    document.append(operation["value"])
