"""Cases of what both the models and the API server refuse or accept."""

import re
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Refused:
    """A spec that is refused; where `was` is given, only as a change of that."""

    kind: str
    spec: Body
    place: str  # as podnet apply names it; the API server names no entry of a list
    sentence: str
    was: Body | None = None
    name: str = "web"
    by_server: str = ""

    @property
    def served(self) -> str:
        """The API server's sentence, which names no value that it would have to compute."""
        return self.by_server or re.sub("is immutable[^:]*:", "is immutable:", self.sentence)

    @property
    def body(self) -> Body:
        """The object as it is applied."""
        return body(self.kind, self.name, self.spec)

    @property
    def old(self) -> Body:
        """The object before it was changed."""
        return body(self.kind, self.name, self.was or {})


@dataclass(frozen=True)
class Accepted:
    """A spec just on the right side of the rules."""

    kind: str
    spec: Body = field(default_factory=dict)
    name: str = "web"
    was: Body | None = None

    @property
    def body(self) -> Body:
        """The object as it is applied."""
        return body(self.kind, self.name, self.spec)

    @property
    def old(self) -> Body:
        """The object before it was changed."""
        return body(self.kind, self.name, self.was or {})


def body(kind: str, name: str, spec: Body) -> Body:
    """An object as a person writes it."""
    meta = {"name": name} | ({"namespace": "default"} if kind == "PodSandbox" else {})
    return {"apiVersion": "podnet.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def changed(kind: str, place: str, was: Body, now: Body, words: str, name: str = "web") -> Refused:
    """A change of an immutable field."""
    sentence = f"is immutable{words}: delete the {kind} and apply it again"
    return Refused(kind, now, f"spec.{place}", sentence, was, name)
