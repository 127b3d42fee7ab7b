"""Header fields: what they say, and how they travel on.

Encoded words (RFC 2047), parameters (RFC 2045, 2231) and raw 8-bit text are read here, by our own
code: the standard library splits encoded values with ``str.splitlines`` and so finds line ends in
VT, FF or NEL. All reading is linear in the length of the value.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from smtp_gateway.email.charsets import decode, windows_1252
from smtp_gateway.errors import HeaderInvalid


class Field(NamedTuple):
    """One header field: name as sent, name in lower case, value unfolded and trimmed."""

    name: str
    key: str
    value: str


class MediaType(NamedTuple):
    """``type`` in lower case; ``declared`` is false where a default stands in."""

    type: str
    parameters: Mapping[str, str]
    declared: bool


# Cakemail writes these itself, or they speak of the way here (cakemail-api 7.2).
_NOT_PASSED_ON = frozenset(
    {
        "authentication-results",
        "bcc",
        "cc",
        "date",
        "delivered-to",
        "dkim-signature",
        "domainkey-signature",
        "from",
        "mime-version",
        "received",
        "received-spf",
        "return-path",
        "sender",
        "subject",
        "to",
    }
)
_NOT_PASSED_ON_SPACES = ("content-", "resent-", "arc-")
# In these a quoted string is a display name, so an encoded word must stand in its place.
_ADDRESS_FIELDS = frozenset(
    {
        "disposition-notification-to",
        "errors-to",
        "mail-followup-to",
        "mail-reply-to",
        "reply-to",
        "return-receipt-to",
    }
)

_LINE_BREAKS = re.compile("[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNSAFE = re.compile("[^\t -~]")


def repaired(value: str) -> str:
    """The value as text: raw octets that are no UTF-8 are read as windows-1252."""
    if value.isascii():
        return value
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return windows_1252(value.encode("utf-8", "surrogateescape"))
    return value


def refuse_controls(field: Field) -> None:
    """No CR, LF or NUL may stand in a value (smtp-server 3.3): it would forge a line later.

    Raises:
        HeaderInvalid: one does.
    """
    value = field.value
    if "\0" in value:
        raise HeaderInvalid(header=field.name, reason="a NUL is not allowed")
    if "\r" in value or "\n" in value:
        raise HeaderInvalid(header=field.name, reason="a bare CR or LF is not allowed")


def one_line(text: str) -> str:
    """Decoded text on one line: line breaks become a blank, other controls go."""
    if text.isprintable():
        return text.strip()
    return _CONTROLS.sub("", _LINE_BREAKS.sub(" ", text)).strip()


# --- Encoded words, RFC 2047 -----------------------------------------------------------------

# `[^?]*` ends at the next question mark, so words without an end cost no second look.
_WORD = re.compile(r"=\?([^?\s*]{1,75})(?:\*[^?\s]{0,75})?\?([bBqQ])\?([^?]*)\?=")


def decode_words(value: str) -> str:
    """The value with its encoded words decoded; what is no encoded word stays as it is."""
    if "=?" not in value:
        return value
    out: list[str] = []
    charset, octets = "", bytearray()
    end = 0
    for word in _WORD.finditer(value):
        between = value[end : word.start()]
        same = word[1].lower() == charset
        # RFC 2047 6.2: blanks between two encoded words are not shown.
        joined = bool(charset) and not between.strip(" \t")
        if not (joined and same):
            out.extend((decode(bytes(octets), charset), "" if joined else between))
            charset, octets = word[1].lower(), bytearray()
        # Some clients cut a character in two; joining the octets mends it.
        octets += _word_octets(word[2], word[3])
        end = word.end()
    out.extend((decode(bytes(octets), charset), value[end:]))
    return "".join(out)


def _word_octets(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    usable = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    usable = usable[:-1] if len(usable) % 4 == 1 else usable
    return binascii.a2b_base64(usable + b"=" * (-len(usable) % 4))


def encode_words(value: str, *, structured: bool = False) -> str:
    """ASCII form of a value: what is not printable ASCII becomes encoded words (RFC 2047 5).

    Words already encoded stay. ``structured``: a quoted string is a display name, and an encoded
    word replaces it whole, because none may stand inside one.
    """
    if not _UNSAFE.search(value):
        return value
    out: list[str] = []
    run: list[str] = []  # words to encode, with the blanks between them
    for token in (_STRUCTURED if structured else _UNSTRUCTURED).findall(value):
        if _UNSAFE.search(token):
            run.append(_unquoted(token) if structured else token)
        elif run and not token.strip(" \t"):
            run.append(token)
        else:
            _flush(run, out)
            out.append(token)
    _flush(run, out)
    return "".join(out)


_UNSTRUCTURED = re.compile(r"[\t ]+|[^\t ]+")
_STRUCTURED = re.compile(r'[\t ]+|"(?:[^"\\]++|\\.)*+"?|[^\t "<>,;]+|.', re.DOTALL)


def _unquoted(token: str) -> str:
    if len(token) > 1 and token.startswith('"') and token.endswith('"'):
        return _QUOTED_PAIR.sub(r"\1", token[1:-1])
    return token


def _flush(run: list[str], out: list[str]) -> None:
    blank = run.pop() if run and not run[-1].strip(" \t") else ""
    if run:
        out.append(" ".join(_encoded_chunks("".join(run))))
    out.append(blank)
    run.clear()


def _encoded_chunks(text: str) -> Iterable[str]:
    chunk = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(chunk) + len(octets) > 45:  # noqa: PLR2004  # 75 characters a word, RFC 2047 2
            yield _encoded_word(chunk)
            chunk = b""
        chunk += octets
    yield _encoded_word(chunk)


def _encoded_word(chunk: bytes) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(chunk, newline=False).decode('ascii')}?="


# --- Types and parameters, RFC 2045 5.1 and RFC 2231 -----------------------------------------

_TYPE = re.compile(r"[ \t]*([A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127})(?![^\s;(])")
_PARAMETER = re.compile(
    r";[\s]*+([^\s=;\"]++)\s*+=\s*+(?:\"((?:[^\"\\]++|\\.)*+)\"|([^;]*+))", re.DOTALL
)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
_QUOTED_PAIR = re.compile(r"\\([\"\\])")


def media_type(value: str, default: MediaType) -> MediaType:
    """A ``Content-Type`` value; the default where it cannot be read (RFC 2045 5.2)."""
    found = _TYPE.match(value)
    if found is None:
        # The parameters still count: a name may say what the type does not.
        return MediaType(default.type, parameters(value), declared=False)
    return MediaType(found[1].lower(), parameters(value[found.end() :]), declared=True)


def parameters(value: str) -> dict[str, str]:
    """Parameters by name in lower case, the first of each; continuations joined and decoded."""
    plain: dict[str, str] = {}
    sections: dict[str, dict[int, tuple[bool, str]]] = {}
    for name, quoted, bare in _PARAMETER.findall(value):
        text = _QUOTED_PAIR.sub(r"\1", quoted) if quoted else bare.strip()
        if "*" not in name:
            plain.setdefault(name.lower(), text)
        elif (section := _SECTION.fullmatch(name.lower())) is not None:
            numbered = sections.setdefault(section[1], {})
            numbered.setdefault(int(section[2] or 0), (section[3] is not None, text))
    for name, numbered in sections.items():
        plain[name] = _joined(numbered)  # RFC 2231 beats the plain form, which is for old readers
    return plain


def _joined(numbered: dict[int, tuple[bool, str]]) -> str:
    charset, octets = "", b""
    for number, (extended, text) in sorted(numbered.items()):
        rest = text
        if extended and number == min(numbered) and text.count("'") > 1:
            charset, _, rest = text.split("'", 2)
        octets += unquote_to_bytes(rest) if extended else rest.encode("utf-8", "surrogateescape")
    return decode(octets, charset)


# --- What travels on -------------------------------------------------------------------------


def travels(key: str) -> bool:
    """Does a field of this name (lower case) go to ``additional_headers``, if no control header?"""
    return key not in _NOT_PASSED_ON and not key.startswith(_NOT_PASSED_ON_SPACES)


def outgoing(field: Field) -> tuple[str, str]:
    """Name and ASCII value of a field that travels.

    Raises:
        HeaderInvalid: the value holds CR, LF or NUL.
    """
    refuse_controls(field)
    value = field.value
    if value.isascii() and value.isprintable():
        return field.name, value
    return field.name, encode_words(value, structured=field.key in _ADDRESS_FIELDS)
