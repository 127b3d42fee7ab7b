"""Content-Transfer-Encoding: what stands between a part's octets and its content (RFC 2045 6).

Damage is mended where one reading is certain, and refused where it is not. The standard library
stops at the first padding and returns what it has; whatever stands behind is lost without a word.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Final, NamedTuple


class Damaged(ValueError):
    """The octets cannot be decoded without guessing; the text says what is wrong."""


class Base64(NamedTuple):
    """One implementation: ``decode`` takes clean text only and raises ValueError."""

    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]


def _decode_standard(data: bytes) -> bytes:
    return base64.b64decode(data, validate=True)


STANDARD: Final = Base64(base64.b64encode, _decode_standard)


try:
    import pybase64
except ImportError:  # an optional package, five times faster; results are equal, and tested to be
    _fastest = STANDARD
else:
    _fastest = Base64(pybase64.b64encode, lambda data: pybase64.b64decode(data, validate=True))
FAST: Final = _fastest

_BLANKS = b" \t\r\n"
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
# RFC 2045 6.8 has readers ignore strange characters. One in a line is noise on the way; more of
# them mean that the text is no base64 at all, and ignoring them would deliver rubbish.
_LINE_CHARACTERS = 76
_DATA = re.compile(rb"[^=]+")
_MAX_PIECES = 1_000


def decode_base64(data: bytes, implementation: Base64 = FAST) -> bytes:
    """Content of a base64 body.

    Raises:
        Damaged: more than one reading is possible, or none.
    """
    compact = data.translate(None, _BLANKS)
    try:
        return implementation.decode(compact)
    except ValueError:
        return _decode_damaged(compact, implementation)


def _decode_damaged(compact: bytes, implementation: Base64) -> bytes:
    noise = len(compact.translate(None, _ALPHABET))
    if noise * _LINE_CHARACTERS > len(compact):
        raise Damaged("the base64 data holds other characters")
    clean = compact.translate(None, bytes(set(range(256)) - set(_ALPHABET))) if noise else compact
    if clean.count(b"=") > 2 * _MAX_PIECES:
        raise Damaged("the base64 data is in too many pieces")
    runs = _DATA.findall(clean)  # padding missing, or several encoded pieces one after the other
    if noise and len(runs) > 1:
        raise Damaged("text stands behind the base64 data")
    if any(len(run) % 4 == 1 for run in runs):
        raise Damaged("the base64 data is incomplete")
    return b"".join(implementation.decode(run + b"=" * (-len(run) % 4)) for run in runs)


def decode_quoted_printable(data: bytes) -> bytes:
    """Content of a quoted-printable body; what is no escape stays as it is (RFC 2045 6.7)."""
    if b"=" not in data:
        return data
    # Behind a soft break with a bare CR, the C decoder loses everything up to the next LF.
    return binascii.a2b_qp(data.replace(b"=\r\n", b"=\n").replace(b"=\r", b"=\n"))


def decode_uuencode(data: bytes) -> bytes:
    """Content of a uuencoded body, from `begin` to `end`.

    Raises:
        Damaged: a line cannot be decoded, or an end is missing.
    """
    lines = iter(data.split(b"\n"))
    if not any(line.startswith(b"begin ") for line in lines):
        raise Damaged("the uuencoded data has no begin")
    out: list[bytes] = []
    for line in lines:
        text = line.rstrip(b"\r")
        if text == b"end":
            return b"".join(out)
        out.append(_uu_line(text))
    raise Damaged("the uuencoded data has no end")


def _uu_line(text: bytes) -> bytes:
    if not text or text in {b"`", b" "}:
        return b""
    # Some encoders write fewer or more characters than the line's count asks for.
    wanted = ((((text[0] - 32) & 63) * 4) + 5) // 3 + 1
    try:
        return binascii.a2b_uu(text[:wanted])
    except binascii.Error:
        raise Damaged("a uuencoded line cannot be read") from None


def _identity(data: bytes) -> bytes:
    return data


DECODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "": _identity,
    "7bit": _identity,
    "8bit": _identity,
    "binary": _identity,
    "quoted-printable": decode_quoted_printable,
    "base64": decode_base64,
    "x-uuencode": decode_uuencode,
    "uuencode": decode_uuencode,
    "x-uue": decode_uuencode,
    "uue": decode_uuencode,
}
_TOKEN = re.compile(r"[^\s;(]*")


def encoding_name(value: str | None) -> str:
    """A Content-Transfer-Encoding value as the table spells it; "" when there is none."""
    found = _TOKEN.match((value or "").strip())
    return found[0].lower() if found else ""
