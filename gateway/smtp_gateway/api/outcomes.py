"""What one answer of the API means for one recipient: the table "End of DATA" (cakemail-api 7.6).

Pure: an answer, the attempt it belongs to and the time go in; a verdict comes out. The rule behind
the table is cakemail-api 7.5.1: a call is repeated only when it was certainly not accepted. So a
verdict ``Repeat`` exists for 401 once, for 429 and 503 with a delay that fits, once, and for a body
that the API wants smaller; whatever might have been accepted ends the attempt as ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from smtp_gateway.api.errors import (
    MISDIRECTED,
    UNDECIDED,
    Problem,
    read_problem,
    retry_after_seconds,
)
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    AttachmentRefused,
    ConfigurationRefused,
    ContentRefused,
    CredentialsRevoked,
    GatewayError,
    NotConfirmed,
    NotSent,
    RecipientRefused,
    RefusedUpstream,
    RequestMisdirected,
    RequestTooLarge,
    SenderRefused,
    SubmissionForbidden,
    Throttled,
    Unavailable,
    UpstreamError,
)
from smtp_gateway.utils import codec


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was already tried for this recipient within this message.

    Attributes:
        renewed: the login was renewed after a 401.
        waited: a Retry-After was waited for.
        can_drop_text: the body held html and text, so html alone is left to try.
        remaining_seconds: until the message's deadline.
        now_wall: seconds since 1970, to read a date in Retry-After.
    """

    renewed: bool
    waited: bool
    can_drop_text: bool
    remaining_seconds: float
    now_wall: float


class Step(Enum):
    """What to do before the one repetition."""

    RENEW_LOGIN = "renew login"
    WAIT = "wait"
    HTML_ALONE = "html alone"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The API has it. ``id``: its UUID."""

    id: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """Certainly not accepted: do this, then call again. ``wait_seconds`` is for ``Step.WAIT``."""

    step: Step
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of this attempt.

    Attributes:
        error: its reply and its fate.
        alert: an operator has to act.
        drops_sender: the remembered sender is wrong (cakemail-api 1.5).
    """

    error: GatewayError
    alert: bool = False
    drops_sender: bool = False


Verdict = Accepted | Repeat | Failed


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table for 400."""

    matches: Callable[[Problem], bool]
    kind: type[UpstreamError]
    alert: bool = False
    drops_sender: bool = False


BAD_REQUEST_ROWS = (
    _Row(lambda p: p.is_forbidden, SubmissionForbidden),
    _Row(lambda p: p.has_word("sender", "confirm"), SubmissionForbidden, drops_sender=True),
    _Row(lambda p: p.has_word("list", "polic"), ConfigurationRefused, alert=True),
    _Row(lambda p: p.has_word("limit", "quota"), Throttled),
    _Row(lambda p: p.has_word("score", "suspen"), SubmissionForbidden, alert=True),
    _Row(lambda _: True, ContentRefused),
)
"""Tried in this order on the words of every message (cakemail-api 7.6)."""

FIELD_KINDS: Mapping[str, type[RefusedUpstream]] = MappingProxyType(
    {"email": RecipientRefused, "sender": SenderRefused, "attachment": AttachmentRefused}
)
"""Which field a 422 speaks of."""

ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Form of an id that may stand in a reply; a UUID has it."""


def judge(answer: Answer, attempt: Attempt) -> Verdict:
    """The verdict on one answer; never raises.

    Source: cakemail-api 7.5 and 7.6.
    """
    row = _ROWS.get(answer.status)
    if row is not None:
        return row(answer, attempt)
    if 400 <= answer.status < 500:  # noqa: PLR2004  # RFC 9110 15.5: the class of client errors
        return Failed(ContentRefused(_detail(answer)))
    # Any other success, a redirect (never followed) or a server error may have been accepted.
    return Failed(NotConfirmed(_detail(answer)), alert=answer.status < 400)  # noqa: PLR2004  # 15.5


def _detail(answer: Answer) -> str:
    return f"status {answer.status}"


def _created(answer: Answer, _: Attempt) -> Verdict:
    data = _data(answer.body)
    status, identifier = data.get("status"), data.get("id")
    if status == "queued" and isinstance(identifier, str) and ID.fullmatch(identifier):
        return Accepted(identifier)
    if status == "rejected":
        return Failed(SubmissionForbidden("201 rejected"))
    if status == "error":
        return Failed(NotSent("201 error"))
    return Failed(NotConfirmed("201 that cannot be read", cause="unreadable"))


def _data(body: bytes) -> dict[str, Any]:
    try:
        document = codec.loads(body)
    except ValueError:  # not readable means not known: the caller's ambiguous row
        return {}
    data = document.get("data") if isinstance(document, dict) else None
    return data if isinstance(data, dict) else {}


def _bad_request(answer: Answer, attempt: Attempt) -> Verdict:
    problem = read_problem(answer.body)
    if attempt.can_drop_text and _wants_one_body(problem):
        return Repeat(Step.HTML_ALONE)
    row = next(row for row in BAD_REQUEST_ROWS if row.matches(problem))
    error = row.kind(_detail(answer), excerpt=problem.excerpt)
    return Failed(error, alert=row.alert, drops_sender=row.drops_sender)


def _unprocessable(answer: Answer, attempt: Attempt) -> Verdict:
    problem = read_problem(answer.body)
    if attempt.can_drop_text and _wants_one_body(problem):
        return Repeat(Step.HTML_ALONE)
    named = (FIELD_KINDS[step] for loc in problem.locations for step in loc if step in FIELD_KINDS)
    kind = next(named, ContentRefused)
    return Failed(
        kind(_detail(answer), excerpt=problem.excerpt), drops_sender=kind is SenderRefused
    )


def _wants_one_body(problem: Problem) -> bool:
    """D5 of cakemail-api 8: the API takes html or text, not both."""
    if not problem.says("one of", "only one", "exactly one", "both"):
        return False
    named = {step for location in problem.locations for step in location}
    return bool(named & {"content", "html", "text"}) or problem.has_word("html", "text", "content")


def _unauthorised(answer: Answer, attempt: Attempt) -> Verdict:
    if not attempt.renewed:
        return Repeat(Step.RENEW_LOGIN)
    return Failed(CredentialsRevoked(_detail(answer)))


def _forbidden(answer: Answer, _: Attempt) -> Verdict:
    return Failed(SubmissionForbidden(_detail(answer)))


def _too_large(answer: Answer, _: Attempt) -> Verdict:
    return Failed(RequestTooLarge(_detail(answer)))


def _misdirected(answer: Answer, _: Attempt) -> Verdict:
    return Failed(RequestMisdirected(_detail(answer)), alert=True)


def _undecided(answer: Answer, _: Attempt) -> Verdict:
    return Failed(NotConfirmed(_detail(answer)))


def _throttled(answer: Answer, attempt: Attempt) -> Verdict:
    seconds = retry_after_seconds(answer.retry_after, now_wall=attempt.now_wall)
    return _wait(seconds, attempt) or Failed(Throttled(_detail(answer), seconds=seconds or 0))


def _unavailable(answer: Answer, attempt: Attempt) -> Verdict:
    seconds = retry_after_seconds(answer.retry_after, now_wall=attempt.now_wall)
    return _wait(seconds, attempt) or Failed(Unavailable(_detail(answer)))


def _wait(seconds: float | None, attempt: Attempt) -> Repeat | None:
    if seconds is None or attempt.waited or seconds >= attempt.remaining_seconds:
        return None
    return Repeat(Step.WAIT, wait_seconds=seconds)


_ROWS: Mapping[int, Callable[[Answer, Attempt], Verdict]] = MappingProxyType(
    {
        201: _created,
        400: _bad_request,
        401: _unauthorised,
        403: _forbidden,
        413: _too_large,
        422: _unprocessable,
        429: _throttled,
        503: _unavailable,
    }
    | dict.fromkeys(MISDIRECTED, _misdirected)
    | dict.fromkeys(UNDECIDED, _undecided)
)
