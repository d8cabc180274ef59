"""Document: one YAML document as plain data, with the line of every value.

Not PyYAML's own constructor: it takes a key twice, aliases without end, and turns dates, bytes and
1.1's octal and base-60 numbers into values that nobody meant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from podnet.api.meta import Place, spoken
from podnet.errors import Problem

BYTES = 10_000_000
"""Of all sources of one call together; as much as the command line sends."""
DEPTH = 32
"""How deep values may lie in values; an object of ours needs 10."""
VALUES = 200_000
"""In one document, what aliases repeat counted again: some 5,000 sandboxes."""
MISTAKES = 1000
"""As many are told at once; nobody mends more before trying again."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{0,18}")
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"


class Mark(NamedTuple):
    """Where a value stands in its source, and how a plain scalar is spelt there."""

    line: int  # from 1
    text: str | None = None


@dataclass(slots=True)
class Document:
    """A document's value; `marks` by place."""

    value: Any
    source: str
    marks: dict[Place, Mark] = field(default_factory=dict)

    def mark(self, place: Place) -> Mark:
        """Of the value in that place, or of the nearest around it."""
        for length in range(len(place), -1, -1):
            found = self.marks.get(place[:length])
            if found:
                return found if length == len(place) else Mark(found.line)
        return Mark(1)


class Unreadable(Exception):
    """The rest of the source can't be understood."""

    def __init__(self, line: int, message: str) -> None:
        self.line, self.message = line, message


def documents(name: str, data: bytes, problems: list[Problem]) -> Iterator[Document]:
    """Every document that is not empty; what is wrong with the text goes to `problems`."""
    if b"\0" in data:
        problems.append(Problem(name, "holds binary data: give a YAML or JSON file"))
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        place = f"{name} line {line}"
        problems.append(Problem(place, "is not UTF-8: save the file in that encoding"))
        return
    try:
        yield from _Composer(name, text, problems).documents()
    except Unreadable as error:
        problems.append(Problem(f"{name} line {error.line}", error.message))
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax(name, text, error))
    except yaml.reader.ReaderError as error:
        wrong = error.character if isinstance(error.character, str) else chr(error.character)
        line = text.count("\n", 0, text.find(wrong)) + 1  # its position counts bytes or characters
        problems.append(
            Problem(
                f"{name} line {line}",
                f"holds the character U+{ord(wrong):04X}, which YAML does not take: remove it",
            )
        )


def _as_yaml(text: str) -> str:
    r"""JSON is YAML but for characters beyond U+FFFF, which it may write as two \uXXXX."""
    if not text.lstrip().startswith(("{", "[")):
        return text

    def joined(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0]
        high, low = int(match[1], 16), int(match[2], 16)
        return f"\\U{0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF):08x}"

    return re.sub(r"(?is)\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", joined, text)


def _syntax(name: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    lines = text.split("\n")
    written = lines[line - 1] if line <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        sentence = "is indented with a tab, which YAML does not take: write spaces"
    else:
        column = f", column {mark.column + 1}" if mark else ""
        why = " ".join(part for part in (error.problem, error.context) if part)
        sentence = f"is no YAML{column} ({why}): check quotes, colons, brackets and indentation"
    return Problem(f"{name} line {line}", sentence)


class _Composer:
    """From the parser's events to values. Its own stack is Python's, so depth is bounded."""

    def __init__(self, name: str, text: str, problems: list[Problem]) -> None:
        self._name, self._problems = name, problems
        self._loader = _LOADER(_as_yaml(text))

    def documents(self) -> Iterator[Document]:
        """One after the other, as far as the text can be understood."""
        try:
            while True:
                event = self._loader.get_event()
                if isinstance(event, yaml.StreamEndEvent):
                    return
                if isinstance(event, yaml.DocumentStartEvent):
                    self._document = Document(None, self._name)
                    self._anchors: dict[str, tuple[Any, int]] = {}
                    self._count = 0
                    self._document.value = self._value(self._loader.get_event(), ())
                    if self._document.value is not None:
                        yield self._document
        finally:
            self._loader.dispose()

    def _value(self, event: Any, place: Place) -> Any:
        line = event.start_mark.line + 1
        anchor = event.anchor
        before = self._count
        self._counted(1, line)
        if len(place) > DEPTH:
            raise Unreadable(line, f"nests values more than {DEPTH} deep: nothing of ours does")
        self._document.marks[place] = Mark(line)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(anchor, line)
        self._refuse_tag(event, line)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
            if event.implicit[0]:
                self._document.marks[place] = Mark(line, event.value)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = []
            while not isinstance(event := self._loader.get_event(), yaml.SequenceEndEvent):
                value.append(self._value(event, (*place, len(value))))
        else:
            value = self._mapping(place)
        if anchor:
            self._anchors[anchor] = value, self._count - before
        return value

    def _mapping(self, place: Place) -> dict[str, Any]:
        marks = self._document.marks
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Any] = []
        while not isinstance(event := self._loader.get_event(), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise Unreadable(line, "has a key that is no plain word: write KEY: VALUE")
            key = event.value
            value = self._value(self._loader.get_event(), (*place, key))
            if key == _MERGE and event.implicit[0]:
                merged += value if isinstance(value, list) else [value]
                continue
            if key in lines:
                self._problems.append(
                    Problem(
                        f"{self._name} line {line}",
                        f"{spoken(key)} stands on line {lines[key]} already: leave one of them",
                    )
                )
                if len(self._problems) > MISTAKES:
                    raise Unreadable(line, "has more keys that stand twice: mend these first")
            lines[key] = line
            marks[(*place, key)] = marks[(*place, key)]._replace(line=line)
            found[key] = value
        for each in merged:
            if not isinstance(each, dict):
                raise Unreadable(line, f"merges ({_MERGE}) what is no mapping")
            found = each | found
        return found

    def _alias(self, anchor: str, line: int) -> Any:
        if anchor not in self._anchors:
            raise Unreadable(line, f"*{anchor} stands for nothing: write &{anchor} before a value")
        value, size = self._anchors[anchor]
        self._counted(size, line)
        return value

    def _counted(self, size: int, line: int) -> None:
        self._count += size
        if self._count > VALUES:
            raise Unreadable(line, f"the document has more than {VALUES} values: split it")

    def _refuse_tag(self, event: Any, line: int) -> None:
        kinds = {"str", "int", "float", "bool", "null", "seq", "map"}
        if event.tag not in (None, "!") and event.tag.removeprefix(_TAG) not in kinds:
            raise Unreadable(line, f"has the tag {spoken(event.tag)}: leave it out")

    def _scalar(self, event: yaml.ScalarEvent) -> Any:
        """As YAML reads it, but what only YAML 1.1 takes for a number or a date stays text."""
        text = event.value
        tag = event.tag
        if tag in (None, "!"):
            tag = self._loader.resolve(yaml.ScalarNode, text, event.implicit)
        match tag.removeprefix(_TAG):
            case "null":
                return None
            case "bool":
                return yaml.constructor.SafeConstructor.bool_values.get(text.lower(), text)
            case "int" if _INTEGER.fullmatch(text):
                return int(text)
            case "float" if _FLOAT.fullmatch(text):
                return float(text)
        return text
