"""Rule: what must hold in an object, as the API server can check it, and the sentence if not.

The models check the same in Python and take their sentences from here, so that a person reads the
same words from `podnet apply` and from `kubectl apply`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = "is immutable{change}: delete the {kind} and apply it again"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """A CEL expression that is true of a right object, and what is said of a wrong one.

    `values` has the CEL for each {name} in the sentence, `self` itself where it names none: of
    fields that are text, since the server takes any other text for endless and its cost for too
    much. `words` has what the server says instead of a value it would have to compute. CEL as of
    Kubernetes 1.31 (isIP, isCIDR).
    """

    holds: str
    sentence: str
    at: str = ""  # below the value, with the dot in front: where the mistake is
    values: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def say(self, **values: object) -> str:
        """The sentence of one mistake."""
        return self.sentence.format(**values)

    def body(self) -> dict[str, str]:
        """An entry of x-kubernetes-validations."""
        literals, names = [""], []
        for text, name, _, _ in Formatter().parse(self.sentence):
            literals[-1] += text
            if name is None:
                continue
            if name in self.words:
                literals[-1] += self.words[name]
            else:
                names.append(self.values.get(name, "self"))
                literals.append("")
        if names:
            terms = [_quoted(literals[0])]
            for name, text in zip(names, literals[1:], strict=True):
                terms += [name, _quoted(text)]
            said = {"messageExpression": " + ".join(term for term in terms if term != "''")}
        else:
            said = {"message": literals[0]}
        return {"rule": self.holds, **said, **({"fieldPath": self.at} if self.at else {})}


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """Rules of one field's type; stands in an Annotated type beside what checks them in Python."""

    rules: tuple[Rule, ...]

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_rules(handler(schema), self.rules)


def with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    """The schema, and the rules beside those it has."""
    bodies: list[Any] = [*schema.get(VALIDATIONS, ()), *(rule.body() for rule in rules)]
    return schema | ({VALIDATIONS: bodies} if bodies else {})


def kept(name: str, kind: str) -> Rule:
    """A field stays as it was when the object was made."""
    return Rule(
        f"has(self.{name}) == has(oldSelf.{name})"
        f" && (!has(self.{name}) || self.{name} == oldSelf.{name})",
        IMMUTABLE.format(change="", kind=kind),
        f".{name}",
    )


def by_key(name: str) -> dict[str, Any]:
    """Of a list's schema: no two entries have the same `name`, and several hands may write it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [name]}


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
