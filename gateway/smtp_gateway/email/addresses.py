"""Addresses: the one mailbox of ``From``, and the envelope's recipients.

``From`` decides as whom a message goes, so it is read strictly where two readers could disagree (a
second mailbox, a group) and kindly where they cannot: an unquoted comma, dot or ``@`` in a display
name leaves no doubt about the mailbox in angle brackets. Encoded words are decoded after the
structure has been found, so a decoded ``<`` or ``,`` is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import idna

from smtp_gateway.email.headers import Field, decode_words, one_line, refuse_controls
from smtp_gateway.errors import HeaderInvalid

MAX_COMMENT_DEPTH = 20
MAX_FROM_CHARACTERS = 10_000  # a display name in encoded words is a few hundred


def normalise_recipient(address: str) -> str:
    """The address with its domain in lower case and as A-labels; the local part stays exact.

    RFC 5321 2.4: only the domain is without case. A domain that IDNA refuses stays as given, in
    lower case: whether it can receive mail is for the API to say.
    """
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{ascii_domain(domain)}" if at else address


def ascii_domain(domain: str) -> str:
    """A domain in lower case, each label that is not ASCII as A-label (RFC 5891)."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return domain.lower()


def distinct(recipients: Iterable[str]) -> tuple[str, ...]:
    """The recipients, normalised, each once, in the order of RCPT."""
    return tuple(dict.fromkeys(map(normalise_recipient, recipients)))


@dataclass(frozen=True, slots=True)
class Mailbox:
    """``address`` bare and as written, ``name`` decoded and on one line."""

    address: str
    name: str


def read_author(fields: Iterable[Field]) -> Mailbox:
    """The one mailbox in the one ``From`` field (RFC 5322 3.6.2, narrowed by cakemail-api 7.2).

    Raises:
        HeaderInvalid: no field, several, or not exactly one mailbox in it.
    """
    found = [one for one in fields if one.key == "from"]
    if not found:
        raise HeaderInvalid(header="From", reason="the field is missing")
    if len(found) > 1:
        raise HeaderInvalid(header="From", reason="more than one field")
    refuse_controls(found[0])
    return parse_mailbox(found[0].value)


def parse_mailbox(value: str) -> Mailbox:
    """Exactly one mailbox.

    Raises:
        HeaderInvalid: none, several, a group, or a text that is no address.
    """
    if len(value) > MAX_FROM_CHARACTERS:
        raise HeaderInvalid(header="From", reason=f"longer than {MAX_FROM_CHARACTERS} characters")
    elements = list(_split(value))
    places = [at for at, one in enumerate(elements) if one.angle is not None or "@" in one.plain()]
    if not places:
        raise HeaderInvalid(header="From", reason="no mailbox in it")
    if len(places) > 1:
        raise HeaderInvalid(header="From", reason="more than one mailbox")
    place = places[0]
    if any(one.plain() for one in elements[place + 1 :]):
        raise HeaderInvalid(header="From", reason="text behind the mailbox")
    return _mailbox(elements[place], [_phrase(one.text) for one in elements[:place]])


@dataclass(slots=True, eq=False)
class _Element:
    """What stands between two commas."""

    text: list[str] = field(default_factory=list)  # words and quoted strings outside of angles
    angle: str | None = None
    comments: list[str] = field(default_factory=list)

    def plain(self) -> str:
        return "".join(self.text).strip()


_TOKEN = re.compile(
    r"""(?P<quoted>"(?:[^"\\]++|\\.)*+")|(?P<angle><[^<>]*+>)|(?P<open>\()|(?P<comma>,)"""
    r"""|(?P<group>[:;])|(?P<bad>["<>)])|(?P<word>(?:\\.|[^"<>(),:;\\]|\\\Z)++)""",
    re.DOTALL,
)


_REFUSALS = {
    "group": "a group is no mailbox",
    "bad": "unbalanced quotes or brackets",
}


def _split(value: str) -> Iterator[_Element]:
    element = _Element()
    at = 0
    while token := _TOKEN.match(value, at):
        at = token.end()
        kind = token.lastgroup or ""
        if kind in _REFUSALS:
            raise HeaderInvalid(header="From", reason=_REFUSALS[kind])
        if kind == "comma":
            yield element
            element = _Element()
        elif kind == "open":
            at = _comment(value, at, element)
        else:
            _extend(element, kind, token[0])
    yield element


def _extend(element: _Element, kind: str, token: str) -> None:
    if kind == "angle" and element.angle is None:
        element.angle = token[1:-1].strip(" \t")
    elif kind == "angle":
        raise HeaderInvalid(header="From", reason="more than one mailbox")
    elif element.angle is None:
        element.text.append(token)
    elif token.strip():
        raise HeaderInvalid(header="From", reason="text behind the mailbox")


_COMMENT_PART = re.compile(r"(?:[^()\\]++|\\.)*+([()])", re.DOTALL)


def _comment(value: str, at: int, element: _Element) -> int:
    """Skip a comment, nested ones included (RFC 5322 3.2.2); its text may be the name."""
    begin, depth = at, 1
    while depth:
        part = _COMMENT_PART.match(value, at)
        if part is None or depth > MAX_COMMENT_DEPTH:
            raise HeaderInvalid(header="From", reason="unbalanced quotes or brackets")
        at = part.end()
        depth += 1 if part[1] == "(" else -1
    element.comments.append(value[begin : at - 1])
    return at


def _mailbox(element: _Element, before: list[str]) -> Mailbox:
    comment = " ".join(element.comments)
    if element.angle is not None:
        phrase = ", ".join(filter(None, [*before, _phrase(element.text)]))
        return Mailbox(_checked(element.angle), one_line(decode_words(phrase or comment)))
    if any(before):
        raise HeaderInvalid(header="From", reason="text before the mailbox")
    return Mailbox(_checked(element.plain()), one_line(decode_words(comment)))


_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def _phrase(tokens: list[str]) -> str:
    """A display name as a person reads it: quotes and backslashes gone."""
    pieces = [
        _ESCAPE.sub(r"\1", token[1:-1] if token.startswith('"') else token) for token in tokens
    ]
    return "".join(pieces).strip()


# RFC 5321 4.1.2: dot-string or quoted string, with RFC 6531's letters; a domain or a literal.
_ADDRESS = re.compile(
    r"""(?:[^\s\x00-\x1f\x7f@"<>(),:;\\\[\]]++|"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])++")"""
    r"""@(?:[^\s\x00-\x1f\x7f@"<>(),:;\\\[\]]++|\[[!-Z^-~]++\])"""
)
_MAX_ADDRESS = 256  # RFC 5321 4.5.3.1.3, less the angle brackets


def _checked(address: str) -> str:
    well_formed = len(address) <= _MAX_ADDRESS and _ADDRESS.fullmatch(address)
    if not well_formed or not ascii_domain(address.rpartition("@")[2]).isascii():
        raise HeaderInvalid(header="From", reason="not a valid address")
    return address
