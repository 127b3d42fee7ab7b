"""A message as JSON: field by field, shared between recipients, equal in both libraries."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.api.payload import head, serialise
from smtp_gateway.email.message import Attachment, Steering, Submission
from smtp_gateway.policy import EmailType, Tracking
from smtp_gateway.utils.codec import standard_dumps


def submission(**given_: Any) -> Submission:
    """A submission with text only."""
    steering = Steering(
        from_address="shop@example.test",
        sender_name="",
        sender_id=None,
        account_id=None,
        list_id=None,
        email_type=EmailType.MARKETING,
        message_id="<m@x>",
        has_own_message_id=True,
        idempotency_key=None,
        noted=(),
        digest=b"",
        size_bytes=0,
    )
    fields: dict[str, Any] = {
        "steering": steering,
        "subject": "Grüße",
        "html": None,
        "text": "Hello",
        "tags": (),
        "tracking": Tracking(clicks_html=True),
        "headers": (),
        "attachments": (),
    }
    return Submission(**{**fields, **given_})


HEAD = head(email="a@x.test", sender_id="s-1", sender_name="", list_id=None)


def request_of(made: Submission, *, html_alone: bool = False) -> Any:
    """The request body, read back."""
    return json.loads(b"".join(serialise(made).addressed(HEAD, html_alone=html_alone)))


def test_smallest_request() -> None:
    """What is absent is left out: name, list, html, tags, headers, attachments."""
    assert request_of(submission()) == {
        "email": "a@x.test",
        "sender": {"id": "s-1"},
        "content": {
            "subject": "Grüße",
            "type": "marketing",
            "text": "Hello",
            "encoding": "utf-8",
        },
        "tracking": {"opens": False, "clicks_html": True, "clicks_text": False},
    }


def test_fullest_request() -> None:
    """Every field the API has, with an array of attachments."""
    made = submission(
        html='<p>"é"\n</p>',
        tags=("one", "two"),
        headers=(("Reply-To", "a"), ("X-A", ""), ("X-A", "b")),
        attachments=(
            Attachment("a.pdf", "pdf", b"QQ=="),
            Attachment("b.ics", "calendar", b"Qg=="),
        ),
    )
    start = head(email="b@x.test", sender_id="s", sender_name='Ann "A"', list_id=9)
    assert json.loads(b"".join(serialise(made).addressed(start))) == {
        "email": "b@x.test",
        "sender": {"id": "s", "name": 'Ann "A"'},
        "list_id": 9,
        "content": {
            "subject": "Grüße",
            "type": "marketing",
            "html": '<p>"é"\n</p>',
            "text": "Hello",
            "encoding": "utf-8",
        },
        "tracking": {"opens": False, "clicks_html": True, "clicks_text": False},
        "tags": ["one", "two"],
        "additional_headers": [
            {"name": "Reply-To", "value": "a"},
            {"name": "X-A", "value": ""},
            {"name": "X-A", "value": "b"},
        ],
        "attachment": [
            {"filename": "a.pdf", "type": "pdf", "content": "QQ=="},
            {"filename": "b.ics", "type": "calendar", "content": "Qg=="},
        ],
    }


def test_html_alone_leaves_the_text_out_and_nothing_else() -> None:
    """The variant of D5 is the same request without ``text``."""
    made = submission(html="<p>x</p>", tags=("t",))
    expected = request_of(made)
    del expected["content"]["text"]
    assert request_of(made, html_alone=True) == expected


@pytest.mark.parametrize("fields", [{}, {"html": "<p>", "text": None}])
def test_html_alone_changes_nothing_when_one_body_is_there(fields: dict[str, Any]) -> None:
    """A message never loses its only body."""
    made = submission(**fields)
    assert request_of(made, html_alone=True) == request_of(made)
    assert serialise(made).can_drop_text is False


def test_recipients_share_the_pieces() -> None:
    """A second recipient costs a head; the attachment's bytes are the same object."""
    content = b"QQ==" * 1000
    payload = serialise(submission(attachments=(Attachment("a.pdf", "pdf", content),)))
    first = payload.addressed(HEAD)
    second = payload.addressed(head(email="b@x", sender_id="s", sender_name="", list_id=None))
    assert any(piece is content for piece in first)
    assert all(one is other for one, other in zip(first[1:], second[1:], strict=True))


TEXT = st.text(min_size=1)


@given(TEXT, TEXT, TEXT, st.lists(st.tuples(TEXT, st.text()), max_size=3))
def test_both_libraries_give_the_same_bytes(
    subject: str, html: str, text: str, headers: list[tuple[str, str]]
) -> None:
    """Without orjson the API gets the same request, byte for byte."""
    made = submission(subject=subject, html=html, text=text, headers=tuple(headers))
    assert serialise(made) == serialise(made, dumps=standard_dumps)
    fields: dict[str, Any] = {"email": subject, "sender_id": html, "sender_name": text}
    assert head(**fields, list_id=1) == head(**fields, list_id=1, dumps=standard_dumps)
