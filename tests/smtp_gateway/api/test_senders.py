"""Which sender stands for a From address: pages, choice, lives, and what cannot be known."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from smtp_gateway.api.senders import MAX_PAGES
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import GatewayError, LookupUnavailable, NotPermitted, SenderNotVerified
from tests.support.api_bench import ACCESS_TOKEN, FORBIDDEN, PASSWORD, USER, Bench
from tests.support.api_double import Said, said

LIST = "GET /brands/default/senders"
SHOP = "shop@example.test"


def sender(sender_id: str, email: str, *, confirmed: bool = True) -> dict[str, Any]:
    """A row of the list."""
    return {"id": sender_id, "name": "n", "email": email, "confirmed": confirmed}


def page(*rows: dict[str, Any], per_page: int = 50) -> Said:
    """One page of the list."""
    return said(200, {"pagination": {"page": 1, "per_page": per_page}, "data": list(rows)})


def others(count: int) -> Sequence[dict[str, Any]]:
    """Senders that nobody asks for."""
    return [sender(str(1000 + n), f"s{n}@example.test") for n in range(count)]


async def logged_in(parts: Bench, *pages: Said) -> Login:
    """A login with these senders."""
    parts.api.on(LIST, *pages)
    return await parts.store.login(USER, PASSWORD)


async def error_of(parts: Bench, login: Login, address: str = SHOP) -> GatewayError:
    """The error that the look-up meets."""
    with pytest.raises(GatewayError) as caught:
        await parts.lookups.sender(login, None, address)
    return caught.value


async def test_the_confirmed_sender_with_the_address(parts: Bench) -> None:
    """Compared without case."""
    login = await logged_in(parts, page(sender("3", "a@x.test"), sender("4", "Shop@Example.TEST")))
    assert await parts.lookups.sender(login, None, "SHOP@example.test") == "4"
    (call,) = parts.api.calls(LIST)
    assert call.query == {"page": "1", "per_page": "50", "sort": "-confirmed"}


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([sender("10", SHOP), sender("9", SHOP), sender("11", SHOP)], "9"),
        ([sender("9", SHOP, confirmed=False), sender("10", SHOP)], "10"),
        ([sender("b", SHOP), sender("a", SHOP)], "a"),
    ],
)
async def test_of_several_the_lowest_confirmed_id(
    parts: Bench, rows: list[dict[str, Any]], chosen: str
) -> None:
    """So that every message of an address goes out alike."""
    login = await logged_in(parts, page(*rows))
    assert await parts.lookups.sender(login, None, SHOP) == chosen


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [sender("1", "other@example.test")],
        [sender("1", SHOP, confirmed=False)],
        [sender("", SHOP)],
        [{"id": 5, "email": SHOP, "confirmed": True}],
        [{"id": "5", "email": None, "confirmed": True}, "text"],
        [sender("1", SHOP) | {"confirmed": "yes"}],
    ],
)
async def test_no_confirmed_sender_is_a_refusal(parts: Bench, rows: list[Any]) -> None:
    """It names the address that the client wrote."""
    login = await logged_in(parts, page(*rows))
    error = await error_of(parts, login, "Shop@example.test")
    assert type(error) is SenderNotVerified
    assert error.facts == {"address": "Shop@example.test"}


async def test_the_fallback_serves_an_unknown_address_only(parts: Bench) -> None:
    """The operator's sender comes last."""
    login = await logged_in(parts, page(sender("4", SHOP)))
    assert await parts.lookups.sender(login, None, "x@example.test", None, "99") == "99"
    assert await parts.lookups.sender(login, None, SHOP, None, "99") == "4"


async def test_all_pages_are_read(parts: Bench) -> None:
    """The API has no filter by address."""
    login = await logged_in(parts, page(*others(50)), page(*others(50)), page(sender("4", SHOP)))
    assert await parts.lookups.sender(login, None, SHOP) == "4"
    assert [call.query["page"] for call in parts.api.calls(LIST)] == ["1", "2", "3"]


async def test_a_full_last_page_is_followed_by_an_empty_one(parts: Bench) -> None:
    """Only then it is known to be the last."""
    login = await logged_in(parts, page(*others(49), sender("4", SHOP)), page())
    assert await parts.lookups.sender(login, None, SHOP) == "4"
    assert len(parts.api.calls(LIST)) == 2


async def test_smaller_pages_than_asked_for_are_understood(parts: Bench) -> None:
    """The API says how large its pages are."""
    login = await logged_in(
        parts, page(*others(2), per_page=2), page(sender("4", SHOP), per_page=2)
    )
    assert await parts.lookups.sender(login, None, SHOP) == "4"


async def test_pages_end_somewhere(parts: Bench) -> None:
    """An address beyond them is not refused for good."""
    login = await logged_in(parts, page(*others(1), per_page=1))
    assert type(await error_of(parts, login)) is LookupUnavailable
    assert len(parts.api.calls(LIST)) == MAX_PAGES
    assert await parts.lookups.sender(login, None, "s0@example.test") == "1000"


async def test_a_failing_page_fails_the_lookup(parts: Bench) -> None:
    """Half a list says nothing about an absence."""
    login = await logged_in(parts, page(*others(50)), said(503, b""), page(sender("4", SHOP)))
    assert type(await error_of(parts, login)) is LookupUnavailable
    assert await parts.lookups.sender(login, None, SHOP) == "4"


@pytest.mark.parametrize("answer", [said(200, {}), said(200, {"data": None}), said(404, {})])
async def test_a_list_that_is_none_is_temporary(parts: Bench, answer: Said) -> None:
    """Nothing is known then."""
    login = await logged_in(parts, answer)
    assert type(await error_of(parts, login)) is LookupUnavailable


async def test_senders_live_for_ten_minutes(parts: Bench) -> None:
    """A sender that is known is not asked about again until then."""
    login = await logged_in(parts, page(sender("4", SHOP)), page(sender("5", SHOP)))
    assert await parts.lookups.sender(login, None, SHOP) == "4"
    parts.clock.advance(599)
    assert await parts.lookups.sender(login, None, SHOP) == "4"
    parts.clock.advance(1)
    assert await parts.lookups.sender(login, None, SHOP) == "5"
    assert len(parts.api.calls(LIST)) == 2


async def test_an_absence_lives_for_a_minute(parts: Bench) -> None:
    """A person may just have confirmed the address."""
    login = await logged_in(parts, page(), page(sender("4", SHOP)))
    for _ in range(3):
        assert type(await error_of(parts, login)) is SenderNotVerified
    parts.clock.advance(59)
    assert type(await error_of(parts, login)) is SenderNotVerified
    assert len(parts.api.calls(LIST)) == 1
    parts.clock.advance(1)
    assert await parts.lookups.sender(login, None, SHOP) == "4"


async def test_a_refused_sender_is_looked_up_again(parts: Bench) -> None:
    """The send said that what was known is wrong."""
    login = await logged_in(parts, page(sender("4", SHOP)), page(sender("5", SHOP)))
    assert await parts.lookups.sender(login, None, SHOP) == "4"
    parts.lookups.forget_sender(login, None, "4")
    assert await parts.lookups.sender(login, None, SHOP) == "5"


async def test_logins_and_accounts_do_not_share_senders(parts: Bench) -> None:
    """What one credential may see says nothing about another."""
    login = await logged_in(parts, page(sender("4", SHOP)))
    other = await parts.store.login("other@example.test", PASSWORD)
    for who, account in ((login, None), (login, 8), (other, None), (login, 8)):
        await parts.lookups.sender(who, account, SHOP)
    assert [call.query.get("account_id") for call in parts.api.calls(LIST)] == [None, "8", None]


async def test_fifty_messages_at_once_are_one_lookup(parts: Bench) -> None:
    """Single flight, for different addresses too: the list holds them all."""
    login = await logged_in(parts, page(*others(10)))
    found = await asyncio.gather(
        *(parts.lookups.sender(login, None, f"s{n % 10}@example.test") for n in range(50))
    )
    assert found[:3] == ["1000", "1001", "1002"]
    assert len(parts.api.calls(LIST)) == 1


@pytest.mark.parametrize("answer", [said(400, FORBIDDEN), said(403, {})])
async def test_a_login_that_may_not_list_uses_what_is_configured(
    parts: Bench, answer: Said
) -> None:
    """Without that it cannot send, and is told why; it is asked about once a minute."""
    parts.api.on(LIST, answer)
    login = await parts.store.login("any", ACCESS_TOKEN)
    assert await parts.lookups.sender(login, None, SHOP, None, "99") == "99"
    error = await error_of(parts, login)
    assert type(error) is NotPermitted
    assert error.facts == {"reason": "this login may not list senders, and no sender is configured"}
    assert len(parts.api.calls(LIST)) == 1
    parts.clock.advance(60)
    await error_of(parts, login)
    assert len(parts.api.calls(LIST)) == 2


# A sender named by its id


def one(*, confirmed: bool = True) -> Said:
    """The resource of one sender."""
    return said(200, {"data": sender("31", SHOP, confirmed=confirmed)})


async def test_a_named_sender_is_checked_once(parts: Bench) -> None:
    """Its address need not be that of From; no list is read."""
    parts.api.on(f"{LIST}/31", one())
    login = await logged_in(parts)
    for _ in range(3):
        assert await parts.lookups.sender(login, 8, "other@example.test", "31") == "31"
    assert [call.query for call in parts.api.calls(f"{LIST}/31")] == [{"account_id": "8"}]
    assert parts.api.calls(LIST) == []


@pytest.mark.parametrize(
    "answer",
    [one(confirmed=False), said(400, {"detail": [{"msg": "x"}]}), said(404, {"detail": "no"})],
)
async def test_a_named_sender_that_is_not_confirmed_is_refused(parts: Bench, answer: Said) -> None:
    """For a minute, and the fall-back does not step in for it."""
    parts.api.on(f"{LIST}/31", answer, one())
    login = await logged_in(parts)
    for _ in range(2):
        with pytest.raises(NotPermitted) as caught:
            await parts.lookups.sender(login, None, SHOP, "31", "99")
        assert caught.value.facts == {"reason": "the sender id is no confirmed sender"}
    assert len(parts.api.calls(f"{LIST}/31")) == 1
    parts.clock.advance(60)
    assert await parts.lookups.sender(login, None, SHOP, "31") == "31"


@pytest.mark.parametrize("answer", [said(400, FORBIDDEN), said(403, {})])
async def test_a_named_sender_that_may_not_be_read_is_used(parts: Bench, answer: Said) -> None:
    """The answer to the send decides."""
    parts.api.on(f"{LIST}/31", answer)
    login = await logged_in(parts)
    assert await parts.lookups.sender(login, None, SHOP, "31") == "31"


@pytest.mark.parametrize("answer", [said(500, {}), said(200, {}), said(200, {"data": []})])
async def test_a_named_sender_that_cannot_be_read_is_temporary(parts: Bench, answer: Said) -> None:
    """And not remembered."""
    parts.api.on(f"{LIST}/31", answer, one())
    login = await logged_in(parts)
    with pytest.raises(LookupUnavailable):
        await parts.lookups.sender(login, None, SHOP, "31")
    assert await parts.lookups.sender(login, None, SHOP, "31") == "31"


async def test_a_refused_named_sender_is_checked_again(parts: Bench) -> None:
    """The send said that it is not usable."""
    parts.api.on(f"{LIST}/31", one(), one(confirmed=False))
    login = await logged_in(parts)
    await parts.lookups.sender(login, None, SHOP, "31")
    parts.lookups.forget_sender(login, None, "31")
    with pytest.raises(NotPermitted):
        await parts.lookups.sender(login, None, SHOP, "31")


@pytest.mark.parametrize(
    "sender_id", ["", ".", "..", "../..", "a/b", "31?x=1", "31#x", "a b", "%2e%2e", "ä", "x" * 256]
)
async def test_an_id_that_is_no_path_segment_is_refused_without_a_call(
    parts: Bench, sender_id: str
) -> None:
    """A header must not choose the path."""
    login = await logged_in(parts)
    calls = len(parts.api.seen)
    with pytest.raises(NotPermitted):
        await parts.lookups.sender(login, None, SHOP, sender_id)
    assert len(parts.api.seen) == calls
