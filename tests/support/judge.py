"""Independent readers of mail: what the standard library finds, to compare with what we found.

``compat32`` judges the structure, ``policy.default`` what a part says. Both are generous with
damage in other ways than we are, so texts that the judge itself had to guess are compared by their
printable ASCII alone.
"""

from __future__ import annotations

import base64
import email
import email.policy
import re
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage, Message
from typing import NamedTuple

from smtp_gateway.email.message import Submission

_BODIES = {"text/plain", "text/html"}
_GUESSED = re.compile("[\ufffd\x80-\x9f]")


class Leaf(NamedTuple):
    """A part with content, outside of nested messages: its type, and its octets as they stand."""

    type: str
    body: bytes


def structure(content: bytes) -> list[Leaf]:
    """The leaves of a message, as compat32 finds them."""
    return list(_leaves(email.message_from_bytes(content, policy=email.policy.compat32)))


def _leaves(part: Message) -> Iterator[Leaf]:
    kind = part.get_content_type()
    if kind.startswith("message/"):
        yield Leaf(kind, b"")  # we read no further, whatever stands inside
    elif part.is_multipart():
        for child in part.get_payload():
            assert isinstance(child, Message)
            yield from _leaves(child)
    else:
        del part["content-transfer-encoding"]  # so that decoding changes nothing
        payload = part.get_payload(decode=True)
        assert isinstance(payload, bytes)
        yield Leaf(kind, payload)


class Said(NamedTuple):
    """What a message holds: bodies as (type, text, guessed), files as octets by type."""

    bodies: list[tuple[str, str, bool]]
    files: list[tuple[str, bytes]]


def read(content: bytes) -> Said:
    """Bodies and files of a message, as policy.default finds them."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    said = Said([], [])
    for part in message.walk():
        assert isinstance(part, EmailMessage)
        kind = part.get_content_type()
        if part.is_multipart() or kind.startswith("multipart/"):
            continue
        named = part.get_content_disposition() == "attachment" or part.get_filename()
        if kind in _BODIES and not named:
            said.bodies.append((kind, *_text(part)))
        else:
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            said.files.append((kind, octets))
    return said


def _text(part: EmailMessage) -> tuple[str, bool]:
    try:
        text = str(part.get_content())
        guessed = bool(_GUESSED.search(text))
    except LookupError:  # an unknown charset
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        text, guessed = octets.decode("ascii", "replace"), True
    return text.replace("\r\n", "\n").replace("\r", "\n"), guessed


class Carried(NamedTuple):
    """What went out for a message: its bodies, the octets of its files, and what was noted."""

    html: str | None
    text: str | None
    files: list[bytes]
    noted: set[str]


def differences(content: bytes, found: Submission) -> list[str]:
    """What the judge finds in a message and a submission neither carries nor notes."""
    files = [base64.b64decode(one.content) for one in found.attachments]
    return lost(content, Carried(found.html, found.text, files, set(found.steering.noted)))


def lost(content: bytes, carried: Carried) -> list[str]:
    """What the judge finds in a message and ``carried`` does not have."""
    said = read(content)
    missing = [
        f"{kind}: {text[:60]!r}"
        for kind, text, guessed in said.bodies
        if text.strip()
        and not _holds((carried.html if kind == "text/html" else carried.text) or "", text, guessed)
        and f"multipart/alternative.{kind}" not in carried.noted
    ]
    expected = Counter(
        octets
        for kind, octets in said.files
        if f"multipart/alternative.{kind}" not in carried.noted
    )
    files = Counter(carried.files)
    if files != expected:
        missing.append(f"files: {len(expected - files)} missing, {len(files - expected)} more")
    return missing


def _holds(body: str, text: str, guessed: bool) -> bool:  # noqa: FBT001  # a fact about the text
    if guessed:
        return _printable(text) in _printable(body)
    return text.strip() in body


def _printable(text: str) -> str:
    return re.sub("[^!-~]", "", text)
