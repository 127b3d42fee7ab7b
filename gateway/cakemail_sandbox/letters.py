"""A captured mail in the form in which the inbox shows it; every value is still untrusted."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from cakemail_sandbox.capture import Exchange
from cakemail_sandbox.seed import Seed

Mood = Literal["good", "bad", "open"]
_SHORTENED: Final = 400
_LONGEST_BODY: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """An attachment."""

    name: str
    type: str
    content: str

    @property
    def safe_name(self) -> str:
        """For the disk of the person who downloads it: no path, no quote, no leading dot."""
        return re.sub(r"[^A-Za-z0-9._-]", "_", self.name)[:120].lstrip(".") or "attachment"

    @property
    def octets(self) -> bytes:
        """The file's contents; nothing when they are no base64."""
        try:
            return base64.b64decode(self.content, validate=True)
        except (binascii.Error, ValueError):
            return b""


@dataclass(frozen=True, slots=True)
class Letter:
    """One request to send, for people."""

    number: int
    at: datetime
    sender_name: str
    sender_address: str
    recipient: str
    subject: str
    html: str
    text: str
    files: tuple[File, ...]
    request: str
    answer: str
    verdict: str
    mood: Mood


def letter_of(exchange: Exchange, seed: Seed) -> Letter:
    """Read a captured request; whatever is missing or of a wrong type shows as empty."""
    body = _mapping(exchange.json())
    content = _mapping(body.get("content"))
    verdict, mood = _verdict(exchange)
    name, address = _sender(exchange, _mapping(body.get("sender")), seed)
    return Letter(
        number=exchange.number,
        at=datetime.fromtimestamp(exchange.at, UTC),
        sender_name=name,
        sender_address=address,
        recipient=_text(body.get("email")),
        subject=_text(content.get("subject")),
        html=_text(content.get("html"))[:_LONGEST_BODY],
        text=_text(content.get("text"))[:_LONGEST_BODY],
        files=tuple(_file(each) for each in _files(body.get("attachment"))),
        request=_request(exchange),
        answer=_answer(exchange),
        verdict=verdict,
        mood=mood,
    )


def _verdict(exchange: Exchange) -> tuple[str, Mood]:
    given = exchange.given
    if given is None:
        return ("accepted, not answered yet" if exchange.accepted else "not answered yet"), "open"
    seen = str(given.status or "no answer")
    if given.fate != "complete":
        seen += f" ({given.fate.replace('_', ' ')})"
    if exchange.accepted:
        return f"accepted · {seen}", "good" if seen == "201" else "open"
    return f"{exchange.outcome or 'not accepted'} · {seen}", "bad"


def _sender(exchange: Exchange, sender: dict[str, Any], seed: Seed) -> tuple[str, str]:
    """Name and address: the request holds only an id, which an account knows."""
    number = _text(sender.get("id"))
    known = [
        each
        for account in seed.accounts
        if exchange.account_id in {None, account.id}
        for each in account.senders
        if each.id == number
    ]
    name = _text(sender.get("name")) or (known[0].name if known else "")
    return name, known[0].email if known else f"sender {number or 'unknown'}"


def _files(value: Any) -> list[dict[str, Any]]:
    many = value if isinstance(value, list) else [value]
    return [each for each in many if isinstance(each, dict)]


def _file(value: dict[str, Any]) -> File:
    return File(_text(value.get("filename")), _text(value.get("type")), _text(value.get("content")))


def _request(exchange: Exchange) -> str:
    query = f"?{exchange.query}" if exchange.query else ""
    body = exchange.json()
    shown = (
        exchange.body[:_LONGEST_BODY].decode("utf-8", "replace")
        if body is None
        else json.dumps(_shortened(body), indent=2, ensure_ascii=False)
    )
    return f"{exchange.method} {exchange.path}{query}\n\n{shown}"


def _shortened(value: Any) -> Any:
    """Long texts cut: the reader looks for the form, the download holds the whole."""
    if isinstance(value, dict):
        return {key: _shortened(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shortened(inner) for inner in value]
    if isinstance(value, str) and len(value) > _SHORTENED:
        return f"{value[:_SHORTENED]}… ({len(value):,} characters)"
    return value


def _answer(exchange: Exchange) -> str:
    given = exchange.given
    if given is None:
        return "none yet"
    shown = given.body[: 64 * 1024].decode("utf-8", "replace")
    with contextlib.suppress(ValueError):  # no JSON: shown as it is
        shown = json.dumps(json.loads(shown), indent=2, ensure_ascii=False)
    return f"{given.status or 'no status'} · {given.fate.replace('_', ' ')}\n\n{shown}".strip()


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
