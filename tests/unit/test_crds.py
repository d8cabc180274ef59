"""The CRDs are what the models say, and every rule in them has the models' sentence."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from podnet.api.crd import MODELS, SELECTABLE, files
from podnet.api.manifest import changes_refused, from_body, spelt
from podnet.api.rules import VALIDATIONS
from podnet.errors import Invalid
from podnet.kinds import CLUSTER_KINDS
from support.cases import Accepted, Refused
from support.refused import ACCEPTED, REFUSED

CRDS = Path(__file__).parents[2] / "crds"
SCHEMAS = {
    found["spec"]["names"]["kind"]: found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for text in files().values()
    if (found := yaml.safe_load(text))["kind"] == "CustomResourceDefinition"
}


def test_the_folder_holds_what_the_models_say() -> None:
    """`make crds` writes it."""
    assert {path.name: path.read_text() for path in CRDS.iterdir()} == files()


def parts(schema: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema, with its place."""
    yield place, schema
    for name, each in schema.get("properties", {}).items():
        yield from parts(each, f"{place}.{name}".lstrip("."))
    if "items" in schema:
        yield from parts(schema["items"], f"{place}[]")


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_field_is_described_and_bounded(kind: str) -> None:
    missing = []
    for place, schema in parts(SCHEMAS[kind], ""):
        if place.startswith("metadata") or place in ("apiVersion", "kind"):
            continue
        if "description" not in schema and not place.endswith("[]"):
            missing.append(f"{place} has no description")
        if schema.get("type") == "string" and not {"enum", "maxLength"} & set(schema):
            missing.append(f"{place} has no maxLength")
        if schema.get("type") == "array" and "maxItems" not in schema:
            missing.append(f"{place} has no maxItems")
        if not {"type", "x-kubernetes-int-or-string"} & set(schema):
            missing.append(f"{place} has no type")
    assert missing == []


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_structural(kind: str) -> None:
    """Nothing that the API server does not take: references, null, unions."""
    for place, schema in parts(SCHEMAS[kind], ""):
        unknown = set(schema) & {"$ref", "$defs", "allOf", "const", "title", "additionalProperties"}
        assert not unknown, place
        assert "anyOf" not in schema or "x-kubernetes-int-or-string" in schema, place
        assert r"\ud800" not in schema.get("pattern", ""), place


def test_a_watch_can_ask_for_a_nodes_sandboxes_and_shares() -> None:
    """A selectable field that the schema does not have is refused with the whole CRD."""
    for kind, paths in SELECTABLE.items():
        places = {f".{place}" for place, _ in parts(SCHEMAS[kind], "")}
        assert set(paths) <= places


def sentences(case: Refused) -> list[tuple[str, str]]:
    """What the models say of it: place and sentence."""
    try:
        now = from_body(case.body, MODELS[case.kind])  # type: ignore[type-var]
    except Invalid as error:
        return [(each.place.rpartition(" ")[2], each.message) for each in error.problems]
    if case.was is None:
        return []
    was = from_body(case.old)
    found = changes_refused(was, now)  # type: ignore[arg-type]
    return [(spelt(place), sentence) for place, sentence in found]


def by_models(case: Refused) -> bool:
    """Nobody but the API server is asked to change a NodeSubnet."""
    return case.was is None or case.kind != "NodeSubnet"


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=name) for name, case in REFUSED.items() if by_models(case)]
)
def test_what_is_refused_is_refused_with_this_sentence(case: Refused) -> None:
    assert sentences(case) == [(case.place, case.sentence)]


@pytest.mark.parametrize("case", [pytest.param(ACCEPTED[name], id=name) for name in ACCEPTED])
def test_what_is_just_right_is_accepted(case: Accepted) -> None:
    from_body(case.body, MODELS[case.kind])  # type: ignore[type-var]


def rules(kind: str) -> set[tuple[str, str]]:
    """Of every rule about what people write: its sentence's pattern, and the place it is at."""
    found = set()
    for place, schema in parts(SCHEMAS[kind], ""):
        for rule in schema.get(VALIDATIONS, ()) if not place.startswith("status") else ():
            field = (place + rule.get("fieldPath", "")).lstrip(".")
            found.add((pattern_of(rule), unnumbered(field)))
    return found


def unnumbered(place: str) -> str:
    """A place without which entry of a list it is."""
    return re.sub(r"\[[0-9]*\]", "", place)


def pattern_of(rule: dict[str, str]) -> str:
    """What the sentence looks like, whatever the values in it are."""
    if "message" in rule:
        return re.escape(rule["message"])
    terms = re.findall(
        r"'((?:[^'\\]|\\.)*)'(?: \+ |$)|([^'].*?)(?: \+ (?=')|$)", rule["messageExpression"]
    )
    return "".join(".+" if value else re.escape(re.sub(r"\\(.)", r"\1", t)) for t, value in terms)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_every_rule_is_tried_at_its_own_place(kind: str) -> None:
    """The same cases are tried on a real API server (tests/kind)."""
    cases = [
        (case.served, unnumbered(case.place)) for case in REFUSED.values() if case.kind == kind
    ]
    untried = [
        (pattern, place)
        for pattern, place in rules(kind)
        if not any(re.fullmatch(pattern, s) and f"{at}.".startswith(f"{place}.") for s, at in cases)
    ]
    assert untried == []


def test_the_kinds_are_all_there() -> None:
    assert list(SCHEMAS) == [kind.kind for kind in CLUSTER_KINDS]
