"""Captured requests as JSON, for tests and for people with curl."""

from __future__ import annotations

import json
from typing import Any

from cakemail_sandbox.capture import Exchange
from cakemail_sandbox.world import House


def exchange_view(exchange: Exchange) -> dict[str, Any]:
    """One request as it came and the answer it got."""
    given = exchange.given
    return {
        "number": exchange.number,
        "at": exchange.at,
        "method": exchange.method,
        "path": exchange.path,
        "query": exchange.query,
        "headers": dict(exchange.headers),
        "connection": exchange.connection,
        "login": exchange.login,
        "account_id": exchange.account_id,
        "recipient": exchange.recipient,
        "message_id": exchange.message_id,
        "username": exchange.username,
        "undocumented": exchange.undocumented,
        "accepted": exchange.accepted,
        "email_id": exchange.email_id,
        "fault": exchange.fault,
        "body": exchange.json(),
        "raw_body": None if exchange.json() is not None else exchange.body.decode("latin-1"),
        "answer": None
        if given is None
        else {"status": given.status, "body": _readable(given.body), "fate": given.fate},
    }


def counts_view(house: House) -> list[dict[str, Any]]:
    """Per (Message-ID, recipient): how often it came and how often it was accepted."""
    capture = house.world.capture
    return [
        {
            "message_id": message_id,
            "recipient": recipient,
            "received": received,
            "accepted": capture.accepted[message_id, recipient],
        }
        for (message_id, recipient), received in sorted(capture.received.items())
    ]


def connections_view(house: House) -> dict[str, int]:
    """Connections that carried requests to the API since the last reset."""
    meter = house.meter
    return {"open": len(meter.open), "most": meter.most, "total": len(meter.carried)}


def _readable(body: bytes) -> Any:
    shown = body[:65_536].decode("utf-8", "replace")
    try:
        return json.loads(shown)
    except ValueError:
        return shown
