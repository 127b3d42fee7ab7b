"""Header fields that steer a message: who sends, to which list, of which type, with which tags.

A control header is acted on, noted, or refused with its name; none is dropped silently and none
reaches a recipient (drop-in-compatibility 5.2). Each known name has one row in a table: how it is
written, what its value does, and what a second copy means. Cakemail's own rows stand in ``OWN``;
another provider joins by a table of the same form, and until then a message that carries a header
of that provider's name space is refused whole, because nothing may be sent otherwise than asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from smtp_gateway.email.headers import Field, decode_words, refuse_controls
from smtp_gateway.errors import HeaderInvalid
from smtp_gateway.policy import EmailType, Policy, Tracking

MAX_TAGS = 20
MAX_TAG_CHARACTERS = 255
MAX_IDEMPOTENCY_CHARACTERS = 256

# drop-in-compatibility 5.2: every name beginning so is taken out of the message.
PROVIDER_SPACES = (
    "x-smtpapi",
    "x-mc-",
    "x-mailgun-",
    "x-ses-",
    "x-pm-",
    "x-msys-",
    "x-mj-",
    "x-mailjet-",
    "x-mailin-",
    "x-sib-",
    "resend-",
)


@dataclass(slots=True)
class Instructions:
    """What the control headers of one message ask for; None where they say nothing."""

    email_type: EmailType | None = None
    list_id: int | None = None
    account_id: int | None = None
    sender_id: str | None = None
    opens: bool | None = None
    clicks_html: bool | None = None
    clicks_text: bool | None = None
    idempotency_key: str | None = None
    tags: list[tuple[str, str]] = field(default_factory=list)  # header, tag as written
    noted: list[str] = field(default_factory=list)
    consumed: set[str] = field(default_factory=set)  # lower-case names that do not travel
    contradictions: list[HeaderInvalid] = field(default_factory=list)

    def tracking(self, default: Tracking) -> Tracking:
        """Each field decided for itself (drop-in-compatibility 5.6)."""
        return Tracking(
            opens=default.opens if self.opens is None else self.opens,
            clicks_html=default.clicks_html if self.clicks_html is None else self.clicks_html,
            clicks_text=default.clicks_text if self.clicks_text is None else self.clicks_text,
        )


Effect = Callable[[Instructions, str, str], None]  # instructions, header as documented, value


class Row(NamedTuple):
    """One control header: its documented spelling, its effect, whether every copy counts."""

    name: str
    effect: Effect
    every_copy: bool = False


# --- Values ----------------------------------------------------------------------------------

_BOOLEANS: Mapping[str, bool] = dict.fromkeys(("true", "yes", "on", "y", "1"), True) | (
    dict.fromkeys(("false", "no", "off", "n", "0"), False)
)
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")


def _boolean(header: str, value: str) -> bool:
    try:
        return _BOOLEANS[value.lower()]
    except KeyError:
        raise HeaderInvalid(header=header, reason="not a boolean") from None


def _positive(header: str, value: str) -> int:
    if not _WHOLE_NUMBER.fullmatch(value) or int(value) < 1:
        raise HeaderInvalid(header=header, reason="not a whole number of 1 or more")
    return int(value)


def _email_type(header: str, value: str) -> EmailType:
    try:
        return EmailType(value.lower())
    except ValueError:
        raise HeaderInvalid(header=header, reason="not transactional or marketing") from None


# --- Effects ---------------------------------------------------------------------------------


def _set(attribute: str, read: Callable[[str, str], object]) -> Effect:
    def effect(instructions: Instructions, header: str, value: str) -> None:
        setattr(instructions, attribute, read(header, value))

    return effect


def _printable(header: str, value: str) -> str:
    if not value.isprintable():
        raise HeaderInvalid(header=header, reason="not printable text")
    return value


def _note(instructions: Instructions, header: str, _value: str) -> None:
    instructions.noted.append(header)


def _tag_list(instructions: Instructions, header: str, value: str) -> None:
    instructions.tags.extend((header, tag) for tag in value.split(",") if tag.strip())


def _group(instructions: Instructions, header: str, value: str) -> None:
    instructions.tags.append((header, f"group-{value}"))


def _idempotency(instructions: Instructions, header: str, value: str) -> None:
    if len(value) > MAX_IDEMPOTENCY_CHARACTERS:
        reason = f"longer than {MAX_IDEMPOTENCY_CHARACTERS} characters"
        raise HeaderInvalid(header=header, reason=reason)
    if instructions.idempotency_key is None:
        instructions.idempotency_key = value
    elif instructions.idempotency_key != value:
        fault = HeaderInvalid(header=header, reason="contradicts another idempotency header")
        instructions.contradictions.append(fault)


# Cakemail's own relay (cakemail-api 6) and the idempotency headers (drop-in-compatibility 6).
_OWN_ROWS = (
    Row("X-Email-API-Enabled", _note),  # every mail goes to the Email API
    Row("X-Email-API-Type", _set("email_type", _email_type)),
    Row("X-List-Id", _set("list_id", _positive)),  # not the standard List-Id, which travels
    Row("X-Tags", _tag_list, every_copy=True),
    Row("X-Track-Opens", _set("opens", _boolean)),
    Row("X-Track-Clicks-Html", _set("clicks_html", _boolean)),
    Row("X-Track-Clicks-Text", _set("clicks_text", _boolean)),
    Row("X-Sender-Id", _set("sender_id", _printable)),
    Row("X-Account-Id", _set("account_id", _positive)),
    Row("X-Group-Id", _group),
    Row("Resend-Idempotency-Key", _idempotency),
    Row("Idempotency-Key", _idempotency),
    Row("X-EE-Idempotency-Key", _idempotency),
)
OWN: Mapping[str, Row] = {row.name.lower(): row for row in _OWN_ROWS}


# --- Reading ---------------------------------------------------------------------------------


def read_instructions(fields: Iterable[Field], table: Mapping[str, Row] = OWN) -> Instructions:
    """Obey the control headers in the order of the message; the first fault decides.

    Raises:
        HeaderInvalid: a value that cannot be obeyed, or a header of a provider not in ``table``.
    """
    instructions = Instructions()
    obeyed: set[str] = set()
    for one in fields:
        row = table.get(one.key)
        if row is None:
            if one.key.startswith(PROVIDER_SPACES):
                _unlisted(instructions, one)
            continue
        _obey(instructions, row, one, obeyed)
    if instructions.contradictions:  # judged after each header by itself (cakemail-api 7.1)
        raise instructions.contradictions[0]
    return instructions


def _obey(instructions: Instructions, row: Row, one: Field, obeyed: set[str]) -> None:
    instructions.consumed.add(one.key)
    if one.key in obeyed and not row.every_copy:
        instructions.noted.append(row.name)  # noted unread (drop-in-compatibility 5.3)
        return
    refuse_controls(one._replace(name=row.name))
    value = decode_words(one.value).strip()
    if not value:
        instructions.noted.append(row.name)  # as if absent (drop-in-compatibility 5.1)
        return
    obeyed.add(one.key)
    row.effect(instructions, row.name, value)


def _unlisted(instructions: Instructions, one: Field) -> None:
    instructions.consumed.add(one.key)
    if one.value:
        raise HeaderInvalid(header=one.name, reason="this control header is not supported")
    instructions.noted.append(one.name)


# --- Tags ------------------------------------------------------------------------------------

_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_-]")
_LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")


def write_tag(text: str) -> str:
    """A tag in the API's alphabet, "" when no letter or digit is left (cakemail-api 7.2)."""
    text = text.strip()[: 4 * MAX_TAG_CHARACTERS]
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in decomposed if not unicodedata.combining(c))
    tag = _NOT_IN_TAG.sub("-", text)[:MAX_TAG_CHARACTERS]
    return tag if _LETTER_OR_DIGIT.search(tag) else ""


def choose_tags(instructions: Instructions, policy: Policy) -> tuple[str, ...]:
    """The message's tags, each once, the first 20; then the operator's. The rest is noted."""
    tags: dict[str, None] = {}
    for header, written in instructions.tags:
        tag = write_tag(written)
        if not tag or (tag not in tags and len(tags) >= MAX_TAGS):
            instructions.noted.append(header)
        else:
            tags[tag] = None
    tags.update(dict.fromkeys(filter(None, map(write_tag, policy.tags))))
    return tuple(tags)
