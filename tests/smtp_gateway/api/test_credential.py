"""A credential over time: renewal, revocation, and sessions that share it."""

from __future__ import annotations

import asyncio

import pytest

from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import (
    CredentialsRevoked,
    GatewayError,
    LoginExpired,
    LookupUnavailable,
)
from tests.support.api_bench import ACCESS_TOKEN, PASSWORD, USER, Bench, account, granted
from tests.support.api_double import Said, said

LIFE = 432_000
REFUSED = said(401, {"detail": [{"msg": "Unauthorized", "type": "unauthorized"}]})


async def logged_in(parts: Bench, *renewals: Said) -> Login:
    """A login, and what the token service will say to its renewals."""
    parts.api.on("POST /token", granted(), *renewals)
    return await parts.store.login(USER, PASSWORD)


async def error_of(login: Login) -> type[GatewayError]:
    """The class of the error that asking for a bearer meets."""
    with pytest.raises(GatewayError) as caught:
        await login.bearer()
    return caught.type


async def test_a_bearer_is_renewed_five_minutes_before_its_end(parts: Bench) -> None:
    """With the refresh token, since the password is not kept."""
    login = await logged_in(parts, granted("bearer-2"))
    parts.clock.advance(LIFE - 301)
    assert await login.bearer() == "bearer-1"
    parts.clock.advance(1)
    assert await login.bearer() == "bearer-2"
    assert parts.api.calls("POST /token")[1].form == {
        "grant_type": "refresh_token",
        "refresh_token": "refresh-1",
    }


async def test_a_short_life_is_renewed_at_its_half(parts: Bench) -> None:
    """Five minutes before the end would be always."""
    login = await logged_in(parts, granted("bearer-2", expires_in=60))
    await login.renewed("bearer-1")
    parts.clock.advance(29)
    assert await login.bearer() == "bearer-2"
    assert len(parts.api.calls("POST /token")) == 2
    parts.clock.advance(1)
    await login.bearer()
    assert len(parts.api.calls("POST /token")) == 3


async def test_the_newest_refresh_token_counts(parts: Bench) -> None:
    """Whether each use replaces it is not known, so both work."""
    login = await logged_in(
        parts, granted("bearer-2", "refresh-2"), granted("bearer-3", ""), granted("bearer-4")
    )
    for _ in range(3):
        parts.clock.advance(LIFE - 300)
        await login.bearer()
    used = [call.form["refresh_token"] for call in parts.api.calls("POST /token")[1:]]
    assert used == ["refresh-1", "refresh-2", "refresh-2"]


async def test_sessions_wait_for_one_renewal(parts: Bench) -> None:
    """Fifty messages at the end of a token are one call."""
    login = await logged_in(parts, granted("bearer-2"))
    parts.clock.advance(LIFE)
    assert set(await asyncio.gather(*(login.bearer() for _ in range(50)))) == {"bearer-2"}
    assert len(parts.api.calls("POST /token")) == 2


@pytest.mark.parametrize("answer", [said(503, b""), Said(resets=True), said(429, {}), said(404)])
async def test_a_bearer_that_still_holds_outlives_a_failed_renewal(
    parts: Bench, answer: Said
) -> None:
    """The token service may be away for five minutes; it is asked every ten seconds."""
    login = await logged_in(parts, answer)
    parts.clock.advance(LIFE - 300)
    for _ in range(5):
        assert await login.bearer() == "bearer-1"
    assert len(parts.api.calls("POST /token")) == 2
    parts.clock.advance(10)
    assert await login.bearer() == "bearer-1"
    assert len(parts.api.calls("POST /token")) == 3
    parts.clock.advance(290)
    assert await error_of(login) is LookupUnavailable


async def test_a_renewal_works_again_after_an_outage(parts: Bench) -> None:
    """A failure is not remembered beyond the bearer's end."""
    login = await logged_in(parts, said(503, b""), granted("bearer-2"))
    parts.clock.advance(LIFE)
    assert await error_of(login) is LookupUnavailable
    assert await login.bearer() == "bearer-2"


@pytest.mark.parametrize(
    "answer", [said(400, {}), REFUSED, said(403, {}), said(422, {}), said(401, {"challenge": "c"})]
)
async def test_a_refused_renewal_ends_the_login(parts: Bench, answer: Said) -> None:
    """The client has to log in again; its AUTH brings the password."""
    login = await logged_in(parts, answer, granted("bearer-2"))
    parts.clock.advance(LIFE - 300)
    assert await error_of(login) is LoginExpired
    assert await error_of(login) is LoginExpired
    assert isinstance(login.refusal, LoginExpired)
    assert parts.cached() == 0
    again = await parts.store.login(USER, PASSWORD)
    assert again is not login
    assert await again.bearer() == "bearer-2"
    assert [call.form["grant_type"] for call in parts.api.calls("POST /token")] == [
        "password", "refresh_token", "password",
    ]  # fmt: skip


async def test_a_grant_without_refresh_token_cannot_be_renewed(parts: Bench) -> None:
    """No call is made with an empty one."""
    parts.api.on("POST /token", granted(refresh_token=""))
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(LIFE)
    assert await error_of(login) is LoginExpired
    assert len(parts.api.calls("POST /token")) == 1


async def test_a_refused_bearer_is_renewed_at_once(parts: Bench) -> None:
    """401 counts more than the announced life."""
    login = await logged_in(parts, granted("bearer-2"))
    assert await login.renewed("bearer-1") == "bearer-2"
    assert await login.bearer() == "bearer-2"


async def test_who_comes_late_with_the_old_bearer_gets_the_new_one(parts: Bench) -> None:
    """Ten calls that fail together renew once."""
    login = await logged_in(parts, granted("bearer-2"))
    bearers = await asyncio.gather(*(login.renewed("bearer-1") for _ in range(10)))
    assert set(bearers) == {"bearer-2"}
    assert await login.renewed("bearer-1") == "bearer-2"
    assert len(parts.api.calls("POST /token")) == 2


async def test_the_same_bearer_again_is_no_renewal(parts: Bench) -> None:
    """It has just been refused."""
    login = await logged_in(parts, granted("bearer-1"))
    with pytest.raises(CredentialsRevoked):
        await login.renewed("bearer-1")
    assert parts.store.known(USER, PASSWORD) is None


async def test_a_refused_bearer_is_not_used_while_renewal_fails(parts: Bench) -> None:
    """It is as good as ended."""
    login = await logged_in(parts, said(503, b""))
    with pytest.raises(LookupUnavailable):
        await login.renewed("bearer-1")
    assert await error_of(login) is LookupUnavailable
    assert parts.store.known(USER, PASSWORD) is None


async def test_an_access_token_cannot_be_renewed(parts: Bench) -> None:
    """It is the bearer itself; refused, it is forgotten."""
    login = await parts.store.login("any", ACCESS_TOKEN)
    with pytest.raises(CredentialsRevoked):
        await login.renewed(ACCESS_TOKEN)
    assert parts.store.known("any", ACCESS_TOKEN) is None
    assert parts.api.calls("POST /token") == []


async def test_a_forgotten_login_is_refused_everywhere(parts: Bench) -> None:
    """Sessions that hold it see why at their next MAIL; a new AUTH asks the API."""
    login = await logged_in(parts)
    login.forget()
    assert isinstance(login.refusal, CredentialsRevoked)
    assert await error_of(login) is CredentialsRevoked
    with pytest.raises(CredentialsRevoked):
        await login.renewed("bearer-1")
    assert parts.store.known(USER, PASSWORD) is None
    assert parts.cached() == 0
    assert await parts.store.login(USER, PASSWORD) is not login


async def test_forgetting_an_old_login_keeps_its_successor(parts: Bench) -> None:
    """A late 401 of the old one says nothing about the new one."""
    old = await logged_in(parts)
    old.forget()
    new = await parts.store.login(USER, PASSWORD)
    old.forget()
    assert parts.store.known(USER, PASSWORD) is new


async def test_a_login_that_joins_a_refused_renewal_uses_its_password(parts: Bench) -> None:
    """The one fall-back to the password grant (cakemail-api 1.2)."""
    gate = asyncio.Event()
    login = await logged_in(parts, Said(401, b"{}", gate=gate), granted("bearer-2"))
    parts.clock.advance(LIFE - 300)
    parts.api.arrived.clear()
    async with asyncio.TaskGroup() as group:
        renewal = group.create_task(error_of(login))
        await parts.api.arrived.wait()
        entry = group.create_task(parts.store.login(USER, PASSWORD))
        await asyncio.sleep(0)
        gate.set()
    assert renewal.result() is LoginExpired
    assert await entry.result().bearer() == "bearer-2"


async def test_a_renewal_that_joins_a_login_shares_its_token(parts: Bench) -> None:
    """One call for both."""
    gate = asyncio.Event()
    login = await logged_in(parts, Said(200, granted("bearer-2").body, gate=gate))
    parts.clock.advance(LIFE - 300)
    parts.api.arrived.clear()
    async with asyncio.TaskGroup() as group:
        entry = group.create_task(parts.store.login(USER, PASSWORD))
        await parts.api.arrived.wait()
        renewal = group.create_task(login.bearer())
        await asyncio.sleep(0)
        gate.set()
    assert renewal.result() == "bearer-2"
    assert entry.result() is login
    assert len(parts.api.calls("POST /token")) == 2


async def test_a_renewal_that_joins_a_refused_login_ends_it(parts: Bench) -> None:
    """The password is wrong now, so the login is over."""
    gate = asyncio.Event()
    login = await logged_in(parts, Said(401, b"{}", gate=gate))
    parts.clock.advance(LIFE - 300)
    parts.api.arrived.clear()
    async with asyncio.TaskGroup() as group:
        entry = group.create_task(_refused(parts))
        await parts.api.arrived.wait()
        renewal = group.create_task(error_of(login))
        await asyncio.sleep(0)
        gate.set()
    assert entry.result() == "CredentialsInvalid"
    assert renewal.result() is CredentialsRevoked


async def _refused(parts: Bench) -> str:
    with pytest.raises(GatewayError) as caught:
        await parts.store.login(USER, PASSWORD)
    return caught.type.__name__


async def test_a_check_does_not_bring_a_revoked_login_back(parts: Bench) -> None:
    """A standing that arrives late changes nothing."""
    gate = asyncio.Event()
    login = await logged_in(parts)
    parts.api.on("GET /accounts/self", Said(200, account().body, gate=gate))
    parts.clock.advance(300)
    parts.api.arrived.clear()
    async with asyncio.TaskGroup() as group:
        entry = group.create_task(parts.store.login(USER, PASSWORD))
        await parts.api.arrived.wait()
        login.forget()
        gate.set()
    assert isinstance(login.refusal, CredentialsRevoked)
    assert entry.result() is not login
    assert entry.result().refusal is None


async def test_a_renewal_does_not_bring_a_revoked_login_back(parts: Bench) -> None:
    """Its token arrives late, and a new AUTH gets a login of its own."""
    gate = asyncio.Event()
    login = await logged_in(parts, Said(200, granted("bearer-2").body, gate=gate), granted("b-3"))
    parts.clock.advance(LIFE - 300)
    parts.api.arrived.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(login.bearer())
        await parts.api.arrived.wait()
        login.forget()
        gate.set()
    assert isinstance(login.refusal, CredentialsRevoked)
    assert parts.store.known(USER, PASSWORD) is None
    again = await parts.store.login(USER, PASSWORD)
    assert (again.refusal, await again.bearer()) == (None, "b-3")
