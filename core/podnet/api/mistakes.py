"""Mistakes: what pydantic found wrong, as sentences for a person. Its own words appear nowhere."""

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from podnet.api.meta import SERVER_FIELDS, Found, Mistakes, Place, spoken

MOST = 100
"""Mistakes of one object that are told; nobody mends more before trying again."""
_NOBODY = "0" * 63
"""Stands in for a name that is wrong; no sandbox joins it."""
ROUNDS = 4
"""How often the rest is looked at again without what was wrong: contradictions come to light."""


def mistakes(model: type[BaseModel], data: Any) -> tuple[BaseModel | None, Found]:
    """The object, or everything that is wrong with the data.

    Contradictions are only seen between values that are right: so what is wrong is taken out, and
    the rest is looked at again.
    """
    found: Found = []
    kept = _Kept(data)
    for _ in range(ROUNDS):
        try:
            value = model.model_validate(kept.value)
        except ValidationError as error:
            places = []
            known = list(found)
            errors = error.errors(include_url=False)
            if len(errors) > MOST:
                found.append(((), f"has {len(errors)} mistakes: mend the first {MOST}"))
            for each in errors[:MOST]:
                for place, sentence in _sentences(model, each):
                    places.append(place)
                    entry = kept.original(place), sentence
                    if not _follows(entry, known) and not _is_emptied(entry, found):
                        found.append(entry)
            if len(errors) > MOST or not kept.without(places):
                return None, found
        else:
            return (None if found else value), found
    return None, found


def _follows(entry: tuple[Place, str], known: Found) -> bool:
    """Whether a mistake is only there because one that is known was taken out."""
    place, sentence = entry
    missing = sentence.startswith("is missing")
    return any(
        place[: len(other)] == other or (missing and other[: len(place)] == place)
        for other, _ in known
    )


def _is_emptied(entry: tuple[Place, str], found: Found) -> bool:
    """Whether a list has too few entries for want of those that are wrong: pydantic says both."""
    place, sentence = entry
    return sentence.startswith("has no entry") and any(
        len(other) > len(place) and other[: len(place)] == place for other, _ in found
    )


class _Kept:
    """Data from which places are taken out, and where the rest stood at first."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self._indexes: dict[Place, list[int]] = {}  # of lists, by their place as it is now

    def original(self, place: Place) -> Place:
        """Where the value of that place stood at first."""
        found: list[str | int] = []
        for length, key in enumerate(place):
            indexes = self._indexes.get(place[:length])
            inside = indexes is not None and isinstance(key, int) and key < len(indexes)
            found.append(indexes[key] if inside and indexes and isinstance(key, int) else key)
        return tuple(found)

    def without(self, places: Sequence[Place]) -> bool:
        """Take the places out; False where that would leave nothing or change the rest's meaning.

        What lacks a field goes as a whole. Wrong metadata is replaced, since no spec needs it.
        """
        gone = {place if _has(self.value, place) else place[:-1] for place in places}
        if any(place[:1] == ("metadata",) for place in gone):
            gone = {place for place in gone if place[:1] != ("metadata",)}
            self.value = {**self.value, "metadata": {"name": _NOBODY}}
        if () in gone or ("spec",) in gone or ("spec", "network", "mode") in gone:
            return False
        before, self._indexes = self._indexes, {}
        self.value = self._copy(self.value, (), (), gone, before)
        return True

    def _copy(
        self, value: Any, place: Place, now: Place, gone: set[Place], before: dict[Place, list[int]]
    ) -> Any:
        if isinstance(value, dict):
            return {
                key: self._copy(each, (*place, key), (*now, key), gone, before)
                for key, each in value.items()
                if (*place, key) not in gone
            }
        if not isinstance(value, list):
            return value
        kept: list[Any] = []
        stood = before.get(place, range(len(value)))
        self._indexes[now] = indexes = []
        for index, each in enumerate(value):
            if (*place, index) not in gone:
                indexes.append(stood[index])
                kept.append(self._copy(each, (*place, index), (*now, len(kept)), gone, before))
        return kept


def _has(value: Any, place: Place) -> bool:
    for key in place:
        inside = isinstance(key, int) and isinstance(value, list) and key < len(value)
        if not inside and not (isinstance(value, dict) and key in value):
            return False
        value = value[key]
    return True


def _sentences(model: type[BaseModel], error: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    """Each mistake that one error of pydantic's stands for."""
    place: Place = tuple(error["loc"])
    if place and place[-1] == "[key]":
        place = place[:-1]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Mistakes):
        for below, sentence in cause.found:
            yield (*place, *below), sentence
    elif isinstance(cause, ValueError):
        yield place, str(cause)
    elif error["type"] == "extra_forbidden":
        yield place, _unknown(model, place)
    elif error["type"] == "missing":
        yield place, "is missing: write it"
    else:
        yield place, _wrong(error["type"], error["input"], error.get("ctx", {}))


def _wrong(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    """What a value of a wrong type or size is, and what would be right."""
    match kind:
        case "literal_error":
            words = str(context["expected"]).replace("'", "")
            remedy = f"write {words}"
        case "int_type" | "int_from_float" | "int_parsing" | "int_parsing_size":
            remedy = "write a whole number"
            if isinstance(value, str) and value.isdigit():
                return f'is the text "{value}": write a whole number without quotes or leading 0'
        case "float_type" | "float_parsing":
            remedy = "write a number"
        case "bool_type":
            remedy = "write true or false"
        case "string_type":
            remedy = "write text"
            if isinstance(value, (bool, int, float)):
                remedy = "write it in quotes"
        case "tuple_type" | "list_type":
            remedy = "write a list, each entry behind a dash"
        case "dict_type" | "model_type" | "model_attributes_type":
            remedy = "write a mapping of KEY: VALUE"
        case "greater_than_equal":
            return f"is {spoken(value)}: write {context['ge']} or more"
        case "less_than_equal":
            return f"is {spoken(value)}: write {context['le']} or less"
        case "too_long":
            return f"has {context['actual_length']} entries: write {context['max_length']} at most"
        case "too_short":
            return f"has no entry: write {context['min_length']} or more"
        case _:
            remedy = "write another value"
    return f"is {spoken(value)}: {remedy}"


def _unknown(model: type[BaseModel], place: Place) -> str:
    """That there is no such field, and which one was meant."""
    from difflib import get_close_matches

    key = str(place[-1])
    known = fields(model, place[:-1])
    plain = {name.lower(): name for name in known}
    close = get_close_matches(key.lower().replace("_", "").replace("-", ""), plain, 1, 0.75)
    if close:
        return f"is no field here: write {plain[close[0]]}"
    elsewhere = [each for each in _places_of(model, key, ()) if each]
    if len(elsewhere) == 1:
        return f"is no field here: write it under {elsewhere[0]}"
    known = tuple(name for name in known if name not in SERVER_FIELDS)
    return f"is no field here: there are {', '.join(known)}"


def fields(model: type[BaseModel], place: Place) -> tuple[str, ...]:
    """The fields that a mapping in that place may have."""
    for key in place:
        if isinstance(key, str):
            found = {f.alias or name: f.annotation for name, f in model.model_fields.items()}
            inner = _model_in(found.get(key))
            if inner is None:
                return ()
            model = inner
    return tuple(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for each in typing.get_args(annotation):
        found = _model_in(each)
        if found:
            return found
    return None


def _places_of(model: type[BaseModel], key: str, place: tuple[str, ...]) -> Iterator[str]:
    """Where a field of that name stands, in the whole object."""
    for name, field in model.model_fields.items():
        alias = field.alias or name
        if alias == key:
            yield ".".join(place)
        inner = _model_in(field.annotation)
        if inner:
            many = "[]" if "tuple" in str(field.annotation) else ""
            yield from _places_of(inner, key, (*place, alias + many))
