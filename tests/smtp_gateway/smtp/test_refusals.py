"""A refusal told to the client and to the log."""

from __future__ import annotations

import asyncio

import pytest
from aiosmtpd.smtp import Session

from smtp_gateway import errors
from smtp_gateway.errors import GatewayError
from smtp_gateway.smtp.refusals import Refusals
from smtp_gateway.telemetry import Event
from tests.support.fakes import FakeLog


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (errors.RateLimited("too many", seconds=3), "info"),
        (errors.Unavailable("breaker open"), "warning"),
        (errors.CapacityExceeded("memory"), "error"),
    ],
)
async def test_the_level_follows_the_fault(error: GatewayError, level: str) -> None:
    """The client's is information, the API's a warning, ours an error."""
    log = FakeLog()
    session = Session(asyncio.get_running_loop())
    vars(session)["session_id"] = "abc"
    line = Refusals(log).tell(Event.COMMAND_REFUSED, session, "MAIL", error)
    assert line.endswith(" [abc]")
    (logged,) = log.lines
    assert (logged.level, logged.event) == (level, "command refused")
    assert logged.fields == {
        "session": "abc",
        "client": "",
        "command": "MAIL",
        "code": int(line[:3]),
        "error": type(error).__name__,
        "detail": error.detail,
    }


async def test_facts_stay_out_of_the_log() -> None:
    """A fact may hold an address, which only the client may see."""
    log = FakeLog()
    session = Session(asyncio.get_running_loop())
    error = errors.SenderNotVerified("no sender", address="bob@x.test")
    assert "bob@x.test" in Refusals(log).tell(Event.COMMAND_REFUSED, session, "DATA", error)
    assert "bob@x.test" not in log.text
