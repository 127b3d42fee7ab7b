"""The fast JSON library and the standard one are interchangeable."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.utils import codec

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def test_fast_library_is_used_when_present() -> None:
    """What the gateway calls is orjson here."""
    assert codec.dumps is orjson.dumps
    assert codec.loads is orjson.loads


@given(VALUES)
def test_both_write_the_same_bytes(value: Any) -> None:
    """One value, one document, whichever library writes it."""
    assert codec.standard_dumps(value) == orjson.dumps(value)


@given(VALUES)
def test_both_read_the_same_value(value: Any) -> None:
    """One document, one value, whichever library reads it."""
    document = orjson.dumps(value)
    assert codec.standard_loads(document) == orjson.loads(document) == value


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"<html>",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"[" * 100_000,
        b'{"a":1}x',
        b"\xef\xbb\xbf{}",
    ],
)
def test_both_refuse_what_is_no_json(document: bytes) -> None:
    """Anything else is a ValueError, nesting without end included."""
    for loads in (codec.standard_loads, codec.loads):
        with pytest.raises(ValueError):  # noqa: PT011  # both libraries' own subclass
            loads(document)
