"""A message as the body of ``POST /v2/emails``: serialised once, addressed many times.

All recipients of one message share its content; only a small head differs. So the content becomes
JSON once per message, in pieces, and a request body is a sequence of pieces in their order: no
copy of a large attachment per recipient, and none to leave the text out (cakemail-api 8, D5).
Field rules: cakemail-api 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from smtp_gateway.email.message import Attachment, Submission
from smtp_gateway.utils import codec
from smtp_gateway.utils.codec import Encoder


@dataclass(frozen=True, slots=True)
class Payload:
    """The shared part of all request bodies of one message, as pieces of JSON.

    Attributes:
        opening: from ``"content"`` to the html, without a closing brace.
        text: the text field, or b"".
        closing: the rest of the content and the small fields.
        attachments: the attachment array in pieces, empty when there is none.
        can_drop_text: html and text are both there.
    """

    opening: bytes
    text: bytes
    closing: bytes
    attachments: tuple[bytes, ...]
    can_drop_text: bool

    def addressed(self, head: bytes, *, html_alone: bool = False) -> tuple[bytes, ...]:
        """The whole request body behind this head.

        Args:
            head: from ``head``.
            html_alone: leave the text out, if there is html.
        """
        drop = html_alone and self.can_drop_text
        middle = (self.opening, self.closing) if drop else (self.opening, self.text, self.closing)
        return (head, *middle, *self.attachments, b"}")


def head(
    *,
    email: str,
    sender_id: str,
    sender_name: str,
    list_id: int | None,
    dumps: Encoder = codec.dumps,
) -> bytes:
    """What differs per recipient, opened and not closed.

    Args:
        email: the recipient, bare.
        sender_id: a confirmed sender.
        sender_name: left out when empty.
        list_id: left out when None.
        dumps: the JSON encoder.
    """
    sender = {"id": sender_id, "name": sender_name} if sender_name else {"id": sender_id}
    fields: dict[str, Any] = {"email": email, "sender": sender}
    if list_id is not None:
        fields["list_id"] = list_id
    return dumps(fields)[:-1]


def serialise(submission: Submission, *, dumps: Encoder = codec.dumps) -> Payload:
    """Make JSON of all that the recipients share."""
    content: dict[str, str] = {
        "subject": submission.subject,
        "type": submission.steering.email_type.value,
    }
    if submission.html is not None:
        content["html"] = submission.html
    text = b"" if submission.text is None else b',"text":' + dumps(submission.text)
    return Payload(
        opening=b',"content":' + dumps(content)[:-1],
        text=text,
        closing=b',"encoding":"utf-8"}' + _small_fields(submission, dumps),
        attachments=tuple(_attachment_pieces(submission.attachments, dumps)),
        can_drop_text=submission.html is not None and submission.text is not None,
    )


def _small_fields(submission: Submission, dumps: Encoder) -> bytes:
    tracking = submission.tracking
    fields: dict[str, Any] = {
        # The API takes an absent field for true, so all three are always sent.
        "tracking": {
            "opens": tracking.opens,
            "clicks_html": tracking.clicks_html,
            "clicks_text": tracking.clicks_text,
        }
    }
    if submission.tags:
        fields["tags"] = list(submission.tags)
    if submission.headers:
        fields["additional_headers"] = [
            {"name": name, "value": value} for name, value in submission.headers
        ]
    return b"," + dumps(fields)[1:-1]


def _attachment_pieces(attachments: tuple[Attachment, ...], dumps: Encoder) -> Iterator[bytes]:
    if not attachments:
        return
    opening = b',"attachment":['
    for attachment in attachments:
        names = dumps({"filename": attachment.filename, "type": attachment.type})
        yield opening + names[:-1] + b',"content":"'
        yield attachment.content  # base64 needs no escape in JSON (RFC 4648 4, RFC 8259 7)
        opening = b'"},'
    yield b'"}]'
