"""A real API server takes the CRDs, and refuses with the models' sentences what they refuse."""

import json
from typing import Any

import pytest

from support.cluster import ROOT, Cluster
from support.refused import ACCEPTED, REFUSED, Accepted, Refused, body

CREATE = ("create", "--dry-run=server", "--filename", "-")


@pytest.fixture(scope="session")
def kinds(cluster: Cluster) -> Cluster:
    """The cluster with the kinds of this checkout."""
    cluster.kubectl("apply", "--server-side", "--kustomize", str(ROOT / "crds"))
    for plural in ("podnetworks", "nodesubnets", "podsandboxes"):
        crd = f"crd/{plural}.podnet.dev"
        cluster.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    return cluster


def text(document: dict[str, Any]) -> str:
    return json.dumps(document)


def test_no_kind_has_a_problem(kinds: Cluster) -> None:
    """NonStructuralSchema, and names that somebody else has, stand in a condition."""
    for plural in ("podnetworks", "nodesubnets", "podsandboxes"):
        conditions = kinds.get(f"crd/{plural}.podnet.dev")["status"]["conditions"]
        said = {each["type"]: each["status"] for each in conditions}
        assert said == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in ACCEPTED.items()])
def test_what_is_just_right_is_accepted(kinds: Cluster, case: Accepted) -> None:
    if case.was is None:
        kinds.kubectl(*CREATE, stdin=text(case.body))
        return
    old = body(case.kind, case.name, case.was)
    kinds.kubectl("create", "--filename", "-", stdin=text(old))
    try:
        kinds.kubectl("replace", "--filename", "-", stdin=text(case.body))
    finally:
        kinds.kubectl("delete", "--filename", "-", stdin=text(old))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in REFUSED.items()])
def test_what_is_refused_is_refused_with_this_sentence(kinds: Cluster, case: Refused) -> None:
    if case.was is None:
        assert case.served in kinds.refusal(*CREATE, stdin=text(case.body))
        return
    old = body(case.kind, case.name, case.was)
    kinds.kubectl("create", "--filename", "-", stdin=text(old))
    try:
        said = kinds.refusal("replace", "--filename", "-", stdin=text(case.body))
        assert case.served in said
    finally:
        kinds.kubectl("delete", "--filename", "-", stdin=text(old))


@pytest.mark.parametrize("place", ["podnetworks.spec", "nodesubnets.spec", "podsandboxes.spec"])
def test_explain_says_something_of_every_field(kinds: Cluster, place: str) -> None:
    said = kinds.kubectl("explain", place)
    assert "<no description>" not in said
    assert "FIELDS:" in said
