"""Messages of gRPC as frozen dataclasses, to bytes and back. Pure.

A message says of each field its type and number: `id: Annotated[str, 1] = ""`. Known are str,
bytes, int, bool, messages, tuples of these (repeated) and dict[str, str]; what is left at its
default is not written, and a number that a message does not have is skipped (protobuf.dev,
"Encoding").
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""How the value of a field is written."""
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_64_BITS = (1 << 64) - 1

Message = TypeVar("Message")


class _Field(NamedTuple):
    name: str
    number: int
    kind: Any
    """The type of one value."""
    many: type | None
    """tuple or dict, where there can be more than one."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """How an entry of a dict is sent."""

    key: Annotated[str, 1] = ""
    value: Annotated[str, 2] = ""


_known: dict[type, dict[int, _Field]] = {}


def _fields(message: type) -> dict[int, _Field]:
    """The fields of a message by number; looked up once."""
    if message not in _known:
        _known[message] = _read_fields(message)
    return _known[message]


def _read_fields(message: type) -> dict[int, _Field]:
    hints = get_type_hints(message, include_extras=True)
    found = {}
    for each in fields(message):
        assert get_origin(hints[each.name]) is Annotated, f"{message.__name__}.{each.name}"
        kind, number = get_args(hints[each.name])
        many = get_origin(kind)
        if many is tuple:
            kind = get_args(kind)[0]
        found[number] = _Field(each.name, number, kind, many)
    return found


def encode(message: Any) -> bytes:
    """The message as it is sent."""
    out = bytearray()
    for field in _fields(type(message)).values():
        value = getattr(message, field.name)
        if field.many is dict:
            for key, text in value.items():
                out += _one(field.number, _Entry(key, text))
        elif field.many is tuple:
            for one in value:
                out += _one(field.number, one)
        elif value:
            out += _one(field.number, value)
    return bytes(out)


def _one(number: int, value: Any) -> bytes:
    match value:
        case int():
            return _varint(number << 3 | VARINT) + _varint(value & _64_BITS)
        case str():
            return _tagged(number, BYTES, value.encode())
        case bytes():
            return _tagged(number, BYTES, value)
        case _:
            return _tagged(number, BYTES, encode(value))


def _tagged(number: int, kind: int, data: bytes) -> bytes:
    return _varint(number << 3 | kind) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(kind: type[Message], data: bytes) -> Message:
    """The message that was sent; ValueError where that is none."""
    known = _fields(kind)
    values: dict[str, Any] = {}
    for number, raw in _values(data):
        field = known.get(number)
        if field is None:
            continue
        if field.many is dict:
            entry = decode(_Entry, _bytes(raw))
            values.setdefault(field.name, {})[entry.key] = entry.value
        elif field.many is tuple:
            values[field.name] = (*values.get(field.name, ()), _value(field.kind, raw))
        else:
            values[field.name] = _value(field.kind, raw)
    return kind(**values)


def _value(kind: Any, raw: Any) -> Any:
    if kind in (int, bool):
        if not isinstance(raw, int):
            raise ValueError("bytes where a number should be")
        return kind(raw - (1 << 64) if raw >> 63 else raw)
    if kind is str:
        return _bytes(raw).decode()
    return _bytes(raw) if kind is bytes else decode(kind, _bytes(raw))


def _bytes(raw: Any) -> bytes:
    if not isinstance(raw, bytes):
        raise ValueError("a number where bytes should be")
    return raw


def _values(data: bytes) -> Iterator[tuple[int, Any]]:
    """The numbers of the fields with what stands behind each: an int, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _read_varint(data, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"field {number} is of kind {kind}, which is none")
        if at + size > len(data):
            raise ValueError(f"field {number} is cut off")
        yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _64_BITS, at
        shift += 7
