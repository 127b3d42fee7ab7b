"""Logging in: every row of the table AUTH, the caches, single flight and the limits."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

import pytest

from smtp_gateway.api.tokens import CredentialStore, Login
from smtp_gateway.errors import (
    AuthenticationUnavailable,
    CredentialsInvalid,
    CredentialsRevoked,
    GatewayError,
    MultiFactorRequired,
    NotPermitted,
)
from tests.support.api_bench import (
    ACCESS_TOKEN,
    FORBIDDEN,
    PASSWORD,
    USER,
    Bench,
    account,
    bench,
    granted,
    jwt,
)
from tests.support.api_double import Said, said

REFUSED = said(401, {"detail": [{"msg": "Unauthorized", "type": "unauthorized"}]})


async def refusal_of(
    parts: Bench, username: str = USER, password: str = PASSWORD
) -> type[GatewayError]:
    """The class of the error that a login meets."""
    with pytest.raises(GatewayError) as caught:
        await parts.store.login(username, password)
    return caught.type


async def test_a_password_login_is_a_password_grant(parts: Bench) -> None:
    """User name and password as given; account and reach from the answer."""
    parts.api.on("POST /token", granted(jwt(account_id=7), accounts=[7, 8]))
    login = await parts.store.login(USER, PASSWORD)
    (call,) = parts.api.calls("POST /token")
    assert call.form == {"grant_type": "password", "username": USER, "password": PASSWORD}
    assert await login.bearer() == jwt(account_id=7)
    assert login.own_account_id == 7
    assert login.reachable_accounts == {7, 8}
    assert login.refusal is None
    assert not login.is_access_token


@pytest.mark.parametrize("password", ["a+b&c=d%e", "pässwörd €", " space ", "日本語"])
async def test_passwords_travel_unchanged(parts: Bench, password: str) -> None:
    """Whatever the form's encoding gives a meaning to."""
    await parts.store.login(USER, password)
    assert parts.api.calls("POST /token")[0].form["password"] == password


@pytest.mark.parametrize("username", ["a+b&c=d@example.test", "jörg@bücher.test", "A@B"])
async def test_user_names_travel_unchanged(parts: Bench, username: str) -> None:
    """The form of an address is all that is asked of them."""
    await parts.store.login(username, PASSWORD)
    assert parts.api.calls("POST /token")[0].form["username"] == username


@pytest.mark.parametrize(
    "username",
    ["", "apikey", "resend", "SMTP_Injection", "@example.test", "a@", "a b@example.test",
     "a@b@c", "a@x\r\n", "<a@b.test>", "x" * 255 + "@b.test"],
)  # fmt: skip
async def test_other_user_names_are_refused_without_a_call(parts: Bench, username: str) -> None:
    """Such a login belongs to another provider."""
    assert await refusal_of(parts, username) is CredentialsInvalid
    assert parts.api.seen == []


@pytest.mark.parametrize(
    ("username", "password"),
    [(USER, "a\0b"), ("a\0b@c.test", "p"), (USER, "\udcff"), (USER, "ck_pat_a b"),
     (USER, "ck_pat_a\r\nX: y"), (USER, "ck_pat_ä")],
)  # fmt: skip
async def test_what_cannot_be_sent_is_refused_without_a_call(
    parts: Bench, username: str, password: str
) -> None:
    """NUL separates the two in the cache's key; a header field has no place for a line end."""
    assert await refusal_of(parts, username, password) is CredentialsInvalid
    assert parts.store.known(username, password) is None
    assert parts.api.seen == []


TOKEN_ROWS: list[tuple[Said, type[GatewayError]]] = [
    (said(200, {"challenge": "c"}), MultiFactorRequired),
    (said(401, {"challenge": "c"}), MultiFactorRequired),
    (said(400, {"detail": [{"msg": "no", "type": "bad_request"}]}), CredentialsInvalid),
    (REFUSED, CredentialsInvalid),
    (said(403, {"detail": "no"}), CredentialsInvalid),
    (said(422, {"detail": []}), CredentialsInvalid),
    (said(429, {"detail": "slow"}, retry_after="1"), AuthenticationUnavailable),
    (said(500, {"detail": [{"msg": "oops"}]}), AuthenticationUnavailable),
    (said(502, b"<html>"), AuthenticationUnavailable),
    (said(503, b""), AuthenticationUnavailable),
    (said(504, b""), AuthenticationUnavailable),
    (said(404, {"detail": "Not Found"}), AuthenticationUnavailable),
    (said(307, b"", location="/elsewhere"), AuthenticationUnavailable),
    (said(200, b"<html>"), AuthenticationUnavailable),
    (said(200, b'{"access_'), AuthenticationUnavailable),
    (Said(resets=True), AuthenticationUnavailable),
    (Said(200, is_endless=True), AuthenticationUnavailable),
]


@pytest.mark.parametrize(("answer", "error"), TOKEN_ROWS)
async def test_the_token_service_decides(
    parts: Bench, answer: Said, error: type[GatewayError]
) -> None:
    """The table AUTH of cakemail-api 7.6; only a clear no is a wrong password."""
    parts.api.on("POST /token", answer)
    assert await refusal_of(parts) is error


async def test_an_api_that_is_down_refuses_nobody(parts: Bench) -> None:
    """It is a temporary failure."""
    await parts.api.stop()
    assert await refusal_of(parts) is AuthenticationUnavailable
    assert await refusal_of(parts, password=ACCESS_TOKEN) is AuthenticationUnavailable


@pytest.mark.parametrize("password", [PASSWORD, ACCESS_TOKEN])
async def test_a_login_ends_within_its_limit(password: str) -> None:
    """A silent API is a temporary failure."""
    async with bench(login_seconds=0.1) as parts:
        parts.api.on("POST /token", Said(gate=asyncio.Event()))
        parts.api.on("GET /accounts/self", Said(gate=asyncio.Event()))
        assert await refusal_of(parts, password=password) is AuthenticationUnavailable


async def test_an_unreadable_grant_is_counted(parts: Bench) -> None:
    """As ``unreadable``, beside the call's own success."""
    parts.api.on("POST /token", said(200, {"token": "x"}))
    await refusal_of(parts)
    assert parts.errors("unreadable") == 1


async def test_a_second_login_comes_from_the_cache(parts: Bench) -> None:
    """A call per session would rule the latency."""
    first = await parts.store.login(USER, PASSWORD)
    assert await parts.store.login(USER, PASSWORD) is first
    assert [call.name for call in parts.api.seen] == ["POST /token", "GET /accounts/self"]
    assert parts.cached() == 1


@pytest.mark.trap(2)
async def test_trap_2_another_password_for_a_known_user_is_asked_for(parts: Bench) -> None:
    """The user name alone never gives access."""
    parts.api.on("POST /token", granted(), REFUSED)
    await parts.store.login(USER, PASSWORD)
    assert await refusal_of(parts, password="wrong") is CredentialsInvalid
    assert len(parts.api.calls("POST /token")) == 2


async def test_a_refused_login_is_not_asked_again_for_a_minute(parts: Bench) -> None:
    """A client with a wrong password repeats it for hours."""
    parts.api.on("POST /token", REFUSED, granted())
    for _ in range(3):
        assert await refusal_of(parts) is CredentialsInvalid
    parts.clock.advance(59)
    assert await refusal_of(parts) is CredentialsInvalid
    assert len(parts.api.calls("POST /token")) == 1
    parts.clock.advance(1)
    await parts.store.login(USER, PASSWORD)


async def test_a_second_factor_is_not_asked_for_again_for_a_minute(parts: Bench) -> None:
    """A refusal with its reason is a refusal."""
    parts.api.on("POST /token", said(401, {"challenge": "c"}))
    assert await refusal_of(parts) is MultiFactorRequired
    assert await refusal_of(parts) is MultiFactorRequired
    assert len(parts.api.calls("POST /token")) == 1


async def test_a_temporary_failure_is_not_remembered(parts: Bench) -> None:
    """The next login asks again at once."""
    parts.api.on("POST /token", said(503, b""), granted())
    assert await refusal_of(parts) is AuthenticationUnavailable
    await parts.store.login(USER, PASSWORD)


async def test_a_hundred_logins_at_once_are_one_call(parts: Bench) -> None:
    """Single flight, and all get the same login."""
    logins = await asyncio.gather(*(parts.store.login(USER, PASSWORD) for _ in range(100)))
    assert len({id(login) for login in logins}) == 1
    assert [call.name for call in parts.api.seen] == ["POST /token", "GET /accounts/self"]


async def test_a_client_that_leaves_does_not_end_the_login_of_others(parts: Bench) -> None:
    """The call belongs to no session."""
    gate = asyncio.Event()
    parts.api.on("POST /token", Said(200, granted().body, gate=gate))
    async with asyncio.TaskGroup() as group:
        leaves = group.create_task(parts.store.login(USER, PASSWORD))
        stays = group.create_task(parts.store.login(USER, PASSWORD))
        await parts.api.arrived.wait()
        leaves.cancel()
        gate.set()
    assert await stays.result().bearer() == "bearer-1"
    assert len(parts.api.calls("POST /token")) == 1


async def test_known_tells_only_of_good_credentials(parts: Bench) -> None:
    """The lock-out asks it, without any call."""
    assert parts.store.known(USER, PASSWORD) is None
    login = await parts.store.login(USER, PASSWORD)
    calls = len(parts.api.seen)
    assert parts.store.known(USER, PASSWORD) is login
    assert parts.store.known(USER, "wrong") is None
    assert parts.store.known("other@example.test", PASSWORD) is None
    parts.clock.advance(432_000 - 300)
    assert parts.store.known(USER, PASSWORD) is None
    assert len(parts.api.seen) == calls


async def test_keys_differ_between_processes(parts: Bench) -> None:
    """The hash is keyed by a secret that nobody has."""
    other = CredentialStore(parts.client, parts.clock, parts.metrics, parts.tasks)
    first = await parts.store.login(USER, PASSWORD)
    second = await other.login(USER, PASSWORD)
    assert len(first.key) == 32
    assert first.key != second.key


async def test_the_cache_is_bounded() -> None:
    """The least recently used leaves, and its next login is a call."""
    async with bench(capacity=2) as parts:
        for name in ("a", "b", "c"):
            await parts.store.login(f"{name}@example.test", PASSWORD)
        assert parts.cached() == 2
        assert parts.store.known("a@example.test", PASSWORD) is None
        assert parts.store.known("c@example.test", PASSWORD) is not None


async def test_a_token_near_its_end_is_granted_anew(parts: Bench) -> None:
    """Five minutes before the end the password is asked about again; sessions share the token."""
    parts.api.on("POST /token", granted("old"), granted("new", "refresh-2"))
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(432_000 - 301)
    assert await login.bearer() == "old"
    parts.clock.advance(1)
    assert await parts.store.login(USER, PASSWORD) is login
    assert await login.bearer() == "new"
    assert [c.form["grant_type"] for c in parts.api.calls("POST /token")] == ["password"] * 2


async def test_a_password_that_was_changed_ends_the_login(parts: Bench) -> None:
    """The sessions that still use it are told at their next message."""
    parts.api.on("POST /token", granted(), REFUSED)
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(432_000 - 300)
    assert await refusal_of(parts) is CredentialsInvalid
    with pytest.raises(GatewayError, match="forgotten"):
        await login.bearer()
    assert parts.cached() == 0


# The account's standing


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (account("suspended"), "the account is suspended"),
        (account("suspended_by_partner"), "the account is suspended by its partner"),
        (account("deleted"), "the account is deleted"),
        (account(use_email_api=False), "the account may not use the Email API"),
    ],
)
async def test_an_account_that_may_not_send_is_refused_later(
    parts: Bench, answer: Said, reason: str
) -> None:
    """The login is right; the reason is told at MAIL."""
    parts.api.on("GET /accounts/self", answer)
    for password in (PASSWORD, ACCESS_TOKEN):
        login = await parts.store.login(USER, password)
        assert isinstance(login.refusal, NotPermitted)
        assert login.refusal.facts == {"reason": reason}


@pytest.mark.parametrize(
    "answer",
    [said(400, FORBIDDEN), said(401, {}), said(403, {}), said(404, {}), said(429, {}),
     said(500, {}), said(200, b"<html>"), Said(resets=True)],
)  # fmt: skip
async def test_an_unreadable_account_refuses_no_password_login(parts: Bench, answer: Said) -> None:
    """The send will tell."""
    parts.api.on("GET /accounts/self", answer)
    login = await parts.store.login(USER, PASSWORD)
    assert login.refusal is None
    assert await login.bearer() == "bearer-1"


async def test_a_silent_account_resource_refuses_no_password_login() -> None:
    """What is left of the limit is kept for the answer."""
    async with bench(login_seconds=0.8) as parts:
        parts.api.on("GET /accounts/self", Said(gate=asyncio.Event()))
        assert (await parts.store.login(USER, PASSWORD)).refusal is None


async def test_the_account_is_asked_about_once_in_five_minutes(parts: Bench) -> None:
    """A suspension that was lifted is noticed at a later login, without a new token."""
    parts.api.on("GET /accounts/self", account("suspended"), account("active"))
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(299)
    refusals = [(await parts.store.login(USER, PASSWORD)).refusal]
    parts.clock.advance(1)
    refusals.append((await parts.store.login(USER, PASSWORD)).refusal)
    assert [type(refusal) for refusal in refusals] == [NotPermitted, type(None)]
    assert login.refusal is None
    assert len(parts.api.calls("POST /token")) == 1
    assert len(parts.api.calls("GET /accounts/self")) == 2


async def test_an_outage_leaves_the_standing_as_it_was(parts: Bench) -> None:
    """And costs a known login one question a minute, no more."""
    parts.api.on("GET /accounts/self", account("suspended"), said(503, b""))
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(300)
    for _ in range(3):
        assert await parts.store.login(USER, PASSWORD) is login
    assert login.refusal is not None
    assert len(parts.api.calls("GET /accounts/self")) == 2
    parts.clock.advance(60)
    await parts.store.login(USER, PASSWORD)
    assert len(parts.api.calls("GET /accounts/self")) == 3


async def test_a_bearer_refused_at_the_check_is_granted_anew(parts: Bench) -> None:
    """The password is at hand, so the login need not fail at its first message."""
    parts.api.on("POST /token", granted("old"), granted("new"))
    parts.api.on("GET /accounts/self", account(), said(401, {}), account())
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(300)
    await parts.store.login(USER, PASSWORD)
    assert await login.bearer() == "new"


# Access tokens


@pytest.mark.parametrize("username", ["", "apikey", USER, ACCESS_TOKEN, "SMTP_Injection"])
async def test_an_access_token_is_the_bearer_for_any_user_name(parts: Bench, username: str) -> None:
    """It is proved by the account resource; the token service is not asked."""
    login = await parts.store.login(username, ACCESS_TOKEN)
    assert login.is_access_token
    assert await login.bearer() == ACCESS_TOKEN
    assert login.own_account_id == 7
    assert [call.name for call in parts.api.seen] == ["GET /accounts/self"]
    assert parts.api.seen[0].bearer == ACCESS_TOKEN


@pytest.mark.parametrize("answer", [said(400, FORBIDDEN), said(403, {}), said(404, {})])
async def test_a_narrow_access_token_is_accepted(parts: Bench, answer: Said) -> None:
    """It may not read accounts; the send will tell."""
    parts.api.on("GET /accounts/self", answer)
    login = await parts.store.login("any", ACCESS_TOKEN)
    assert login.own_account_id is None
    assert await parts.store.login("any", ACCESS_TOKEN) is login
    assert len(parts.api.seen) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(401, {}), CredentialsInvalid),
        (said(402, {}), AuthenticationUnavailable),
        (said(422, {}), AuthenticationUnavailable),
        (said(429, {}), AuthenticationUnavailable),
        (said(500, {}), AuthenticationUnavailable),
        (said(503, b""), AuthenticationUnavailable),
        (said(302, b"", location="/x"), AuthenticationUnavailable),
        (Said(resets=True), AuthenticationUnavailable),
    ],
)
async def test_other_answers_to_an_access_token(
    parts: Bench, answer: Said, error: type[GatewayError]
) -> None:
    """The proof of cakemail-api 1.3."""
    parts.api.on("GET /accounts/self", answer)
    assert await refusal_of(parts, "any", ACCESS_TOKEN) is error


async def test_a_refused_access_token_is_not_asked_about_for_a_minute(parts: Bench) -> None:
    """As with passwords."""
    parts.api.on("GET /accounts/self", said(401, {}))
    await refusal_of(parts, "any", ACCESS_TOKEN)
    await refusal_of(parts, "any", ACCESS_TOKEN)
    assert len(parts.api.seen) == 1


async def test_an_access_token_is_proved_again_after_five_minutes(parts: Bench) -> None:
    """One that was withdrawn stops logging in, and its sessions stop sending."""
    parts.api.on("GET /accounts/self", account(), said(401, {}))
    login = await parts.store.login("any", ACCESS_TOKEN)
    parts.clock.advance(300)
    assert await refusal_of(parts, "any", ACCESS_TOKEN) is CredentialsInvalid
    assert parts.store.known("any", ACCESS_TOKEN) is None
    with pytest.raises(GatewayError, match="forgotten"):
        await login.bearer()


# Secrets


async def test_no_secret_shows(parts: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a log at any level, in what a login prints as, nor in an error's traceback."""
    caplog.set_level(logging.DEBUG)
    parts.api.on("POST /token", granted("hush-bearer", "hush-refresh"), REFUSED)
    good, wrong = "hush-password", "hush-other"
    login: Any = await parts.store.login(USER, good)
    with pytest.raises(CredentialsInvalid) as caught:
        await parts.store.login(USER, wrong)
    shown = [caplog.text, repr(login), str(login), *traceback.format_exception(caught.value)]
    assert [text for text in shown if "hush" in text or "shop@" in text] == []


async def test_a_login_fits_its_protocol(parts: Bench) -> None:
    """What the other layers are typed against."""
    login: Login = await parts.store.login(USER, PASSWORD)
    assert login.key == (await parts.store.login(USER, PASSWORD)).key


async def test_a_password_is_believed_for_as_long_as_set(parts: Bench) -> None:
    """Then it is asked about again; sessions keep the login, and share the new token."""
    parts.api.on("POST /token", granted("old"), granted("new", "refresh-2"))
    parts.store.believed_seconds = 3600
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(3599)
    assert parts.store.known(USER, PASSWORD) is login
    parts.clock.advance(1)
    assert parts.store.known(USER, PASSWORD) is None
    assert await login.bearer() == "old"
    assert await parts.store.login(USER, PASSWORD) is login
    assert parts.store.known(USER, PASSWORD) is login
    assert await login.bearer() == "new"
    assert [c.form["grant_type"] for c in parts.api.calls("POST /token")] == ["password"] * 2


async def test_a_renewal_makes_no_password_younger(parts: Bench) -> None:
    """A refresh token says nothing about the password that began it."""
    parts.store.believed_seconds = 432_000
    login = await parts.store.login(USER, PASSWORD)
    parts.clock.advance(432_000 - 200)
    assert await login.bearer() == "bearer-1"
    assert parts.store.known(USER, PASSWORD) is login
    parts.clock.advance(200)
    assert parts.store.known(USER, PASSWORD) is None


async def test_a_password_that_is_never_believed_is_asked_about_each_time(parts: Bench) -> None:
    """And one that was changed meanwhile ends the sessions that it began."""
    parts.store.believed_seconds = 0
    parts.api.on("POST /token", granted(), granted(), REFUSED)
    login = await parts.store.login(USER, PASSWORD)
    assert parts.store.known(USER, PASSWORD) is None
    assert await parts.store.login(USER, PASSWORD) is login
    assert await refusal_of(parts) is CredentialsInvalid
    with pytest.raises(CredentialsRevoked):
        await login.bearer()


async def test_an_access_token_is_proved_again_when_it_is_no_longer_believed(parts: Bench) -> None:
    """By a call with it, as at the first time."""
    parts.store.believed_seconds = 60
    await parts.store.login("apikey", "ck_pat_x")
    parts.clock.advance(59)
    await parts.store.login("apikey", "ck_pat_x")
    assert len(parts.api.calls("GET /accounts/self")) == 1
    parts.clock.advance(1)
    await parts.store.login("apikey", "ck_pat_x")
    assert len(parts.api.calls("GET /accounts/self")) == 2
