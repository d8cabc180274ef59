"""The part of kubectl's JSONPath that people use: `{.status.phase}`, `{.items[*].metadata.name}`,
`{.status.conditions[?(@.type=="Ready")].status}`, with text and `{"\\n"}` between."""

import json
import re
from collections.abc import Iterator
from typing import Any

from podnet_cli.client import Failure

_STEP = re.compile(
    r"""\.(?P<name>(?:[^.\[\]{}\\\s]|\\.)+)
      | \[\s*(?P<index>-?\d+)\s*\]
      | \[\s*(?P<all>\*)\s*\]
      | \[\s*'(?P<quoted>[^']*)'\s*\]
      | \[\s*\?\(\s*@(?P<left>[^=!]*?)\s*(?P<sign>==|!=)\s*["'](?P<right>[^"']*)["']\s*\)\s*\]""",
    re.VERBOSE,
)


def render(template: str, body: Any) -> str:
    """The template with each `{...}` replaced by what it finds; several values have a space
    between."""
    found = []
    for literal, expression in re.findall(r"([^{}]+)|\{([^{}]*)\}", template):
        if literal:
            found.append(literal)
        elif expression.strip().startswith('"'):
            found.append(str(json.loads(expression)))
        else:
            found.append(" ".join(_text(value) for value in values(expression, body)))
    return "".join(found)


def values(expression: str, body: Any) -> list[Any]:
    """Everything that `.a.b[0]` names in the body, nothing where it is not there."""
    path = expression.strip().removeprefix("$").removeprefix("@")
    if not path.startswith((".", "[")):
        path = f".{path}"
    found, at = [body], 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            raise Failure(f"{{{expression}}} is no JSONPath from {path[at:]!r} on: write {{.a.b}}")
        found = [value for each in found for value in _next(step, each)]
        at = step.end()
    return found


def _next(step: re.Match[str], value: Any) -> Iterator[Any]:
    name = step["quoted"] if step["name"] is None else re.sub(r"\\(.)", r"\1", step["name"])
    if step["index"] is not None:
        if isinstance(value, list) and -len(value) <= int(step["index"]) < len(value):
            yield value[int(step["index"])]
    elif step["all"] is not None or name == "*":
        yield from value.values() if isinstance(value, dict) else _items(value)
    elif step["left"] is not None:
        for each in _items(value):
            is_equal = [_text(left) for left in values(step["left"], each)] == [step["right"]]
            if is_equal is (step["sign"] == "=="):
                yield each
    elif isinstance(value, dict) and name in value:
        yield value[name]


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
