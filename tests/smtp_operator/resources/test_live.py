"""The live configuration."""

from __future__ import annotations

import json

from smtp_operator.resources.live import policy, text
from tests.support.fleets import a_gateway


def test_the_file_holds_all_that_changes_without_a_restart() -> None:
    """Written out whole."""
    gateway = a_gateway(
        cakemail={
            "listId": 12,
            "emailType": "marketing",
            "defaultSenderId": "77",
            "tags": ["a"],
            "tracking": {"opens": True},
        },
        limits={"maxMessageBytes": 1_048_576, "maxRecipients": 5, "emailsPerMinutePerClient": 7},
        logging={"level": "warning"},
    )
    assert policy(gateway.spec) == {
        "email_type": "marketing",
        "list_id": 12,
        "fallback_sender_id": "77",
        "tracking": {"opens": True, "clicks_html": False, "clicks_text": False},
        "tags": ["a"],
        "rate_limit_per_ip": 7,
        "message_size_limit_bytes": 1_048_576,
        "max_recipients": 5,
        "log_level": "WARNING",
    }


def test_equal_wishes_make_equal_bytes() -> None:
    """Else every look would write."""
    assert text(a_gateway().spec) == text(a_gateway().spec)
    assert json.loads(text(a_gateway().spec))["list_id"] is None
