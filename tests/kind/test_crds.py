"""A real API server takes the CRDs, and refuses with the models' sentences what they refuse."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.cases import Accepted, Body, Refused, body
from support.cluster import ROOT, Cluster
from support.refused import ACCEPTED, REFUSED

CREATE = ("create", "--dry-run=server", "--filename", "-")


@pytest.fixture(scope="session")
def kinds(cluster: Cluster) -> Cluster:
    """The cluster with the kinds of this checkout."""
    cluster.kubectl("apply", "--kustomize", str(ROOT / "crds"))
    for plural in ("podnetworks", "nodesubnets", "podsandboxes"):
        crd = f"crd/{plural}.podnet.dev"
        cluster.kubectl("wait", "--for=condition=Established", crd, "--timeout=60s")
    return cluster


@pytest.fixture(scope="module")
def place(kinds: Cluster) -> Iterator[str]:
    """A namespace for sandboxes of every sort, and a network for a share of a node to come."""
    name = "test-crds"
    labels = {"pod-security.kubernetes.io/enforce": "privileged"}
    meta = {"name": name, "labels": labels}
    kinds.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": meta},
        body("PodNetwork", "blue", {"subnets": ["10.8.0.0/16"]}),
    )
    yield name
    kinds.kubectl("delete", "namespace", name, "--wait=false")
    kinds.kubectl("delete", "podnetwork", "blue")


def text(document: Body, place: str) -> str:
    """The object as JSON, in that namespace if it lies in one."""
    meta = document["metadata"]
    inside = {"namespace": place} if "namespace" in meta else {}
    return json.dumps(document | {"metadata": meta | inside})


@contextlib.contextmanager
def there(kinds: Cluster, old: str) -> Iterator[None]:
    """The object exists."""
    kinds.kubectl("create", "--filename", "-", stdin=old)
    try:
        yield
    finally:
        kinds.kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=old)


def test_no_kind_has_a_problem(kinds: Cluster) -> None:
    """NonStructuralSchema, and names that somebody else has, stand in a condition."""
    for plural in ("podnetworks", "nodesubnets", "podsandboxes"):
        conditions = kinds.get(f"crd/{plural}.podnet.dev")["status"]["conditions"]
        said = {each["type"]: each["status"] for each in conditions}
        assert said == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in ACCEPTED.items()])
def test_what_is_just_right_is_accepted(kinds: Cluster, place: str, case: Accepted) -> None:
    if case.was is None:
        kinds.kubectl(*CREATE, stdin=text(case.body, place))
        return
    with there(kinds, text(case.old, place)):
        kinds.kubectl("replace", "--filename", "-", stdin=text(case.body, place))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in REFUSED.items()])
def test_what_is_refused_is_refused_with_this_sentence(
    kinds: Cluster, place: str, case: Refused
) -> None:
    if case.was is None:
        assert case.served in kinds.refusal(*CREATE, stdin=text(case.body, place))
        return
    with there(kinds, text(case.old, place)):
        said = kinds.refusal("replace", "--filename", "-", stdin=text(case.body, place))
        assert case.served in said


def objects(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The path of every object with named fields: what `kubectl explain` lists."""
    schema = schema.get("items", schema)
    if "properties" in schema:
        yield path
        for name, field in schema["properties"].items():
            yield from objects(field, f"{path}.{name}")


@pytest.mark.parametrize("plural", ["podnetworks", "nodesubnets", "podsandboxes"])
def test_explain_says_something_of_every_field(kinds: Cluster, plural: str) -> None:
    """At every depth: kubectl lists an object's fields, each with its description."""
    (version,) = kinds.get(f"crd/{plural}.podnet.dev")["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    paths = [f"{plural}.{part}" for part in ("spec", "status")]
    below = [path for part in paths for path in objects(schema[part.split(".")[1]], part)]
    assert len(below) > 2
    for path in below:
        said = kinds.kubectl("explain", path)
        assert "FIELDS:" in said
        assert "<no description>" not in said, path
