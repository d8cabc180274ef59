"""Manifests to test with: read from YAML, and the sentences that refuse them."""

from podnet.api.manifest import Resource, Source, read
from podnet.errors import Invalid

HEAD = "apiVersion: podnet.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def manifest(spec: str, kind: str = "PodSandbox", name: str = "web") -> str:
    """One object whose spec is the YAML flow mapping; the spec is on line 4."""
    return HEAD.format(kind=kind, name=name) + f"spec: {spec}\n"


def one(text: str) -> Resource:
    """The only object of the text."""
    (resource,) = read([Source("a.yaml", text.encode())])
    return resource


def refusals(text: str | bytes) -> list[str]:
    """The problems of a text, a line each; empty where there is none."""
    data = text.encode() if isinstance(text, str) else text
    try:
        read([Source("a.yaml", data)])
    except Invalid as error:
        return [f"{each.place}: {each.message}" for each in error.problems]
    return []


def of_sandbox(spec: str) -> list[str]:
    """What is said of a PodSandbox with that spec, without file and line."""
    return [line.removeprefix("a.yaml line 4 spec.") for line in refusals(manifest(spec))]
