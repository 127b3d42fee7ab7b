"""What sessions and envelopes carry beyond aiosmtpd's own attributes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiosmtpd.proxy_protocol import get_proxy
from aiosmtpd.smtp import Envelope, Session

from smtp_gateway.policy import Policy
from smtp_gateway.smtp import context
from tests.support.fakes import FakeLogin


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("192.0.2.7", 50000), "192.0.2.7"),
        (("2001:db8::1", 50000, 0, 0), "2001:db8::1"),
        (("::ffff:192.0.2.7", 50000, 0, 0), "192.0.2.7"),  # IPv4 through a socket of both families
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("", ""),
        (None, ""),
    ],
)
async def test_the_client_is_the_sockets_peer(peer: Any, address: str) -> None:
    """Without a proxy, in every form a socket names its peer."""
    session = Session(asyncio.get_running_loop())
    session.peer = peer
    assert context.client_address(session) == address


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (b"PROXY TCP4 198.51.100.9 203.0.113.1 50000 587\r\n", "198.51.100.9"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 587\r\n", "2001:db8::1"),
        (b"PROXY UNKNOWN\r\n", "192.0.2.7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "192.0.2.7"),  # version 2, LOCAL
        (b"PROXY TCP4 nonsense\r\n", "192.0.2.7"),
    ],
)
async def test_behind_a_proxy_the_client_is_whom_it_announces(header: bytes, address: str) -> None:
    """LOCAL, UNKNOWN and an unreadable header keep the socket's address."""
    reader = asyncio.StreamReader()
    reader.feed_data(header)
    session = Session(asyncio.get_running_loop())
    peer: Any = ("192.0.2.7", 1)
    session.peer = peer
    session.proxy_data = await get_proxy(reader)
    assert context.client_address(session) == address


async def test_a_session_keeps_one_id() -> None:
    """The engine's, or one made on first use."""
    own, given = (Session(asyncio.get_running_loop()) for _ in range(2))
    vars(given)["session_id"] = "abc"
    assert context.session_id(given) == "abc"
    assert context.session_id(own) == context.session_id(own)
    assert len(context.session_id(own)) == 16


async def test_a_good_login_takes_the_place_of_a_failure() -> None:
    """What MAIL says about a refused login ends with the next good one."""
    session = Session(asyncio.get_running_loop())
    assert context.login_of(session) is None
    context.note_failure(session, "Authentication credentials invalid")
    assert context.login_failure(session) == "Authentication credentials invalid"
    login = FakeLogin()
    context.admit_login(session, login, "sparkpost:7")
    assert context.login_of(session) is login
    assert context.login_failure(session) == ""
    assert context.account_key(session) == "sparkpost:7"


def test_a_transaction_keeps_its_policy() -> None:
    """The first question takes the snapshot; a reload in between changes nothing."""
    envelope = Envelope()
    before, after = Policy(max_recipients=1), Policy(max_recipients=2)
    assert context.policy_of(envelope, before) is before
    assert context.policy_of(envelope, after) is before


async def test_client_is_there_until_its_end_came() -> None:
    """Under the stock engine the hook ends with the connection, so it is there by default."""
    session = Session(asyncio.get_running_loop())
    assert context.client_there(session)
    vars(session)["client_gone"] = True
    assert not context.client_there(session)


def test_what_the_stock_engine_does_not_know_has_an_answer() -> None:
    """The moment of the dot is now, and nobody keeps account of memory."""
    envelope = Envelope()
    assert context.received_monotonic(envelope, 5.0) == 5.0
    context.take_settled(envelope)()
    calls: list[int] = []
    vars(envelope).update(received_monotonic=3.0, on_settled=lambda: calls.append(1))
    assert context.received_monotonic(envelope, 5.0) == 3.0
    context.take_settled(envelope)()
    context.take_settled(envelope)()
    assert calls == [1]
