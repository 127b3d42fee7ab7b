"""Each row of the table "Look-ups", and the one renewal after a 401."""

from __future__ import annotations

import pytest

from smtp_gateway.api.reader import Reader, Reading, Verdict
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import (
    CredentialsRevoked,
    GatewayError,
    LookupUnavailable,
    Throttled,
)
from tests.support.api_bench import ACCESS_TOKEN, FORBIDDEN, PASSWORD, USER, Bench, granted
from tests.support.api_double import Said, said

PATH = "/lists"
UNAUTHORIZED = said(401, {"detail": [{"msg": "Unauthorized", "type": "unauthorized"}]})


async def logged_in(parts: Bench, *answers: Said) -> tuple[Reader, Login]:
    """A reader, a login, and what the resource will say."""
    parts.api.on("POST /token", granted(), granted("bearer-2"))
    parts.api.on(f"GET {PATH}", *answers)
    return Reader(parts.client, parts.clock), await parts.store.login(USER, PASSWORD)


async def error_of(parts: Bench, *answers: Said) -> GatewayError:
    """The error that these answers become."""
    reader, login = await logged_in(parts, *answers)
    with pytest.raises(GatewayError) as caught:
        await reader.read(login, PATH)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (said(200, {"data": []}), Verdict.FOUND),
        (said(400, FORBIDDEN), Verdict.FORBIDDEN),
        (said(400, {"detail": [{"msg": "x", "code": 8004}]}), Verdict.FORBIDDEN),
        (said(400, {"detail": "Forbidden"}), Verdict.FORBIDDEN),
        (said(403, {"detail": [{"msg": "no", "type": "forbidden"}]}), Verdict.FORBIDDEN),
        (said(403, b"<html>"), Verdict.FORBIDDEN),
        (said(400, {"detail": [{"msg": "Invalid id", "type": "bad_request"}]}), Verdict.ABSENT),
        (said(400, b"<html>"), Verdict.ABSENT),
        (said(404, {"detail": "Not Found"}), Verdict.ABSENT),
    ],
)
async def test_a_definite_answer_is_a_value(parts: Bench, answer: Said, verdict: Verdict) -> None:
    """What it means depends on the question."""
    reader, login = await logged_in(parts, answer)
    assert (await reader.read(login, PATH)).verdict is verdict


@pytest.mark.parametrize(
    "answer",
    [said(500, {}), said(502, b"<html>"), said(503, b""), said(504, b""), said(402, {}),
     said(405, {}), said(408, {}), said(409, {}), said(413, b""), said(422, {"detail": []}),
     said(201, {}), said(204), said(302, b"", location="/x"), said(200, b"<html>"),
     said(200, b"[]"), said(200, b'{"data":'), Said(resets=True), Said(200, is_endless=True)],
)  # fmt: skip
async def test_every_other_answer_is_temporary(parts: Bench, answer: Said) -> None:
    """Nothing was sent, so nothing is ambiguous."""
    assert type(await error_of(parts, answer)) is LookupUnavailable


async def test_no_answer_is_temporary(parts: Bench) -> None:
    """An API that is down is no different."""
    reader, login = await logged_in(parts)
    await parts.api.stop()
    with pytest.raises(LookupUnavailable):
        await reader.read(login, PATH)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [({}, 0.0), ({"retry_after": "17"}, 17.0), ({"retry_after": "soon"}, 0.0),
     ({"retry_after": "Mon, 12 Jan 1970 13:47:10 GMT"}, 30.0)],
)  # fmt: skip
async def test_throttling_tells_for_how_long(
    parts: Bench, header: dict[str, str], seconds: float
) -> None:
    """In seconds or as a date, 0 when it is not told."""
    error = await error_of(parts, said(429, {"detail": "slow down"}, **header))
    assert type(error) is Throttled
    assert error.facts == {"seconds": seconds}


async def test_a_refused_bearer_is_renewed_once(parts: Bench) -> None:
    """The call is repeated with the new one."""
    reader, login = await logged_in(parts, UNAUTHORIZED, said(200, {"data": [1]}))
    assert (await reader.read(login, PATH)).document == {"data": [1]}
    assert [call.bearer for call in parts.api.calls("GET /lists")] == ["bearer-1", "bearer-2"]


async def test_refused_again_ends_the_login(parts: Bench) -> None:
    """A third call would be refused too."""
    error = await error_of(parts, UNAUTHORIZED)
    assert type(error) is CredentialsRevoked
    assert len(parts.api.calls("GET /lists")) == 2
    assert parts.store.known(USER, PASSWORD) is None


async def test_a_refused_access_token_ends_the_login(parts: Bench) -> None:
    """There is nothing to renew it with."""
    parts.api.on("GET /lists", UNAUTHORIZED)
    login = await parts.store.login("any", ACCESS_TOKEN)
    with pytest.raises(CredentialsRevoked):
        await Reader(parts.client, parts.clock).read(login, PATH)
    assert len(parts.api.calls("GET /lists")) == 1


@pytest.mark.parametrize(
    ("account", "query"), [(None, {"page": "2"}), (8, {"page": "2", "account_id": "8"})]
)
async def test_the_account_is_named_only_when_selected(
    parts: Bench, account: int | None, query: dict[str, str]
) -> None:
    """Without it a call acts in the login's own account."""
    reader, login = await logged_in(parts, said(200, {}))
    await reader.read(login, PATH, account=account, page=2)
    assert parts.api.calls("GET /lists")[0].query == query


async def test_an_unreadable_success_is_counted(parts: Bench) -> None:
    """Beside the call's own success."""
    await error_of(parts, said(200, b"<html>"))
    assert parts.errors("unreadable") == 1


@pytest.mark.parametrize("verdict", [Verdict.ABSENT, Verdict.FORBIDDEN])
def test_what_must_be_there_and_is_not_is_temporary(verdict: Verdict) -> None:
    """A route that is missing is no statement about a mail."""
    with pytest.raises(LookupUnavailable, match="status 404"):
        Reading(verdict, {}, "status 404").require()
