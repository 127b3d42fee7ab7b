"""One message and one policy to what will be submitted; pure, so that it can run anywhere.

The order of the steps is the order of the faults: the first one decides the reply, and all of them
come before the first call of the API (cakemail-api 7.1).
"""

from __future__ import annotations

import re

from smtp_gateway.email import bodies
from smtp_gateway.email.addresses import Mailbox, ascii_domain, read_author
from smtp_gateway.email.control import Instructions, choose_tags, read_instructions
from smtp_gateway.email.headers import (
    Field,
    decode_words,
    one_line,
    outgoing,
    refuse_controls,
    travels,
)
from smtp_gateway.email.message import Steering, Submission
from smtp_gateway.email.parser import read_fields, read_tree
from smtp_gateway.errors import HeaderInvalid, RoutingLoop
from smtp_gateway.policy import Policy

MAX_RECEIVED = 100  # RFC 5321 6.3
NO_SUBJECT = "(no subject)"
NO_BODY = " "
MAX_NOTED = 20
_PLAIN_NAME = re.compile(r"[A-Za-z0-9./+_-]{1,100}")


def transform(
    content: bytes, policy: Policy, *, digest: bytes, message_id_domain: str = ""
) -> Submission:
    """Translate a message into what every recipient of it gets.

    Args:
        content: the message as received.
        policy: defaults and limits.
        digest: SHA-256 of ``content``; a missing Message-ID is made from it, so that a client's
            retry carries the same one.
        message_id_domain: right-hand side of such a Message-ID; the domain of From when empty.

    Raises:
        HeaderInvalid: a control header, From, or a value with CR, LF or NUL.
        PartUnsupported: a part that the API cannot carry.
        MessageTooComplex: depth, parts or header section over their bounds.
        MessageUnreadable: parts that cannot be told apart.
        RoutingLoop: over 100 Received fields.
    """
    fields, body = read_fields(content, 0, len(content))
    if sum(one.key == "received" for one in fields) > MAX_RECEIVED:
        raise RoutingLoop
    instructions = read_instructions(fields)
    author = read_author(fields)
    subject, headers = _read_headers(fields, instructions)
    contents = bodies.read_contents(read_tree(content, fields, body), policy.inline_images)
    html, text = "\n".join(contents.html), "\n".join(contents.text)
    tags = choose_tags(instructions, policy)
    own_id = _message_id(headers)
    message_id = own_id or _made_message_id(digest, message_id_domain, author)
    if not own_id:
        headers.append(("Message-ID", message_id))
    return Submission(
        steering=Steering(
            from_address=author.address,
            sender_name=author.name,
            sender_id=instructions.sender_id,
            account_id=instructions.account_id,
            list_id=instructions.list_id or policy.list_id,
            email_type=instructions.email_type or policy.email_type,
            message_id=message_id,
            has_own_message_id=bool(own_id),
            idempotency_key=instructions.idempotency_key,
            noted=_noted([*instructions.noted, *contents.noted]),
            digest=digest,
            size_bytes=len(content),
        ),
        subject=subject,
        html=html or None,
        text=text or (None if html else NO_BODY),
        tags=tags,
        tracking=instructions.tracking(policy.tracking),
        headers=tuple(headers),
        attachments=tuple(contents.attachments.items),
    )


def _read_headers(
    fields: list[Field], instructions: Instructions
) -> tuple[str, list[tuple[str, str]]]:
    """The subject, and the fields that travel, in order."""
    subject: str | None = None
    headers: list[tuple[str, str]] = []
    for one in fields:
        if one.key == "subject":
            if subject is None:
                subject = _subject(one)
            else:
                instructions.noted.append("Subject")
        elif one.key == "message-id" and not one.value:
            continue  # as if absent: one is made
        elif travels(one.key) and one.key not in instructions.consumed:
            headers.append(outgoing(one))
    return subject or NO_SUBJECT, headers


def _subject(field: Field) -> str:
    refuse_controls(field)
    text = decode_words(field.value)
    if "\0" in text:
        raise HeaderInvalid(header=field.name, reason="a NUL is not allowed")
    return one_line(text)


def _noted(names: list[str]) -> tuple[str, ...]:
    """What goes into the log, so bounded; a name that could hold an address is the client's."""
    shown = (name if _PLAIN_NAME.fullmatch(name) else "other" for name in names)
    return tuple(dict.fromkeys(shown))[:MAX_NOTED]


def _message_id(headers: list[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "message-id"), "")


def _made_message_id(digest: bytes, domain: str, author: Mailbox) -> str:
    right = domain or ascii_domain(author.address.rpartition("@")[2])
    return f"<{digest.hex()[:32]}@{right}>"
