"""Sealed values come back as they were, or not at all."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffgrid.errors import Damaged, OtherVersion
from diffgrid.records.codec import seal, unseal

VERSION = range(8, 10)  # where a value says which layout it has
HEADERS = st.dictionaries(
    st.text(max_size=5).filter(lambda name: name != "kind"),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=9)
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
VALUES = st.builds(seal, st.just("note"), HEADERS, st.binary(max_size=200))


@given(HEADERS, st.binary(max_size=200))
def test_what_is_sealed_comes_back(header: dict[str, Any], payload: bytes) -> None:
    value = seal("note", header, payload)
    for sealed in (value, memoryview(value)):
        found, view = unseal("note", sealed)
        assert (found, bytes(view)) == (header, payload)
    assert seal("note", header, payload) == value


@given(VALUES, st.integers(1, 255))
@settings(max_examples=10)  # each of some 200 places
def test_one_flipped_byte_anywhere_is_found(value: bytes, mask: int) -> None:
    for place in range(len(value)):
        changed = bytearray(value)
        changed[place] ^= mask
        # A layout that is not ours may be a later one's: it is refused, and not called damage.
        with pytest.raises(OtherVersion if place in VERSION else Damaged):
            unseal("note", bytes(changed))


@given(VALUES, st.data())
def test_truncated_and_longer_values_are_damaged(value: bytes, data: st.DataObject) -> None:
    with pytest.raises(Damaged):
        unseal("note", value[: data.draw(st.integers(0, len(value) - 1))])
    with pytest.raises(Damaged):
        unseal("note", value + data.draw(st.binary(min_size=1, max_size=9)))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_damage(value: bytes) -> None:
    with pytest.raises(Damaged, match="not written by diffgrid"):
        unseal("note", value)


@pytest.mark.parametrize("start", [0, 1, 64, 1000])
def test_a_payload_starts_where_arrays_can_be_used_in_place(start: int) -> None:
    value = seal("note", {"text": "x" * start}, b"payload")
    assert value.index(b"payload") % 64 == 0


def test_one_kind_of_value_is_not_read_as_another() -> None:
    with pytest.raises(Damaged, match="not a diffgrid trajectory: look for another file"):
        unseal("trajectory", seal("frames", {}, b"picture"))


def test_a_value_of_a_later_layout_says_so() -> None:
    value = bytearray(seal("note", {}))
    value[8] = 9
    with pytest.raises(OtherVersion, match="layout 9, but this diffgrid reads layout 1"):
        unseal("note", bytes(value))


def test_an_endless_header_is_refused() -> None:
    with pytest.raises(Damaged, match="too long"):
        unseal("note", seal("note", {"text": "x" * 2**20}))
