"""Reading what the API says when it says no.

The bodies of refusals come in several forms (cakemail-api 3): ``detail`` as a list, as a string,
HTML from a proxy, nothing at all. Whatever comes, ``read_problem`` answers with plain values and
never raises; what leaves in a reply or a log has passed ``public_excerpt`` first, because the API
may quote an address, a token or line breaks back at us (smtp-server 3.9).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

from smtp_gateway.utils import codec

MAX_BODY_BYTES = 65_536  # cakemail-api 3: read at most 64 KiB
MAX_EXCERPT_CHARACTERS = 200  # smtp-server 3.9
MAX_PROBLEMS = 20  # a hostile body may list thousands; the first ones say what is wrong
MAX_MESSAGE_CHARACTERS = 1000
MAX_RETRY_AFTER_SECONDS = 86_400.0  # more than a day is a mistake, not a wish

FORBIDDEN_CODE = 8004  # cakemail-api 1.4

MISDIRECTED = frozenset({404, 405, 406, 415})
"""A wrong base URL or a defect of ours."""

UNDECIDED = frozenset({408, 409, 425})
"""4xx after which a submission may have been accepted."""

SERVER_ERROR = 500
THROTTLED = 429

_ERROR_TYPES: Mapping[int, str] = MappingProxyType(
    {400: "validation", 413: "validation", 422: "validation", 401: "auth", 403: "auth"}
    | {THROTTLED: "rate_limit", 408: "timeout"}
)


def error_type(status: int) -> str:
    """The label of ``smtp_api_errors_total`` for an answer that is no success."""
    if status >= SERVER_ERROR:
        return "server_error"
    return _ERROR_TYPES.get(status, "validation" if status >= 400 else "unreadable")  # noqa: PLR2004  # RFC 9110 15.5


@dataclass(frozen=True)
class Problem:
    """A refusal, read.

    Attributes:
        messages: every ``detail[].msg``, or ``detail`` itself when it is a string. Raw: it may
            hold addresses and line breaks, so it is for matching, never for showing.
        codes: every ``detail[].code`` that is a number.
        locations: every ``detail[].loc``, numbers as text.
    """

    messages: tuple[str, ...] = ()
    codes: tuple[int, ...] = ()
    locations: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def excerpt(self) -> str:
        """The messages on one line, fit for a reply and a log; "" when there is none."""
        return public_excerpt("; ".join(self.messages))

    @cached_property
    def is_forbidden(self) -> bool:
        """Says "Forbidden" in the way of cakemail-api 1.4, whatever the status."""
        return FORBIDDEN_CODE in self.codes or self.has_word("forbidden")

    def has_word(self, *beginnings: str) -> bool:
        """Whether a word of a message begins with one of these (lower case)."""
        return any(word.startswith(beginnings) for word in self._words)

    def says(self, *phrases: str) -> bool:
        """Whether a message holds one of these phrases (lower case), at word boundaries."""
        text = f" {' '.join(self._words)} "
        return any(f" {phrase} " in text for phrase in phrases)

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(_WORD.findall(" ".join(self.messages).lower()))


_WORD = re.compile(r"[a-z0-9]+")


def read_problem(body: bytes) -> Problem:
    """Read a refusal's body; anything unreadable is a problem without messages.

    Args:
        body: as received, perhaps cut at 64 KiB, perhaps HTML.
    """
    try:
        document = codec.loads(body[:MAX_BODY_BYTES])
    except ValueError:  # no JSON, or cut in the middle: the status alone has to decide
        return Problem()
    detail = document.get("detail") if isinstance(document, dict) else None
    if isinstance(detail, str):
        return Problem(messages=(detail[:MAX_MESSAGE_CHARACTERS],))
    if not isinstance(detail, list):
        return Problem()
    entries = detail[:MAX_PROBLEMS]
    return Problem(
        messages=tuple(_messages(entries)),
        codes=tuple(_codes(entries)),
        locations=tuple(_locations(entries)),
    )


def _messages(entries: Iterable[Any]) -> Iterable[str]:
    for entry in entries:
        message = entry.get("msg") if isinstance(entry, dict) else entry
        if isinstance(message, str) and message:
            yield message[:MAX_MESSAGE_CHARACTERS]


def _codes(entries: Iterable[Any]) -> Iterable[int]:
    for entry in entries:
        code = entry.get("code") if isinstance(entry, dict) else None
        if isinstance(code, int) and not isinstance(code, bool):
            yield code


def _locations(entries: Iterable[Any]) -> Iterable[tuple[str, ...]]:
    for entry in entries:
        location = entry.get("loc") if isinstance(entry, dict) else None
        if isinstance(location, list):
            yield tuple(str(step)[:MAX_EXCERPT_CHARACTERS] for step in location[:MAX_PROBLEMS])


_ADDRESS = re.compile(r"\S*@\S*")
_SECRET = re.compile(r"(?i)\bbearer\s+\S+|\bck_pat_\S*|[A-Za-z0-9_.+/=-]{32,}")


def public_excerpt(text: str) -> str:
    """One line of at most 200 printable ASCII characters, without addresses and tokens.

    Source: smtp-server 3.9.
    """
    flat = " ".join(text[: 4 * MAX_EXCERPT_CHARACTERS].split())
    safe = _ADDRESS.sub("[address]", _SECRET.sub("[hidden]", flat))
    return "".join(c if " " <= c <= "~" else "?" for c in safe[:MAX_EXCERPT_CHARACTERS])


def retry_after_seconds(text: str, *, now_wall: float) -> float | None:
    """The header ``Retry-After`` (RFC 9110 10.2.3): seconds or a date.

    Args:
        text: the header's value, "" when absent.
        now_wall: seconds since 1970.

    Returns:
        Seconds from now, 0 for a date that has passed; None when absent, unreadable or beyond
        a day, which no honest answer means.
    """
    seconds = _delay(text.strip(), now_wall)
    if seconds is None or not 0 <= seconds <= MAX_RETRY_AFTER_SECONDS:
        return None
    return seconds


_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")


def _delay(text: str, now_wall: float) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None  # as good as absent
    return max(0.0, moment - now_wall) if math.isfinite(moment) else None
