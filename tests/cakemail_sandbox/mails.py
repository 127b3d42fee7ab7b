"""Requests as the gateway would make them, for tests of the sandbox."""

from __future__ import annotations

from typing import Any

from tests.support.sandbox import LIST_ID, SENDER_ID

MESSAGE_ID = "<first@shop.example.com>"


def mail(recipient: str = "bob@example.org", **changes: Any) -> dict[str, Any]:
    """A small acceptable mail; a change to None leaves the field out."""
    whole = {
        "email": recipient,
        "sender": {"id": SENDER_ID, "name": "Example Shop"},
        "list_id": LIST_ID,
        "content": content(text="Hello Bob"),
        "tracking": {"opens": False, "clicks_html": False, "clicks_text": False},
        "additional_headers": [{"name": "Message-ID", "value": MESSAGE_ID}],
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def content(**parts: Any) -> dict[str, Any]:
    """A content object; a change to None leaves the field out."""
    whole = {"subject": "Greetings", "type": "transactional", "encoding": "utf-8", **parts}
    return {name: value for name, value in whole.items() if value is not None}


def attachment(**changes: Any) -> dict[str, Any]:
    """A file that the API takes."""
    return {"filename": "invoice.pdf", "type": "pdf", "content": "JVBERi0xLjQK", **changes}
