"""What RBAC cannot say: who may have a node's root, and which objects an agent may write."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster import Cluster
from support.host import until

AGENTS = ("--namespace=podnet-system", "--selector=app.kubernetes.io/name=podnet-agent")


def sandbox(namespace: str, spec: dict[str, Any], name: str = "web") -> dict[str, Any]:
    return {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def one(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "main", "image": "busybox", **fields}]}


ROOT_ON_THE_NODE = [
    pytest.param(
        {"network": {"mode": "Host"}},
        "spec.network.mode: Host is the node's own network",
        id="Host",
    ),
    pytest.param(
        one(image="host", command=["id"]),
        "spec.containers: image host is the node's own root",
        id="image host",
    ),
    pytest.param(
        one(mounts=[{"source": "/etc", "target": "/etc"}]),
        "spec.containers: mounts are folders of the node",
        id="mounts",
    ),
]


@pytest.mark.parametrize(("spec", "sentence"), ROOT_ON_THE_NODE)
def test_the_nodes_root_is_refused_in_a_namespace_without_the_label(
    deployed: Cluster, namespace: str, spec: dict[str, Any], sentence: str
) -> None:
    wanted = json.dumps(sandbox(namespace, spec))
    said = deployed.refusal("create", "--filename", "-", stdin=wanted)
    assert "podnet-host-access" in said
    assert f'{sentence} and not allowed in namespace "{namespace}"' in said
    assert "not labelled pod-security.kubernetes.io/enforce=privileged" in said


@pytest.mark.parametrize(("spec", "_"), ROOT_ON_THE_NODE)
def test_the_nodes_root_is_had_where_privileged_pods_are(
    deployed: Cluster, namespace: str, spec: dict[str, Any], _: str
) -> None:
    label = "pod-security.kubernetes.io/enforce=privileged"
    deployed.kubectl("label", "namespace", namespace, label)
    deployed.apply(sandbox(namespace, spec), timeout=50)


def test_a_sandbox_can_go_where_the_label_has_gone(deployed: Cluster, namespace: str) -> None:
    label = "pod-security.kubernetes.io/enforce"
    deployed.kubectl("label", "namespace", namespace, f"{label}=privileged")
    held = sandbox(namespace, {"network": {"mode": "Host"}})
    held["metadata"]["finalizers"] = ["example.test/held"]
    deployed.apply(held)
    deployed.kubectl("label", "namespace", namespace, f"{label}-")
    here = ("psb/web", f"--namespace={namespace}")
    deployed.kubectl("delete", *here, "--wait=false")
    deployed.kubectl("patch", *here, "--type=merge", "-p", '{"metadata": {"finalizers": []}}')
    deployed.kubectl("wait", *here, "--for=delete", "--timeout=60s")


@pytest.fixture
def sandboxes(deployed: Cluster, namespace: str) -> tuple[str, str]:
    """A sandbox on each worker, named after it; nothing has to run in them."""
    first, second = deployed.workers()
    for node in (first, second):
        spec = {"nodeName": node, "network": {"mode": "None"}}
        deployed.apply(sandbox(namespace, spec, name=node))
    return first, second


@pytest.fixture
def almighty(deployed: Cluster) -> Iterator[None]:
    """RBAC lets the agents do everything, so only the policy is left."""
    name = "test-almighty-agents"
    rights = ("--clusterrole=cluster-admin", "--serviceaccount=podnet-system:podnet-agent")
    deployed.kubectl("create", "clusterrolebinding", name, *rights)
    yield
    deployed.kubectl("delete", "clusterrolebinding", name)


def agent_on(cluster: Cluster, node: str) -> tuple[str, ...]:
    """Options of kubectl that make it speak as the agent of a node."""
    pods = cluster.get("pods", *AGENTS)["items"]
    (pod,) = (item for item in pods if item["spec"]["nodeName"] == node)
    name = pod["metadata"]["name"]
    return cluster.bearer("podnet-agent", "--bound-object-kind=Pod", f"--bound-object-name={name}")


def tell(agent: tuple[str, ...]) -> tuple[str, ...]:
    """A command of kubectl that applies a status, as agents do: it needs no other right."""
    how = ("--server-side", "--force-conflicts", "--field-manager=podnet-agent")
    return ("apply", *agent, *how, "--subresource=status", "--validate=false", "--filename", "-")


def status_of(name: str, namespace: str) -> str:
    """The status of a sandbox, with what is nobody else's to say."""
    condition = {
        "type": "Tested",
        "status": "True",
        "reason": "Tested",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    body = sandbox(namespace, {}, name=name)
    del body["spec"]
    return json.dumps(body | {"status": {"conditions": [condition]}})


def test_an_agent_writes_the_status_of_its_own_nodes_sandbox(
    deployed: Cluster, namespace: str, sandboxes: tuple[str, str]
) -> None:
    here, _ = sandboxes
    agent = agent_on(deployed, here)
    assert "applied" in deployed.kubectl(*tell(agent), stdin=status_of(here, namespace))


def test_an_agent_may_not_write_the_status_of_another_nodes_sandbox(
    deployed: Cluster, namespace: str, sandboxes: tuple[str, str]
) -> None:
    here, there = sandboxes
    agent = agent_on(deployed, here)
    said = deployed.refusal(*tell(agent), stdin=status_of(there, namespace))
    sentence = f'podnet-agent of node "{here}" may not write an object of node "{there}"'
    assert sentence in said


def test_only_a_nodes_own_agent_writes_its_share(deployed: Cluster) -> None:
    here, there = deployed.workers()
    name = f"default.{there}"

    def addresses() -> list[str] | None:  # its own agent's words
        found = deployed.kubectl("get", "--ignore-not-found", f"nsub/{name}", "--output=json")
        told: list[str] | None = json.loads(found or "{}").get("status", {}).get("nodeAddresses")
        return told

    before = until(addresses, f"the status of NodeSubnet {name}", 120)
    share = {"apiVersion": "podnet.dev/v1alpha1", "kind": "NodeSubnet", "metadata": {"name": name}}
    status = json.dumps(share | {"status": {"nodeAddresses": ["192.0.2.1"]}})
    said = deployed.refusal(*tell(agent_on(deployed, here)), stdin=status)
    assert f'may not write an object of node "{there}"' in said
    assert addresses() == before


def test_a_token_that_is_bound_to_no_pod_writes_nothing(
    deployed: Cluster, namespace: str, sandboxes: tuple[str, str]
) -> None:
    here, _ = sandboxes
    nobody = deployed.bearer("podnet-agent")
    said = deployed.refusal(*tell(nobody), stdin=status_of(here, namespace))
    assert f'podnet-agent of node "" may not write an object of node "{here}"' in said


@pytest.mark.parametrize(
    ("command", "what"),
    [
        pytest.param(("delete", "psb/{node}"), "DELETE podsandboxes", id="delete"),
        pytest.param(("label", "psb/{node}", "a=b"), "UPDATE podsandboxes", id="update"),
        pytest.param(("create", "--filename", "-"), "CREATE podsandboxes", id="create"),
    ],
)
def test_an_agent_with_every_right_still_writes_status_only(
    deployed: Cluster,
    namespace: str,
    sandboxes: tuple[str, str],
    almighty: None,
    command: tuple[str, ...],
    what: str,
) -> None:
    here, _ = sandboxes
    words = [word.format(node=here) for word in command]
    agent = agent_on(deployed, here)
    new = json.dumps(sandbox(namespace, {"nodeName": here}, name="new"))

    def said() -> str:  # RBAC's caches take a moment to learn the new right
        text = deployed.refusal(*agent, "--namespace", namespace, *words, stdin=new)
        return "" if "cannot" in text else text

    assert f"may only update a status, not {what}" in until(said, "an answer of the policy", 40)


UP = {
    "type": "NetworkUnavailable",
    "status": "False",
    "reason": "PodnetIsUp",
    "message": "podnet is running on this node",
    "lastHeartbeatTime": "2026-01-01T00:00:00Z",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
"""What an agent says of its node."""
CONDITION_ONLY = "may write the condition NetworkUnavailable of its Node and nothing else"
NOT_ITS_LABELS = "may write a condition of its Node, not its labels"


def node_status(name: str, *conditions: dict[str, Any], **fields: Any) -> str:
    """What an agent would apply to a Node's status."""
    status = {"conditions": [UP, *conditions], **fields.pop("status", {})}
    meta = {"name": name, **fields}
    return json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": meta, "status": status})


def test_an_agent_says_that_its_own_nodes_network_is_up(deployed: Cluster) -> None:
    here, there = deployed.workers()
    agent = agent_on(deployed, here)
    assert "applied" in deployed.kubectl(*tell(agent), stdin=node_status(here))
    said = deployed.refusal(*tell(agent), stdin=node_status(there))
    sentence = f'podnet-agent of node "{here}" may not write an object of node "{there}"'
    assert sentence in said


@pytest.mark.parametrize(
    ("conditions", "fields", "sentence"),
    [
        pytest.param([], {"labels": {"a": "b"}}, NOT_ITS_LABELS, id="labels"),
        pytest.param([], {"annotations": {"a": "b"}}, NOT_ITS_LABELS, id="annotations"),
        pytest.param([], {"finalizers": ["example.test/a"]}, NOT_ITS_LABELS, id="finalizers"),
        pytest.param(
            [{"type": "Ready", "status": "False"}], {}, CONDITION_ONLY, id="whether it is ready"
        ),
        pytest.param(
            [{"type": "Mine", "status": "True"}], {}, CONDITION_ONLY, id="a condition of its own"
        ),
        pytest.param([], {"status": {"capacity": {"a.b/c": "1"}}}, CONDITION_ONLY, id="capacity"),
        pytest.param(
            [],
            {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}},
            CONDITION_ONLY,
            id="addresses",
        ),
    ],
)
def test_an_agent_writes_nothing_else_of_its_node(
    deployed: Cluster,
    conditions: list[dict[str, Any]],
    fields: dict[str, Any],
    sentence: str,
) -> None:
    """Who could label a node would draw Pods to it, with all that those may."""
    here, _ = deployed.workers()
    wanted = node_status(here, *conditions, **fields)
    assert sentence in deployed.refusal(*tell(agent_on(deployed, here)), stdin=wanted)


def test_an_agent_with_every_right_writes_nothing_of_a_node_but_that_condition(
    deployed: Cluster, almighty: None
) -> None:
    here, _ = deployed.workers()
    agent = agent_on(deployed, here)

    def said(*words: str) -> str:
        text = deployed.refusal(*agent, *words)
        return "" if "cannot" in text else text

    label = until(lambda: said("label", "node", here, "a=b"), "an answer of the policy", 40)
    assert "may only update a status, not UPDATE nodes" in label
    drop = '{"status": {"images": null}}'
    patch = ("patch", "node", here, "--subresource=status", "--type=merge", "-p")
    assert CONDITION_ONLY in said(*patch, drop)
    assert CONDITION_ONLY in said(*patch, '{"status": {"conditions": []}}')
