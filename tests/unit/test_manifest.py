"""Manifests: which objects are read from them, and every mistake with its line."""

import contextlib
import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.api.manifest import Resource, Source, from_body, read, to_body
from podnet.api.podnetwork import PodNetwork
from podnet.api.podsandbox import PodSandbox
from podnet.errors import Invalid
from support.manifests import manifest, one, refusals

NETWORK = manifest("{}", "PodNetwork", "blue")


def names(*texts: str, namespace: str = "default") -> list[str]:
    """Kind, namespace and name of what the texts hold."""
    sources = [Source(f"{index}.yaml", text.encode()) for index, text in enumerate(texts)]
    return [
        "/".join([each.kind, getattr(each.metadata, "namespace", "-"), each.metadata.name])
        for each in read(sources, namespace)
    ]


def test_documents_of_several_files_come_in_their_order() -> None:
    both = manifest("{}", name="b") + "---\n# nothing\n---\n" + NETWORK
    assert names(manifest("{}", name="a"), both) == [
        "PodSandbox/default/a",
        "PodSandbox/default/b",
        "PodNetwork/-/blue",
    ]


def test_the_namespace_given_is_that_of_objects_which_name_none() -> None:
    named = manifest("{}", name="b").replace("{name: b}", "{name: b, namespace: red}")
    assert names(manifest("{}", name="a"), named, namespace="green") == [
        "PodSandbox/green/a",
        "PodSandbox/red/b",
    ]


def test_a_list_is_its_items() -> None:
    items = [yaml.safe_load(manifest("{}", name=name)) for name in "ab"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    assert names(text) == ["PodSandbox/default/a", "PodSandbox/default/b"]


def test_a_mistake_in_a_list_is_named_by_its_item() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + NETWORK.replace("\n", "\n  ").replace(
        "{}", "{mtu: x}"
    )
    assert refusals(text) == ["a.yaml line 7 items[0].spec.mtu: is x: write a whole number"]


def test_what_get_prints_can_be_applied_again() -> None:
    body = yaml.safe_load(manifest("{hostname: a}"))
    body["metadata"] |= {
        "uid": "1",
        "resourceVersion": "7",
        "generation": 1,
        "creationTimestamp": "2024-01-01T00:00:00Z",
        "deletionTimestamp": "2024-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 1.5,
    }
    body["status"] = {"phase": "Running"}
    assert to_body(one(yaml.safe_dump(body))) == to_body(one(manifest("{hostname: a}")))


def test_a_stored_object_keeps_what_the_server_wrote() -> None:
    body = to_body(one(manifest("{hostname: a}")))
    body["metadata"] |= {"uid": "1", "generation": 1, "deletionGracePeriodSeconds": 0.5}
    assert to_body(from_body(body | {"status": {"phase": "Running"}})) == body


def test_a_body_says_what_was_given_and_no_defaults() -> None:
    text = manifest("{network: {ports: [{hostPort: 80, containerPort: 80}]}}")
    assert to_body(one(text)) == {
        "apiVersion": "podnet.dev/v1alpha1",
        "kind": "PodSandbox",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"network": {"ports": [{"hostPort": 80, "containerPort": 80}]}},
    }


@pytest.mark.parametrize(
    "spec",
    [
        "{}",
        "{network: {mode: None}}",
        "{network: {addresses: [10.0.0.1, 'fd00::1'], mac: '02:42:00:00:00:01'}}",
        "{containers: [{name: a, image: host, command: [x], resources: {limits: {cpu: 1.5}}}]}",
        "{dns: {nameservers: [1.1.1.1], options: [{name: ndots, value: '1'}]}}",
    ],
)
def test_a_body_is_json_and_reads_back_as_itself(spec: str) -> None:
    body = to_body(one(manifest(spec)))
    assert to_body(from_body(json.loads(json.dumps(body)))) == body


def test_a_body_that_is_wrong_names_the_object_and_the_place() -> None:
    body: dict[str, Any] = to_body(one(manifest("{}")))
    body["spec"] = {"hostname": 5}
    with pytest.raises(Invalid) as caught:
        from_body(body)
    assert str(caught.value) == (
        "PodSandbox/default/web spec.hostname: is the number 5: write it in quotes"
    )


def test_every_mistake_of_every_file_is_told_at_once() -> None:
    """Contradictions too, though other fields are wrong beside them."""
    first = """\
apiVersion: podnet.dev/v1alpha1
kind: PodSandbox
metadata: {name: Web_1}
spec:
  dns: {nameservers: [1.1.1.1]}
  network:
    mode: Container
    sandbox: x
    mac: 1
    ports:
    - hostPort: "80"
      containerPort: 80
    - hostPort: 90
      containerPort: 80
    - hostPort: 90
      containerPort: 80
  containers:
  - name: a
    image: host
    command: [sleep, 5]
  - {name: b, image: host, command: [x]}
  - {name: b, image: host, command: [x]}
"""
    with pytest.raises(Invalid) as caught:
        read([Source("a.yaml", first.encode()), Source("b.yaml", b"kind: Pod\n---\na: b: c\n")])
    assert [str(each.place) for each in caught.value.problems] == [
        "a.yaml line 3 metadata.name",
        "a.yaml line 5 spec.dns",
        "a.yaml line 9 spec.network.mac",
        "a.yaml line 10 spec.network.ports",
        "a.yaml line 11 spec.network.ports[0].hostPort",
        "a.yaml line 15 spec.network.ports[2].hostPort",
        "a.yaml line 20 spec.containers[0].command[1]",
        "a.yaml line 22 spec.containers[2].name",
        "b.yaml line 1 kind",
        "b.yaml line 3",
    ]


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (
            "kind: Pod\n",
            "a.yaml line 1 kind: is Pod, which podnet does not know: write PodNetwork or"
            " PodSandbox",
        ),
        (
            "kind: podsandbox\n",
            "a.yaml line 1 kind: is podsandbox, which podnet does not know: write PodSandbox",
        ),
        ("a: b\n", "a.yaml line 1 kind: is missing: write PodNetwork or PodSandbox"),
        (
            "kind: PodSandbox\n",
            "a.yaml line 1 apiVersion: is missing: write podnet.dev/v1alpha1",
        ),
        (
            "\nkind: PodSandbox\napiVersion: v1\nmetadata: {name: a}\n",
            "a.yaml line 3 apiVersion: is v1: write podnet.dev/v1alpha1",
        ),
        (
            "kind: PodSandbox\napiVersion: podnet.dev/v1alpha1\n",
            "a.yaml line 1 metadata: is missing: write it",
        ),
        (
            "kind: PodSandbox\napiVersion: podnet.dev/v1alpha1\nmetadata: a\n",
            "a.yaml line 3 metadata: is a: write a mapping of KEY: VALUE",
        ),
        ("- a\n", "a.yaml line 1: is a list: write an object with apiVersion, kind, metadata"),
        ("kind: List\n", "a.yaml line 1 items: is missing: write a list of objects"),
        ("", "a.yaml: holds no object: write a PodNetwork or PodSandbox"),
        ("# only this\n---\n", "a.yaml: holds no object: write a PodNetwork or PodSandbox"),
        (
            NETWORK + "---\n" + NETWORK,
            "a.yaml line 6: PodNetwork/blue stands at a.yaml line 1 already: leave one of them",
        ),
        (
            NETWORK + "kind: PodNetwork\n",
            "a.yaml line 5: kind stands on line 2 already: leave one of them",
        ),
        (
            NETWORK + "\ta: b\n",
            "a.yaml line 5: is indented with a tab, which YAML does not take: write spaces",
        ),
        (
            "a: [b\n",
            "a.yaml line 2: is no YAML, column 1 (did not find expected ',' or ']' while parsing a"
            " flow sequence): check quotes, colons, brackets and indentation",
        ),
        ("? [a]\n: b\n", "a.yaml line 1: has a key that is no plain word: write KEY: VALUE"),
        (
            "a: !!python/name:os.system\n",
            "a.yaml line 1: has the tag tag:yaml.org,2002:python/name:os.system: leave it out",
        ),
        ("a: *b\n", "a.yaml line 1: *b stands for nothing: write &b before a value"),
        ("a: &a [*a]\n", "a.yaml line 1: *a stands for nothing: write &a before a value"),
        (
            "[" * 40 + "]" * 40,
            "a.yaml line 1: nests values more than 32 deep: nothing of ours does",
        ),
        (
            "# \u00e9\u00e9\n\na: \x07\n\n",
            "a.yaml line 3: holds the character U+0007, which YAML does not take: remove it",
        ),
    ],
)
def test_a_text_that_cant_be_meant_says_why(text: str, refusal: str) -> None:
    assert refusals(text) == [refusal]


def _field_names(model: type[PodNetwork | PodSandbox]) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    return sorted({name for part in schema["$defs"].values() for name in part["properties"]})


WORDS = st.sampled_from(
    [name for model in (PodNetwork, PodSandbox) for name in _field_names(model)] + ["<<", "x"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["PodSandbox", "PodNetwork", "podnet.dev/v1alpha1", "Host", "10.0.0.0/8"])
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(TREES, st.sampled_from(["PodSandbox", "PodNetwork"]), st.data())
def test_any_spec_is_an_object_or_invalid(spec: Any, kind: str, data: st.DataObject) -> None:
    meta = data.draw(TREES | st.just({"name": "a"}))
    body = {"apiVersion": "podnet.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    objects: list[Resource] = []
    try:
        objects.append(from_body(body))
    except Invalid as error:
        assert all(each.message for each in error.problems)
    with contextlib.suppress(Invalid):
        objects += read([Source("a", yaml.safe_dump(body).encode())])
    for each in objects:
        assert to_body(from_body(to_body(each))) == to_body(each)


def test_a_stored_object_is_read_without_yaml() -> None:
    code = "import sys, podnet.api.manifest, podnet.api.machine; print('yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_field_has_a_description_and_every_text_and_list_a_bound() -> None:
    """CRDs are generated from the schema."""
    missing: list[str] = []

    def look(schema: dict[str, Any], place: str) -> None:
        kind = schema.get("type")
        texts = kind == "string" and not {"enum", "const", "maxLength"} & set(schema)
        if texts or (kind == "array" and "maxItems" not in schema):
            missing.append(f"{place} has no bound")
        for name, field in schema.get("properties", {}).items():
            if "description" not in field and name not in ("apiVersion", "kind", "metadata"):
                missing.append(f"{place}.{name} has no description")
            look(field, f"{place}.{name}")
        for part in (schema.get("items"), *schema.get("anyOf", ())):
            if part:
                look(part, f"{place}[]")
        for name, part in schema.get("$defs", {}).items():
            look(part, name)

    for model in (PodNetwork, PodSandbox):
        look(model.model_json_schema(by_alias=True), model.__name__)
    assert missing == []
