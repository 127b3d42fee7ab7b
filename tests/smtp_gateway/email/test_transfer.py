"""Transfer encodings: damage is mended where it is certain, and refused where it is not."""

from __future__ import annotations

import base64
import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.email.transfer import (
    FAST,
    STANDARD,
    Base64,
    Damaged,
    decode_base64,
    decode_quoted_printable,
    decode_uuencode,
    encoding_name,
)

BOTH = pytest.mark.parametrize("implementation", [STANDARD, FAST], ids=["standard", "fast"])


@BOTH
@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"", b""),
        (b"aGVsbG8=\r\n", b"hello"),
        (b" aGVs\r\n\tbG8=", b"hello"),
        (b"aGVsbG8", b"hello"),
        (b"aGk=aGk=", b"hihi"),
        (b"aGVs====", b"hel"),
        (b"aGl=", b"hi"),
        (b"====", b""),
        (b"A" * 80 + b"!" + b"A" * 80, b"\0" * 120),
    ],
)
def test_base64_with_one_reading_is_read(
    implementation: Base64, data: bytes, content: bytes
) -> None:
    """Blanks, missing padding, pieces in a row, and noise on the way (RFC 2045 6.8)."""
    assert decode_base64(data, implementation) == content


@BOTH
@pytest.mark.parametrize(
    "data",
    [
        b"aGVsbG8gd29ybGQhI",
        b"This is no base64 at all.",
        b"QUJD" * 40 + b"QQ==\r\n" + b"!footer",
        b"AA=" * 5_000,
    ],
)
def test_base64_with_no_certain_reading_is_refused(implementation: Base64, data: bytes) -> None:
    """Cut short, never encoded, followed by text, or in pieces without end."""
    with pytest.raises(Damaged):
        decode_base64(data, implementation)


@given(st.one_of(st.binary(max_size=60), st.text("AQ=\n -/+", max_size=40).map(str.encode)))
def test_both_implementations_give_the_same(data: bytes) -> None:
    """The optional package changes the speed and nothing else."""
    results = []
    for implementation in (STANDARD, FAST):
        try:
            results.append(decode_base64(data, implementation))
        except Damaged as damage:
            results.append(str(damage).encode())
        results.append(implementation.encode(data))
    assert results[:2] == results[2:]


@given(st.binary(max_size=300))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    """Base64 with line ends, quoted-printable and uuencode are undone exactly."""
    assert decode_base64(base64.encodebytes(data).replace(b"\n", b"\r\n")) == data
    assert decode_quoted_printable(binascii.b2a_qp(data, istext=False)) == data
    lines = [binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45)]
    assert decode_uuencode(b"begin 644 x\n" + b"".join(lines) + b"`\nend\n") == data


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"caf=C3=A9", "café".encode()),
        (b"one=\r\ntwo", b"onetwo"),
        (b"100=ZZ", b"100=ZZ"),
        (b"one=\rtwo\nthree", b"onetwo\nthree"),
        (b"a=0D=0Ab", b"a\r\nb"),
    ],
)
def test_quoted_printable_keeps_what_it_cannot_read(data: bytes, content: bytes) -> None:
    """No text is lost behind a soft break with a bare CR, and a false escape stays."""
    assert decode_quoted_printable(data) == content


@pytest.mark.parametrize(
    "data", [b"no begin\n", b"begin 644 x\n#86)C\n", b"begin 644 x\n#\x7f\x7f\x7f\x7f\n`\nend\n"]
)
def test_uuencode_without_an_end_is_refused(data: bytes) -> None:
    """What is cut short is not delivered as if it were whole."""
    with pytest.raises(Damaged):
        decode_uuencode(data)


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, ""), ("", ""), (" Base64 ", "base64"), ("8BIT; x", "8bit"), ("7bit (plain)", "7bit")],
)
def test_the_name_of_an_encoding_is_read_in_any_case(value: str | None, name: str) -> None:
    """Comments and parameters are not part of it."""
    assert encoding_name(value) == name
