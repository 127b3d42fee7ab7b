"""What a message asks of the API, once read: plain values, no look-up done yet."""

from __future__ import annotations

from dataclasses import dataclass

from smtp_gateway.policy import EmailType, Tracking


@dataclass(frozen=True, slots=True)
class Attachment:
    r"""``attachment`` of the API (cakemail-api 2).

    Attributes:
        filename: matches ``^[a-zA-Z0-9-_]+\.(csv|doc|docx|ics|jpeg|pdf|png|xls|xlsx)$``.
        type: one of ``csv doc docx calendar jpeg pdf png xls xlsx``; not a MIME type.
        content: padded standard base64 without line breaks, ASCII.
    """

    filename: str
    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Steering:
    """All that decides where and as whom a message goes; the body is not in here.

    Attributes:
        from_address: the one mailbox of ``From``, bare.
        sender_name: its display name, decoded; empty when there is none.
        sender_id: ``X-Sender-Id``, or None: look it up by ``from_address``.
        account_id: ``X-Account-Id``, or None: the login's own.
        list_id: named by the message or by the policy, or None: discover one.
        email_type: ``content.type``.
        message_id: the client's, or one made from the digest so that a retry carries the same.
        has_own_message_id: the client wrote it; decides how long the ledger remembers.
        idempotency_key: replaces the digest in the ledger for 24 hours; None when absent.
        noted: names of headers that had no effect, without values; the first twenty.
        digest: SHA-256 of the message as received, 32 bytes.
        size_bytes: of the message as received.
    """

    from_address: str
    sender_name: str
    sender_id: str | None
    account_id: int | None
    list_id: int | None
    email_type: EmailType
    message_id: str
    has_own_message_id: bool
    idempotency_key: str | None
    noted: tuple[str, ...]
    digest: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One message, translated: what every recipient of it gets.

    ``html`` and ``text`` are Unicode with LF line ends, None when absent, never empty.
    ``headers`` are ``additional_headers`` in order: ASCII, unfolded, no CR, LF or NUL.
    """

    steering: Steering
    subject: str
    html: str | None
    text: str | None
    tags: tuple[str, ...]
    tracking: Tracking
    headers: tuple[tuple[str, str], ...]
    attachments: tuple[Attachment, ...]
