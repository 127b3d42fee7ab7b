"""The API's log after an unclear answer: found, not found, or not to be known."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import GatewayError, LookupUnavailable, NotPermitted, Throttled
from tests.support.api_bench import FORBIDDEN, PASSWORD, USER, Bench
from tests.support.api_double import Said, said

LOG = "GET /logs/emails-summary"
RECIPIENT = "a+b@example.test"
MESSAGE_ID = "<m1@client.test>"
NOW = 1_700_000_000.0
IDS = [f"0b5a8c1e-6a3f-4a8e-9d55-2f1f0c7c9a{n:02d}" for n in range(60)]


def row(number: int, status: str = "queued", submitted: int = int(NOW)) -> dict[str, Any]:
    """A row of the summary."""
    return {"email_id": IDS[number], "status": status, "submitted_time": submitted}


def rows(*found: Any, has_more: bool = False) -> Said:
    """One page of the summary."""
    pagination = {"page": 1, "per_page": 50, "has_more": has_more}
    return said(200, {"pagination": pagination, "data": list(found)})


def mail(message_id: str, *, name: str = "Message-ID", status: str = "delivered") -> Said:
    """A stored mail."""
    headers = [{"name": "Reply-To", "value": "x@y.test"}, {"name": name, "value": message_id}]
    return said(200, {"email_id": IDS[0], "status": status, "additional_headers": headers})


async def logged_in(parts: Bench, *pages: Said, **mails: Said) -> Login:
    """A login with this log; ``m0`` is the mail of the first row."""
    parts.api.on(LOG, *pages)
    for name, answer in mails.items():
        parts.api.on(f"GET /v2/emails/{IDS[int(name[1:])]}", answer)
    return await parts.store.login(USER, PASSWORD)


async def found(parts: Bench, login: Login, account: int | None = None) -> str | None:
    """What the log says."""
    return await parts.lookups.find_submitted(login, account, RECIPIENT, MESSAGE_ID, NOW)


async def test_the_mail_with_the_message_id_is_found(parts: Bench) -> None:
    """Among other mails to the same address."""
    login = await logged_in(
        parts, rows(row(0), row(1), row(2)), m0=mail("<m0@client.test>"), m1=mail(MESSAGE_ID)
    )
    assert await found(parts, login, 8) == IDS[1]
    (call,) = parts.api.calls(LOG)
    assert call.query == {
        "email": RECIPIENT,
        "start_time": "1699999940",
        "page": "1",
        "per_page": "50",
        "sort": "+submitted_time",
        "account_id": "8",
    }
    assert parts.api.seen[-1].query == {"account_id": "8"}


@pytest.mark.parametrize("name", ["message-id", "MESSAGE-ID", "Message-Id"])
async def test_header_names_are_without_case(parts: Bench, name: str) -> None:
    """RFC 5322 1.2.2; and space around the value is none of it."""
    login = await logged_in(parts, rows(row(0)), m0=mail(f" {MESSAGE_ID} ", name=name))
    assert await found(parts, login) == IDS[0]


@pytest.mark.parametrize(
    "answer",
    [
        mail("<M1@client.test>"),
        mail(MESSAGE_ID, name="In-Reply-To"),
        said(200, {"status": "queued"}),
        said(200, {"status": "queued", "additional_headers": None}),
        said(200, {"additional_headers": ["x", {"name": 1}, {"name": "message-id"}]}),
        mail(MESSAGE_ID, status="rejected"),
        mail(MESSAGE_ID, status="error"),
    ],
)
async def test_another_mail_is_not_it(parts: Bench, answer: Said) -> None:
    """Nor is one that the API has given up: it was not accepted."""
    login = await logged_in(parts, rows(row(0)), m0=answer)
    assert await found(parts, login) is None


async def test_an_empty_log_holds_nothing(parts: Bench) -> None:
    """Definitely."""
    assert await found(parts, await logged_in(parts, rows())) is None


async def test_rows_that_cannot_be_it_are_not_opened(parts: Bench) -> None:
    """Given up by the API, or submitted an hour after the attempt."""
    login = await logged_in(
        parts, rows(row(0, "rejected"), row(1, "error"), row(2, submitted=int(NOW) + 3_601), "x")
    )
    assert await found(parts, login) is None
    assert [call for call in parts.api.seen if call.name.startswith("GET /v2")] == []


async def test_the_next_page_is_read(parts: Bench) -> None:
    """As long as the API says that there is more."""
    login = await logged_in(parts, rows(has_more=True), rows(row(0)), m0=mail(MESSAGE_ID))
    assert await found(parts, login) == IDS[0]
    assert [call.query["page"] for call in parts.api.calls(LOG)] == ["1", "2"]


async def test_a_log_without_end_is_not_an_absence(parts: Bench) -> None:
    """What was not read may be the mail."""
    login = await logged_in(parts, rows(has_more=True))
    with pytest.raises(LookupUnavailable):
        await found(parts, login)
    assert len(parts.api.calls(LOG)) == 2


async def test_without_a_word_about_more_a_full_page_is_followed(parts: Bench) -> None:
    """And a page that is not full is the last one."""
    late = [row(n, submitted=int(NOW) + 9_999) for n in range(50)]
    login = await logged_in(parts, said(200, {"data": late}), said(200, {"data": []}))
    assert await found(parts, login) is None
    assert len(parts.api.calls(LOG)) == 2


@pytest.mark.parametrize("answer", [said(403, {}), said(400, FORBIDDEN)])
async def test_a_log_that_may_not_be_read_is_said_so(parts: Bench, answer: Said) -> None:
    """The caller decides what that means for the mail."""
    login = await logged_in(parts, answer)
    with pytest.raises(NotPermitted):
        await found(parts, login)
    login = await logged_in(parts, rows(row(0)), m0=answer)
    with pytest.raises(NotPermitted):
        await found(parts, login)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(500, {}), LookupUnavailable),
        (said(404, {}), LookupUnavailable),
        (said(400, {"detail": [{"msg": "no"}]}), LookupUnavailable),
        (said(200, {}), LookupUnavailable),
        (said(200, b"<html>"), LookupUnavailable),
        (Said(resets=True), LookupUnavailable),
        (rows({"email_id": "../../x"}), LookupUnavailable),
        (rows({"email_id": None}), LookupUnavailable),
        (said(429, {}), Throttled),
    ],
)
async def test_a_log_that_cannot_be_read_is_temporary(
    parts: Bench, answer: Said, error: type[GatewayError]
) -> None:
    """It is no absence."""
    login = await logged_in(parts, answer)
    with pytest.raises(GatewayError) as caught:
        await found(parts, login)
    assert caught.type is error


@pytest.mark.parametrize(
    "answer", [said(404, {}), said(500, {}), said(200, {"additional_headers": "x"})]
)
async def test_a_mail_that_cannot_be_read_is_temporary(parts: Bench, answer: Said) -> None:
    """It may be the one."""
    login = await logged_in(parts, rows(row(0)), m0=answer)
    with pytest.raises(LookupUnavailable):
        await found(parts, login)


@pytest.mark.parametrize(
    ("recipient", "asked"),
    [("!=a@x.test", "==!=a@x.test"), ("~~a@x.test", "==~~a@x.test"), ("=a@x.test", "=a@x.test")],
)
async def test_an_address_is_no_operator(parts: Bench, recipient: str, asked: str) -> None:
    """A local part may begin with what the parameter takes for one."""
    login = await logged_in(parts, rows())
    await parts.lookups.find_submitted(login, None, recipient, MESSAGE_ID, NOW)
    assert parts.api.calls(LOG)[0].query["email"] == asked


@pytest.mark.parametrize(("since", "start"), [(0.0, "1"), (60.0, "1"), (1e12, "2147483647")])
async def test_the_start_stays_within_the_parameters_bounds(
    parts: Bench, since: float, start: str
) -> None:
    """A clock that is wrong is no reason for a 422."""
    login = await logged_in(parts, rows())
    await parts.lookups.find_submitted(login, None, RECIPIENT, MESSAGE_ID, since)
    assert parts.api.calls(LOG)[0].query["start_time"] == start


async def test_a_long_stored_mail_is_read_whole(parts: Bench) -> None:
    """It repeats its header section, which may be far over the 64 KiB of a refusal."""
    headers = [{"name": f"X-{n}", "value": "v" * 900} for n in range(200)]
    headers.append({"name": "Message-ID", "value": MESSAGE_ID})
    login = await logged_in(parts, rows(row(0)), m0=said(200, {"additional_headers": headers}))
    assert await found(parts, login) == IDS[0]
