"""The text of manifests: how its values are read, and nothing in it that harms."""

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from podnet.api.manifest import Source, read, to_body
from podnet.api.podnetwork import PodNetwork
from podnet.api.podsandbox import PodSandbox
from podnet.errors import Invalid
from support.manifests import manifest, one, refusals

NETWORK = manifest("{}", "PodNetwork", "blue")


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"\x7fELF\0\0", "a.yaml: holds binary data: give a YAML or JSON file"),
        (b"\na: \xff\n", "a.yaml line 2: is not UTF-8: save the file in that encoding"),
        (b"a" * 10_000_001, "a.yaml: manifests of one call are at most 10 MB together: split them"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, refusal: str) -> None:
    assert refusals(data) == [refusal]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    text = "\ufeff" + NETWORK.replace("\n", "\r\n")
    assert isinstance(one(text), PodNetwork)


def test_json_is_read_whatever_its_indentation_and_escapes() -> None:
    body = yaml.safe_load(manifest("{hostname: a}"))
    body["metadata"]["annotations"] = {"a": "\U0001f600 \\ud83d\\ude00 / \t", "b": "\x7f\u2028"}
    text = json.dumps(body, indent="\t").replace(" / ", " \\/ ")
    assert to_body(one(text))["metadata"]["annotations"] == body["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("010", "010"),
        ("0x10", "0x10"),
        ("8080:22", "8080:22"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("1e3", "1e3"),
        (".inf", ".inf"),
        ("=", "="),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("|\n      a\n      b\n", "a\nb\n"),
    ],
)
def test_what_only_yaml_1_1_takes_for_another_type_is_text(written: str, read_as: str) -> None:
    text = NETWORK.replace("{name: blue}", f"\n  name: blue\n  annotations:\n    a: {written}")
    assert one(text).metadata.annotations == {"a": read_as}


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("no", "is no, which YAML reads as the truth value false: write a whole number"),
        ("010", 'is the text "010": write a whole number without quotes or leading 0'),
        ("'80'", 'is the text "80": write a whole number without quotes or leading 0'),
        ("80.0", "is the number 80.0: write a whole number"),
        ("0x50", "is 0x50: write a whole number"),
        ("true", "is the truth value true: write a whole number"),
        ("[80]", "is a list: write a whole number"),
        ("9" * 30, f'is the text "{"9" * 30}": write a whole number without quotes or leading 0'),
    ],
)
def test_a_number_that_is_none_is_named_as_it_is_written(written: str, sentence: str) -> None:
    assert refusals(manifest(f"{{mtu: {written}}}", "PodNetwork")) == [
        f"a.yaml line 4 spec.mtu: {sentence}"
    ]


def test_anchors_and_merges_save_writing() -> None:
    text = """\
apiVersion: podnet.dev/v1alpha1
kind: PodSandbox
metadata: {name: web}
spec:
  containers:
  - &a
    name: a
    image: host
    command: &sleep [sleep, "5"]
  - <<: *a
    name: b
    args: *sleep
"""
    found = one(text)
    assert isinstance(found, PodSandbox)
    first, second = found.spec.containers
    assert (first.name, second.name, second.image) == ("a", "b", "host")
    assert first.command == second.command == second.args == ("sleep", "5")


def test_aliases_of_aliases_do_not_explode() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert refusals("\n".join(lines)) == [
        "a.yaml line 6: the document has more than 200000 values: split it"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        "{a: " * 500_000,
        "- " * 1_000_000,
        "[" + "[]," * 1_000_000 + "]",
        "a: b\n" * 300_000,
        "x\n---\n" * 300_000,
        manifest("{" + "".join(f"k{n}: 1, " for n in range(50_000)) + "}"),
        "&a x\n" * 100_000,
        '"' + "\\u0041" * 500_000,
    ],
    ids=[
        "lists",
        "mappings",
        "dashes",
        "values",
        "a key",
        "documents",
        "fields",
        "anchors",
        "text",
    ],
)
def test_a_hostile_text_costs_seconds_at_most(text: str) -> None:
    start = time.process_time()
    assert 1 <= len(refusals(text)) <= 1100
    assert time.process_time() - start < 10


def test_a_message_carries_no_escape_sequences_and_no_long_text() -> None:
    text = manifest('{"\\e[2J' + "x" * 9999 + '": 1, hostname: "\\e[2J"}')
    found = "\n".join(refusals(text))
    assert len(found) < 1000
    assert found.replace("\n", " ").isprintable()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_objects_or_invalid(data: bytes) -> None:
    try:
        assert read([Source("a", data)])
    except Invalid as error:
        assert error.problems
