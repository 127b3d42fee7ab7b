"""The table "End of DATA", row by row."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.api.outcomes import Accepted, Attempt, Failed, Repeat, Step, judge
from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    AttachmentRefused,
    ConfigurationRefused,
    ContentRefused,
    CredentialsRevoked,
    Fate,
    GatewayError,
    NotConfirmed,
    NotSent,
    RecipientRefused,
    RequestMisdirected,
    RequestTooLarge,
    SenderRefused,
    SubmissionForbidden,
    Throttled,
    Unavailable,
)

ID = "0b5a8c1e-6a3f-4a8e-9d55-2f1f0c7c9a11"


def attempt(**given_: Any) -> Attempt:
    """A first attempt with html and text and 30 s left."""
    fields: dict[str, Any] = {
        "renewed": False,
        "waited": False,
        "can_drop_text": True,
        "remaining_seconds": 30.0,
        "now_wall": 1_000_000.0,
    }
    return Attempt(**{**fields, **given_})


def answer(status: int, document: Any = None, retry_after: str = "") -> Answer:
    """An answer with this JSON."""
    return Answer(status, orjson.dumps(document), retry_after=retry_after)


def said(*messages: str, code: int | None = None) -> dict[str, Any]:
    """A documented refusal."""
    entry: dict[str, Any] = {} if code is None else {"code": code}
    return {"detail": [{"msg": message, **entry} for message in messages]}


def at(*place: str | int) -> dict[str, Any]:
    """A documented 422."""
    return {"detail": [{"loc": list(place), "msg": "x", "type": "y"}]}


def created(**data: Any) -> dict[str, Any]:
    """A documented 201."""
    return {"email": "a@x.test", "object": "email", "submitted": True, "data": data}


def test_queued_with_an_id_is_accepted() -> None:
    """The only acceptance there is."""
    assert judge(answer(201, created(id=ID, status="queued")), attempt()) == Accepted(ID)


ROWS: list[tuple[int, Any, type[GatewayError], bool]] = [
    (201, created(id=ID, status="rejected"), SubmissionForbidden, False),
    (201, created(id=ID, status="error"), NotSent, False),
    (201, created(id="", status="queued"), NotConfirmed, False),
    (201, created(status="queued"), NotConfirmed, False),
    (201, created(id=7, status="queued"), NotConfirmed, False),
    (201, created(id="x y\r\n", status="queued"), NotConfirmed, False),
    (201, created(id=ID, status="submitted"), NotConfirmed, False),
    (201, {"data": []}, NotConfirmed, False),
    (201, None, NotConfirmed, False),
    (200, created(id=ID, status="queued"), NotConfirmed, True),
    (202, None, NotConfirmed, True),
    (204, None, NotConfirmed, True),
    (302, None, NotConfirmed, True),
    (308, None, NotConfirmed, True),
    (400, said("no", code=8004), SubmissionForbidden, False),
    (400, said("Forbidden"), SubmissionForbidden, False),
    (400, said("Sender unknown"), SubmissionForbidden, False),
    (400, said("is not confirmed"), SubmissionForbidden, False),
    (400, said("no such list"), ConfigurationRefused, True),
    (400, said("Policy not accepted"), ConfigurationRefused, True),
    (400, said("daily LIMIT reached"), Throttled, False),
    (400, said("out of quota"), Throttled, False),
    (400, said("low score"), SubmissionForbidden, True),
    (400, said("account suspended"), SubmissionForbidden, True),
    (400, said("whatever"), ContentRefused, False),
    (400, {"detail": "whatever"}, ContentRefused, False),
    (400, None, ContentRefused, False),
    (400, said("sender of this list"), SubmissionForbidden, False),  # the first row that fits
    (403, None, SubmissionForbidden, False),
    (404, None, RequestMisdirected, True),
    (405, None, RequestMisdirected, True),
    (406, None, RequestMisdirected, True),
    (415, None, RequestMisdirected, True),
    (408, None, NotConfirmed, False),
    (409, None, NotConfirmed, False),
    (425, None, NotConfirmed, False),
    (413, None, RequestTooLarge, False),
    (422, at("body", "email"), RecipientRefused, False),
    (422, at("body", "sender", "id"), SenderRefused, False),
    (422, at("body", "attachment", 0, "type"), AttachmentRefused, False),
    (422, at("body", "content", "subject"), ContentRefused, False),
    (422, {"detail": "x"}, ContentRefused, False),
    (422, None, ContentRefused, False),
    (410, None, ContentRefused, False),
    (451, None, ContentRefused, False),
    (500, None, NotConfirmed, False),
    (501, None, NotConfirmed, False),
    (502, None, NotConfirmed, False),
    (504, None, NotConfirmed, False),
    (599, None, NotConfirmed, False),
    (429, None, Throttled, False),
    (503, None, Unavailable, False),
]


@pytest.mark.parametrize(("status", "document", "kind", "alert"), ROWS)
def test_row(status: int, document: Any, kind: type[GatewayError], *, alert: bool) -> None:
    """Each row of the table: the error's class and whether an operator has to act."""
    verdict = judge(answer(status, document), attempt())
    assert isinstance(verdict, Failed)
    assert type(verdict.error) is kind
    assert verdict.alert is alert


@pytest.mark.parametrize(
    ("status", "document", "drops"),
    [
        (400, said("sender gone"), True),
        (422, at("body", "sender"), True),
        (422, at("body", "email"), False),
        (400, said("x"), False),
    ],
)
def test_only_a_refused_sender_is_dropped(status: int, document: Any, *, drops: bool) -> None:
    """A remembered sender that the API refuses is looked up anew."""
    verdict = judge(answer(status, document), attempt())
    assert isinstance(verdict, Failed)
    assert verdict.drops_sender is drops


def test_first_place_that_names_a_field_decides_a_422() -> None:
    """Several places: the first one with a known field."""
    document = {"detail": [{"loc": ["body"]}, {"loc": ["body", "email"]}, {"loc": ["sender"]}]}
    verdict = judge(answer(422, document), attempt())
    assert isinstance(verdict, Failed)
    assert isinstance(verdict.error, RecipientRefused)


def test_401_renews_the_login_once() -> None:
    """First: a renewed login. Again: the credential has ended."""
    assert judge(answer(401), attempt()) == Repeat(Step.RENEW_LOGIN)
    verdict = judge(answer(401), attempt(renewed=True))
    assert isinstance(verdict, Failed)
    assert isinstance(verdict.error, CredentialsRevoked)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_within_the_deadline_is_waited_for_once(status: int) -> None:
    """It must end before the deadline, and there is one wait in a message."""
    assert judge(answer(status, None, "29"), attempt()) == Repeat(Step.WAIT, 29.0)
    assert isinstance(judge(answer(status, None, "30"), attempt()), Failed)
    assert isinstance(judge(answer(status, None, "1"), attempt(waited=True)), Failed)
    assert isinstance(judge(answer(status, None, ""), attempt()), Failed)


def test_throttled_says_for_how_long() -> None:
    """The reply names the seconds when they are known."""
    verdict = judge(answer(429, None, "90"), attempt())
    assert isinstance(verdict, Failed)
    assert verdict.error.facts == {"seconds": 90.0}


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (400, said("provide only one of html and text")),
        (400, said("content: exactly one body")),
        (422, {"detail": [{"loc": ["body", "content"], "msg": "not both"}]}),
    ],
)
def test_one_body_is_tried_with_html_alone(status: int, document: Any) -> None:
    """D5: the API wants one of html and text; a changed body may be sent."""
    assert judge(answer(status, document), attempt()) == Repeat(Step.HTML_ALONE)
    assert isinstance(judge(answer(status, document), attempt(can_drop_text=False)), Failed)


def test_one_of_something_else_is_no_reason_to_drop_the_text() -> None:
    """The words must concern the content."""
    verdict = judge(answer(400, said("tags: one of a, b")), attempt())
    assert isinstance(verdict, Failed)


def test_excerpt_of_the_words_goes_along_filtered() -> None:
    """400 and 422 show what the API said, without the address in it."""
    verdict = judge(answer(400, said("bad\r\nfor joe@x.test")), attempt())
    assert isinstance(verdict, Failed)
    assert verdict.error.facts["excerpt"] == "bad for [address]"


@given(
    status=st.integers(100, 999),
    body=st.binary(max_size=50) | st.sampled_from(ROWS).map(lambda row: orjson.dumps(row[1])),
    retry_after=st.text(max_size=10),
    renewed=st.booleans(),
    waited=st.booleans(),
)
def test_no_answer_breaks_the_table_or_repeats_what_may_be_accepted(
    status: int, body: bytes, retry_after: str, *, renewed: bool, waited: bool
) -> None:
    """Rule 7.5.1: repeats exist for 400, 401, 422, 429 and 503 only; no 5xx is ever permanent."""
    verdict = judge(Answer(status, body, retry_after), attempt(renewed=renewed, waited=waited))
    if isinstance(verdict, Repeat):
        assert status in {400, 401, 422, 429, 503}
    if isinstance(verdict, Accepted):
        assert status == 201
    if isinstance(verdict, Failed) and not 400 <= status < 500 and status != 201:
        assert verdict.error.fate is not Fate.PERMANENT
