"""Messages to bytes and back, as protobuf's own documents write them."""

from dataclasses import dataclass, field
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podnet_agent.runtime.containerd import messages
from podnet_agent.runtime.containerd.protobuf import decode, encode


@dataclass(frozen=True, slots=True)
class Number:
    a: Annotated[int, 1] = 0


@dataclass(frozen=True, slots=True)
class Text:
    b: Annotated[str, 2] = ""


@dataclass(frozen=True, slots=True)
class Outer:
    c: Annotated[Number, 3] = Number()
    many: Annotated[tuple[Number, ...], 4] = ()
    words: Annotated[tuple[str, ...], 5] = ()
    labels: Annotated[dict[str, str], 6] = field(default_factory=dict)
    yes: Annotated[bool, 7] = False
    data: Annotated[bytes, 16] = b""


@pytest.mark.parametrize(
    ("message", "data"),
    [  # of protobuf.dev, "Encoding"
        pytest.param(Number(150), "089601", id="a number"),
        pytest.param(Text("testing"), "120774657374696e67", id="a text"),
        pytest.param(Outer(Number(150)), "1a03089601", id="a message in a message"),
        pytest.param(Number(-2), "08feffffffffffffffff01", id="a negative number"),
        pytest.param(Outer(labels={"k": "v"}), "1a003206" + "0a016b120176", id="a map"),
    ],
)
def test_it_is_written_as_protobuf_says(message: object, data: str) -> None:
    assert encode(message).hex() == data
    assert decode(type(message), bytes.fromhex(data)) == message


numbers = st.integers(-(1 << 63), (1 << 63) - 1).map(Number)
outers = st.builds(
    Outer,
    numbers,
    st.lists(numbers).map(tuple),
    st.lists(st.text()).map(tuple),
    st.dictionaries(st.text(), st.text()),
    st.booleans(),
    st.binary(),
)


@given(outers)
def test_what_is_written_is_read(message: Outer) -> None:
    assert decode(Outer, encode(message)) == message


@given(st.binary(max_size=200))
def test_noise_is_a_value_or_an_error(data: bytes) -> None:
    try:
        decode(Outer, data)
    except ValueError:
        return


def test_a_field_that_is_not_known_is_skipped() -> None:
    fixed = "0d01020304" + "11" + "00" * 8  # 1: four bytes, 2: eight bytes
    assert decode(Text, bytes.fromhex("089601" + fixed[10:] + "120161")) == Text("a")


@pytest.mark.parametrize("data", ["08", "0896", "1207", "0b", "0a01", "08" + "ff" * 11])
def test_what_is_cut_off_is_an_error(data: str) -> None:
    with pytest.raises(ValueError):
        decode(Number, bytes.fromhex(data))


def test_every_message_of_containerd_can_be_written_and_read() -> None:
    kinds = [each for each in vars(messages).values() if hasattr(each, "__dataclass_fields__")]
    assert len(kinds) > 20
    for kind in kinds:
        assert decode(kind, encode(kind())) == kind()
