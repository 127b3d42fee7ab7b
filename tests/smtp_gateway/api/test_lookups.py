"""Account and list before a send; and all of it against the sandbox."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway.api.client import ApiClient
from smtp_gateway.api.lookups import Lookups
from smtp_gateway.api.tokens import CredentialStore, Login
from smtp_gateway.errors import (
    CredentialsInvalid,
    GatewayError,
    LookupUnavailable,
    MultiFactorRequired,
    NotPermitted,
    SenderNotVerified,
    Throttled,
)
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import SystemClock
from smtp_gateway.utils.tasks import TaskOwner
from tests.support import sandbox
from tests.support.api_bench import ACCESS_TOKEN, FORBIDDEN, PASSWORD, USER, Bench, granted, jwt
from tests.support.api_double import Said, said
from tests.support.sandbox import Sandbox

LISTS = "GET /lists"


async def logged_in(parts: Bench) -> Login:
    """A login whose own account is 7 and which reaches 7 and 8."""
    parts.api.on("POST /token", granted(jwt(account_id=7)))
    return await parts.store.login(USER, PASSWORD)


# Account


@pytest.mark.parametrize("wanted", [None, 7, 8])
async def test_an_account_within_reach_is_used_at_once(parts: Bench, wanted: int | None) -> None:
    """None stays None: the call then acts in the login's own account."""
    login = await logged_in(parts)
    calls = len(parts.api.seen)
    assert await parts.lookups.account(login, wanted) == wanted
    assert len(parts.api.seen) == calls


async def test_another_account_is_tested_once_in_five_minutes(parts: Bench) -> None:
    """The cheap test of cakemail-api 1.4."""
    parts.api.on("GET /accounts/9", said(200, {"data": {}}))
    login = await logged_in(parts)
    for _ in range(3):
        assert await parts.lookups.account(login, 9) == 9
    parts.clock.advance(299)
    await parts.lookups.account(login, 9)
    assert len(parts.api.calls("GET /accounts/9")) == 1
    parts.clock.advance(1)
    await parts.lookups.account(login, 9)
    assert len(parts.api.calls("GET /accounts/9")) == 2


@pytest.mark.parametrize("answer", [said(400, FORBIDDEN), said(400, {}), said(403), said(404)])
async def test_an_account_out_of_reach_is_refused_for_a_minute(parts: Bench, answer: Said) -> None:
    """The number is the client's own, so it may be shown."""
    parts.api.on("GET /accounts/9", answer, said(200, {"data": {}}))
    login = await logged_in(parts)
    for _ in range(2):
        with pytest.raises(NotPermitted) as caught:
            await parts.lookups.account(login, 9)
        assert caught.value.facts == {"reason": "this login cannot use account 9"}
    assert len(parts.api.calls("GET /accounts/9")) == 1
    parts.clock.advance(60)
    assert await parts.lookups.account(login, 9) == 9


@pytest.mark.parametrize(
    ("answer", "error"),
    [(said(500), LookupUnavailable), (said(422), LookupUnavailable), (said(429), Throttled),
     (said(200, b"<html>"), LookupUnavailable)],
)  # fmt: skip
async def test_an_account_that_cannot_be_tested_is_temporary(
    parts: Bench, answer: Said, error: type[GatewayError]
) -> None:
    """And not remembered."""
    parts.api.on("GET /accounts/9", answer, said(200, {"data": {}}))
    login = await logged_in(parts)
    with pytest.raises(GatewayError) as caught:
        await parts.lookups.account(login, 9)
    assert caught.type is error
    assert await parts.lookups.account(login, 9) == 9


async def test_an_access_token_selects_without_a_test(parts: Bench) -> None:
    """The answer to the send decides."""
    login = await parts.store.login("any", ACCESS_TOKEN)
    assert await parts.lookups.account(login, 9) == 9
    assert parts.api.calls("GET /accounts/9") == []


# List


def entry(list_id: Any, created_on: int | None = None, status: str = "active") -> dict[str, Any]:
    """A row of the lists."""
    row = {"id": list_id, "name": "n", "status": status}
    return row if created_on is None else row | {"created_on": created_on}


def lists(*rows: Any) -> Said:
    """The lists of an account."""
    return said(200, {"pagination": {"page": 1, "per_page": 50}, "data": list(rows)})


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ([entry(5, 100), entry(6, 200)], 5),
        ([entry(5, 200), entry(6, 100)], 6),
        ([entry(5), entry(6, 100)], 6),
        ([entry(5), entry(6)], 5),
        ([entry(4, 1, "archived"), entry(5, 100)], 5),
        ([entry("5", 100)], 5),
        ([entry(None, 1), "x", entry(5, 100)], 5),
        ([entry(4, 1, "archived")], None),
        ([], None),
    ],
)
async def test_the_oldest_active_list(parts: Bench, rows: list[Any], chosen: int | None) -> None:
    """No default flag exists (cakemail-api D4)."""
    parts.api.on(LISTS, lists(*rows))
    login = await logged_in(parts)
    assert await parts.lookups.mailing_list(login, 8) == chosen
    assert parts.api.calls(LISTS)[0].query == {
        "page": "1",
        "per_page": "50",
        "filter": "status==active",
        "sort": "+created_on",
        "account_id": "8",
    }


async def test_a_list_lives_for_half_an_hour(parts: Bench) -> None:
    """Lists hardly change."""
    parts.api.on(LISTS, lists(entry(5)), lists(entry(6)))
    login = await logged_in(parts)
    assert await parts.lookups.mailing_list(login, None) == 5
    parts.clock.advance(1_799)
    assert await parts.lookups.mailing_list(login, None) == 5
    parts.clock.advance(1)
    assert await parts.lookups.mailing_list(login, None) == 6


@pytest.mark.parametrize("answer", [lists(), said(400, FORBIDDEN), said(403)])
async def test_no_list_is_known_for_a_minute(parts: Bench, answer: Said) -> None:
    """None there, or none that may be read: mail without a list may be possible."""
    parts.api.on(LISTS, answer, lists(entry(5)))
    login = await logged_in(parts)
    for _ in range(3):
        assert await parts.lookups.mailing_list(login, None) is None
    assert len(parts.api.calls(LISTS)) == 1
    parts.clock.advance(60)
    assert await parts.lookups.mailing_list(login, None) == 5


@pytest.mark.parametrize(
    ("answer", "error"),
    [(said(500), LookupUnavailable), (said(404), LookupUnavailable), (said(429), Throttled),
     (said(400, {"detail": "x"}), LookupUnavailable), (said(200, {}), LookupUnavailable)],
)  # fmt: skip
async def test_lists_that_cannot_be_read_are_temporary(
    parts: Bench, answer: Said, error: type[GatewayError]
) -> None:
    """And not remembered."""
    parts.api.on(LISTS, answer, lists(entry(5)))
    login = await logged_in(parts)
    with pytest.raises(GatewayError) as caught:
        await parts.lookups.mailing_list(login, None)
    assert caught.type is error
    assert await parts.lookups.mailing_list(login, None) == 5


async def test_fifty_messages_at_once_are_one_call_each(parts: Bench) -> None:
    """Single flight for lists and accounts."""
    parts.api.on(LISTS, lists(entry(5)))
    parts.api.on("GET /accounts/9", said(200, {"data": {}}))
    login = await logged_in(parts)
    await asyncio.gather(*(parts.lookups.mailing_list(login, None) for _ in range(50)))
    await asyncio.gather(*(parts.lookups.account(login, 9) for _ in range(50)))
    assert len(parts.api.calls(LISTS)) == 1
    assert len(parts.api.calls("GET /accounts/9")) == 1


async def test_logins_do_not_share_lists_or_accounts(parts: Bench) -> None:
    """What one credential may use says nothing about another."""
    parts.api.on(LISTS, lists(entry(5)))
    parts.api.on("GET /accounts/9", said(200, {"data": {}}))
    for username in (USER, "other@example.test"):
        login = await parts.store.login(username, PASSWORD)
        await parts.lookups.mailing_list(login, None)
        await parts.lookups.account(login, 9)
    assert len(parts.api.calls(LISTS)) == 2
    assert len(parts.api.calls("GET /accounts/9")) == 2


# Against the sandbox


@dataclass(frozen=True, slots=True)
class Real:
    """The parts against the sandbox."""

    store: CredentialStore
    lookups: Lookups


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One sandbox for the tests below; none of them changes it."""
    with Sandbox() as made:
        yield made


@pytest.fixture
async def real(running: Sandbox) -> AsyncIterator[Real]:
    """Parts of their own for each test."""
    failures: list[BaseException] = []
    metrics, clock = Metrics(CollectorRegistry()), SystemClock()
    client = ApiClient(running.url, f"{running.url}/token", metrics)
    tasks = TaskOwner(lambda _, failure: failures.append(failure))
    yield Real(CredentialStore(client, clock, metrics, tasks), Lookups(client, clock, tasks))
    await tasks.cancel()
    await client.aclose()
    assert failures == []


async def test_sandbox_a_login_finds_its_sender_and_list(real: Real) -> None:
    """The way of an ordinary mail."""
    login = await real.store.login(sandbox.USERNAME, sandbox.PASSWORD)
    assert login.own_account_id == sandbox.ACCOUNT_ID
    assert login.refusal is None
    assert await real.lookups.sender(login, None, sandbox.SENDER) == sandbox.SENDER_ID
    assert await real.lookups.mailing_list(login, None) == sandbox.LIST_ID


async def test_sandbox_refuses_what_it_should(real: Real) -> None:
    """A wrong password, a second factor, a sender that nobody confirmed, a foreign account."""
    with pytest.raises(CredentialsInvalid):
        await real.store.login(sandbox.USERNAME, "wrong")
    with pytest.raises(MultiFactorRequired):
        await real.store.login(sandbox.MULTI_FACTOR_USERNAME, sandbox.PASSWORD)
    login = await real.store.login(sandbox.USERNAME, sandbox.PASSWORD)
    with pytest.raises(SenderNotVerified):
        await real.lookups.sender(login, None, sandbox.UNCONFIRMED_SENDER)
    with pytest.raises(NotPermitted):
        await real.lookups.sender(login, None, sandbox.SENDER, sandbox.UNCONFIRMED_SENDER_ID)
    with pytest.raises(NotPermitted):
        await real.lookups.account(login, sandbox.FOREIGN_ACCOUNT_ID)


async def test_sandbox_accounts_that_may_not_send(real: Real) -> None:
    """Logged in, and refused at MAIL."""
    for username in (sandbox.SUSPENDED_USERNAME, sandbox.WITHOUT_API_USERNAME):
        login = await real.store.login(username, sandbox.PASSWORD)
        assert isinstance(login.refusal, NotPermitted)


async def test_sandbox_access_tokens(real: Real) -> None:
    """A full one sees all, one that may only send sees nothing and still logs in."""
    full = await real.store.login("apikey", sandbox.FULL_TOKEN)
    assert await real.lookups.sender(full, None, sandbox.SENDER) == sandbox.SENDER_ID
    narrow = await real.store.login("apikey", sandbox.SEND_ONLY_TOKEN)
    assert await real.lookups.mailing_list(narrow, None) is None
    assert await real.lookups.sender(narrow, None, sandbox.SENDER, None, "31") == "31"
    with pytest.raises(NotPermitted):
        await real.lookups.sender(narrow, None, sandbox.SENDER)
    with pytest.raises(CredentialsInvalid):
        await real.store.login("apikey", ACCESS_TOKEN.replace("0", "9"))


async def test_sandbox_renews(real: Real) -> None:
    """A refused bearer is replaced by means of the refresh token."""
    login = await real.store.login(sandbox.USERNAME, sandbox.PASSWORD)
    old = await login.bearer()
    assert await login.renewed(old) != old


async def test_sandbox_log_holds_nothing_yet(real: Real) -> None:
    """The parameters are those of the API's contract."""
    login = await real.store.login(sandbox.USERNAME, sandbox.PASSWORD)
    found = await real.lookups.find_submitted(
        login, sandbox.ACCOUNT_ID, "nobody+x@example.org", "<m@x.test>", time.time()
    )
    assert found is None
