"""``POST /v2/emails``, the look-up and the log, over a real socket."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.cakemail_sandbox.conftest import as_bearer, bearer_of
from tests.cakemail_sandbox.mails import MESSAGE_ID, attachment, content, mail
from tests.support.sandbox import (
    FULL_TOKEN,
    LIST_ID,
    OPTED_OUT_RECIPIENT,
    SEND_ONLY_TOKEN,
    SENDER_ID,
    SUSPENDED_USERNAME,
    UNCONFIRMED_SENDER_ID,
    WITHOUT_API_USERNAME,
    WITHOUT_QUOTA_USERNAME,
    Sandbox,
)

PAGE = "<p>Hello</p>"


def message(answer: httpx.Response) -> tuple[int, str]:
    """Status and first message of a refusal."""
    return answer.status_code, answer.json()["detail"][0]["msg"]


def test_a_mail_is_queued(api: httpx.Client) -> None:
    """The documented answer, with a new id."""
    answer = api.post("/v2/emails", json=mail())

    body = answer.json()
    assert answer.status_code == 201
    assert (body["email"], body["object"], body["submitted"]) == ("bob@example.org", "email", True)
    assert body["data"]["status"] == "queued"
    assert uuid.UUID(body["data"]["id"]).version == 4


def test_every_answer_has_a_request_id(api: httpx.Client) -> None:
    """Which a client may log."""
    ids = {api.post("/v2/emails", json=mail()).headers["x-request-id"] for _ in range(2)}

    assert len(ids) == 2


# Each change makes the mail unacceptable at the place beside it.
@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"sender": None}, ["sender"]),
        ({"sender": {"name": "No id"}}, ["sender", "id"]),
        ({"sender": {"id": ""}}, ["sender", "id"]),
        ({"sender": {"id": SENDER_ID, "name": ""}}, ["sender", "name"]),
        ({"sender": {"id": 31}}, ["sender", "id"]),
        ({"content": None}, ["content"]),
        ({"content": content(text="x", subject="")}, ["content", "subject"]),
        ({"content": content(text="x", subject=None)}, ["content", "subject"]),
        ({"content": content(text="x", type=None)}, ["content", "type"]),
        ({"content": content(text="x", type="bulk")}, ["content", "type"]),
        ({"content": content(text="")}, ["content", "text"]),
        ({"content": content(html="")}, ["content", "html"]),
        ({"content": content()}, ["content"]),
        ({"content": content(text="x", encoding="latin1")}, ["content", "encoding"]),
        ({"content": content(template={})}, ["content", "template", "id"]),
        (
            {"content": content(text="x", custom_attributes=[{"name": "", "value": "x"}])},
            ["content", "custom_attributes", 0, "name"],
        ),
        ({"email": None}, ["email"]),
        ({"email": "bob"}, ["email"]),
        ({"email": "bob@localhost"}, ["email"]),
        ({"email": "Bob <bob@example.org>"}, ["email"]),
        ({"email": "bob@example.org\n"}, ["email"]),
        ({"email": "bøb@example.org"}, ["email"]),
        ({"list_id": 0}, ["list_id"]),
        ({"list_id": "2001"}, ["list_id"]),
        ({"list_id": 2001.0}, ["list_id"]),
        ({"list_id": True}, ["list_id"]),
        ({"tags": ["two words"]}, ["tags", 0]),
        ({"tags": ["fine", "x" * 256]}, ["tags", 1]),
        ({"tags": ["line\n"]}, ["tags", 0]),
        ({"tracking": {"opens": "no"}}, ["tracking", "opens"]),
        ({"additional_headers": [{"name": "X-A"}]}, ["additional_headers", 0, "value"]),
        (
            {"additional_headers": [{"name": "Bcc", "value": "x@example.org"}]},
            ["additional_headers", 0, "name"],
        ),
        ({"attachment": [attachment(filename="photo.jpg")]}, ["attachment", 0, "filename"]),
        ({"attachment": [attachment(filename="my invoice.pdf")]}, ["attachment", 0, "filename"]),
        ({"attachment": [attachment(filename="a.b.pdf")]}, ["attachment", 0, "filename"]),
        ({"attachment": attachment(filename="INVOICE.PDF")}, ["attachment", "filename"]),
        ({"attachment": [attachment(), attachment(type="zip")]}, ["attachment", 1, "type"]),
        ({"attachment": [attachment(content="JVBERi0xLjQK\n")]}, ["attachment", 0, "content"]),
        ({"attachment": [attachment(content="JVBERi0xLjQ")]}, ["attachment", 0, "content"]),
    ],
    ids=repr,
)
def test_what_the_contract_forbids_is_unacceptable(
    api: httpx.Client, changes: dict[str, Any], place: list[str | int]
) -> None:
    """422, and ``loc`` names the place."""
    answer = api.post("/v2/emails", json=mail(**changes))

    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["detail"]] == [["body", *place]]


# Each of these is acceptable, however unusual it looks.
@pytest.mark.parametrize(
    "changes",
    [
        {"list_id": None},
        {"tags": ["a", "A-1_z"]},
        {"tags": []},
        {"content": content(html=PAGE, text="Hello")},
        {"content": content(template={"id": 7})},
        {"content": content(text=" ")},
        {"content": content(text="x", type="marketing", encoding=None)},
        {"attachment": attachment()},
        {"attachment": [attachment(), attachment(filename="a.ics", type="calendar")]},
        {"attachment": []},
        {"attachment": [attachment(content="")]},
        {"sender": {"id": SENDER_ID}},
        {"email": '"quoted local"@example.org'},
        {"something_new": {"unknown": 1}},
    ],
    ids=repr,
)
def test_what_the_contract_allows_is_queued(api: httpx.Client, changes: dict[str, Any]) -> None:
    """201."""
    answer = api.post("/v2/emails", json=mail(**changes))

    assert (answer.status_code, answer.json()["data"]["status"]) == (201, "queued")


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"{", "application/json", 422),
        (b'{"list_id": NaN}', "application/json", 422),
        (b'"\xc3("', "application/json", 400),
        (b"[]", "application/json", 422),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 422),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    api: httpx.Client, body: bytes, media_type: str, status: int
) -> None:
    """Never a 500, whatever comes."""
    answer = api.post("/v2/emails", content=body, headers={"content-type": media_type})

    assert answer.status_code == status


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sender": {"id": UNCONFIRMED_SENDER_ID}}, "Sender is not confirmed"),
        ({"sender": {"id": "71"}}, "Sender not found"),
        ({"list_id": 2401}, "List not found"),
        ({"list_id": 2002}, "List not found"),
        ({"list_id": 2003}, "List policy has not been accepted"),
        ({"contact_id": 5}, "Contact not found"),
    ],
    ids=["unconfirmed", "foreign sender", "foreign list", "archived", "policy", "contact"],
)
def test_what_the_account_does_not_have_is_a_bad_request(
    api: httpx.Client, changes: dict[str, Any], expected: str
) -> None:
    """400 with a word that says what is meant."""
    assert message(api.post("/v2/emails", json=mail(**changes))) == (400, expected)


@pytest.mark.parametrize(
    ("username", "sender", "expected"),
    [
        (SUSPENDED_USERNAME, "51", "Account is suspended"),
        (WITHOUT_API_USERNAME, "61", "Forbidden"),
        (WITHOUT_QUOTA_USERNAME, "81", "Monthly quota exceeded"),
    ],
)
def test_an_account_that_may_not_send_is_refused(
    anonymous: httpx.Client, username: str, sender: str, expected: str
) -> None:
    """Its people can log in all the same."""
    client = as_bearer(anonymous, bearer_of(anonymous, username))

    answer = client.post("/v2/emails", json=mail(sender={"id": sender}, list_id=None))

    assert message(answer) == (400, expected)


# Switch, the mail that shows it, status and message.
SWITCHES = [
    ({"list_required": True}, {"list_id": None}, 400, "A list is required"),
    (
        {"encoding_required": True},
        {"content": content(text="x", encoding=None)},
        422,
        "field required",
    ),
    ({"blank_text_refused": True}, {"content": content(text=" ")}, 422, "text must not be blank"),
    (
        {"bodies": "one_400"},
        {"content": content(text="x", html=PAGE)},
        400,
        "exactly one of html and text is allowed",
    ),
    (
        {"bodies": "one_422"},
        {"content": content(text="x", html=PAGE)},
        422,
        "exactly one of html and text is allowed",
    ),
    ({"opted_out": "refused"}, {"email": OPTED_OUT_RECIPIENT}, 400, "Contact has unsubscribed"),
]


@pytest.mark.parametrize(("switch", "changes", "status", "expected"), SWITCHES)
def test_an_open_question_can_be_answered_by_a_refusal(
    sandbox: Sandbox,
    api: httpx.Client,
    switch: dict[str, Any],
    changes: dict[str, Any],
    status: int,
    expected: str,
) -> None:
    """The same mail is taken without the switch and refused with it."""
    without = api.post("/v2/emails", json=mail(**changes)).status_code
    sandbox.behave(**switch)

    assert without == 201
    assert message(api.post("/v2/emails", json=mail(**changes))) == (status, expected)


def test_without_list_management_makes_a_list_needless(sandbox: Sandbox, api: httpx.Client) -> None:
    """The field counts where a list is required, if the account may use it."""
    sandbox.behave(list_required=True)
    free = mail(list_id=None, without_list_management=True)

    allowed = api.post("/v2/emails", json=free).status_code
    sandbox.behave(without_list_management=False)

    assert (allowed, api.post("/v2/emails", json=free).status_code) == (201, 400)


@pytest.mark.parametrize("outcome", ["rejected", "queued"])
def test_a_contact_who_opted_out_gets_the_chosen_outcome(
    sandbox: Sandbox, api: httpx.Client, outcome: str
) -> None:
    """Only ``queued`` counts as accepted."""
    sandbox.behave(opted_out=outcome)

    answer = api.post("/v2/emails", json=mail(OPTED_OUT_RECIPIENT.upper()))

    assert (answer.status_code, answer.json()["data"]["status"]) == (201, outcome)
    assert len(sandbox.accepted()) == (outcome == "queued")


def test_the_quota_goes_down(sandbox: Sandbox, anonymous: httpx.Client) -> None:
    """The last mail of the month passes, the next does not."""
    accounts = tuple(
        each.model_copy(update={"remaining": 1}) if each.id == 1006 else each
        for each in sandbox.seed.accounts
    )
    sandbox.clear(sandbox.seed.model_copy(update={"accounts": accounts}))
    client = as_bearer(anonymous, bearer_of(anonymous, WITHOUT_QUOTA_USERNAME))
    body = mail(sender={"id": "81"}, list_id=2501)

    before = client.get("/accounts/self").json()["data"]["usage_limits"]["remaining"]
    statuses = [client.post("/v2/emails", json=body).status_code for _ in range(2)]
    after = client.get("/accounts/self").json()["data"]["usage_limits"]["remaining"]

    assert (before, statuses, after) == (1, [201, 400], 0)


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer nothing", "Basic ZGVtbzpkZW1v", f"Bearer {FULL_TOKEN[:-1]}0", "Bearer"],
)
def test_a_call_without_a_valid_bearer_is_unauthorized(
    anonymous: httpx.Client, authorization: str | None
) -> None:
    """Before anything else is looked at."""
    headers = {"authorization": authorization} if authorization else {}

    answer = anonymous.post("/v2/emails", json={}, headers=headers)

    assert message(answer) == (401, "Could not validate credentials")


def test_an_access_token_sends_and_looks_its_mails_up(anonymous: httpx.Client) -> None:
    """The scope to send includes the scope to read mails."""
    client = as_bearer(anonymous, SEND_ONLY_TOKEN)

    sent = client.post("/v2/emails", json=mail())
    seen = client.get(f"/v2/emails/{sent.json()['data']['id']}")

    assert (sent.status_code, seen.status_code) == (201, 200)


def test_a_sub_account_is_acted_in_with_its_own_senders_and_lists(api: httpx.Client) -> None:
    """The selected account's senders and lists count, the login's own do not."""
    own = mail(sender={"id": "41"}, list_id=2101)

    selected = api.post("/v2/emails?account_id=1002", json=own)
    not_selected = api.post("/v2/emails", json=own)

    assert (selected.status_code, message(not_selected)) == (201, (400, "Sender not found"))


@pytest.mark.parametrize(("status", "kind"), [(400, "bad_request"), (403, "forbidden")])
def test_a_foreign_account_is_forbidden(
    sandbox: Sandbox, api: httpx.Client, status: int, kind: str
) -> None:
    """In the form met in practice, or with the status that means the same."""
    sandbox.behave(forbidden_status=status)

    answer = api.post("/v2/emails?account_id=1005", json=mail())

    assert (answer.status_code, answer.json()) == (
        status,
        {"detail": [{"msg": "Forbidden", "type": kind, "code": 8004}]},
    )


def test_an_account_number_that_is_none_is_unacceptable(api: httpx.Client) -> None:
    """422 that names the parameter."""
    answer = api.post("/v2/emails?account_id=0", json=mail())

    assert answer.json()["detail"][0]["loc"] == ["query", "account_id"]


def test_the_look_up_shows_what_makes_a_mail_recognisable(api: httpx.Client) -> None:
    """Tags, tracking, custom attributes and headers come back as they were given."""
    attributes = [{"name": "order", "value": "17"}]
    sent = api.post(
        "/v2/emails",
        json=mail(tags=["invoice"], content=content(text="x", custom_attributes=attributes)),
    )
    number = sent.json()["data"]["id"]

    found = api.get(f"/v2/emails/{number}").json()

    assert (found["email_id"], found["status"], found["email"]) == (
        number, "queued", "bob@example.org",
    )  # fmt: skip
    assert (found["tags"], found["list_id"]) == (["invoice"], LIST_ID)
    assert found["tracking"] == {"opens": False, "clicks_html": False, "clicks_text": False}
    assert found["content"]["custom_attributes"] == attributes
    assert found["additional_headers"] == [{"name": "Message-ID", "value": MESSAGE_ID}]
    assert found["sender"] == {
        "id": SENDER_ID, "name": "Example Shop", "email": "demo@example.com",
    }  # fmt: skip


def test_a_mail_of_another_account_is_not_found(anonymous: httpx.Client) -> None:
    """Whoever asks for it learns nothing."""
    mine = as_bearer(anonymous, bearer_of(anonymous, "demo@example.com"))
    number = mine.post("/v2/emails", json=mail()).json()["data"]["id"]

    theirs = as_bearer(anonymous, bearer_of(anonymous, "other@example.net"))

    assert message(theirs.get(f"/v2/emails/{number}")) == (400, "Email not found")


def test_the_log_finds_mails_to_one_address(api: httpx.Client) -> None:
    """Exact match without case, newest first."""
    for recipient in ("bob@example.org", "bobby@example.org", "bob@example.org"):
        api.post("/v2/emails", json=mail(recipient))

    found = api.get("/logs/emails-summary", params={"email": "BOB@example.org", "start_time": 1})
    like = api.get("/logs/emails-summary", params={"email": "~~bob"})

    assert [each["email"] for each in found.json()["data"]] == ["bob@example.org"] * 2
    assert len(like.json()["data"]) == 3


def test_the_log_is_given_in_pages(api: httpx.Client) -> None:
    """``has_more`` says whether there is a next one."""
    for _ in range(3):
        api.post("/v2/emails", json=mail())

    first = api.get("/logs/emails-summary?per_page=2").json()
    second = api.get("/logs/emails-summary?per_page=2&page=2").json()

    assert (len(first["data"]), first["pagination"]["has_more"]) == (2, True)
    assert (len(second["data"]), second["pagination"]["has_more"]) == (1, False)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"start_time": 2_000_000_000}, 0),
        ({"end_time": 1}, 0),
        ({"status": "queued"}, 1),
        ({"status": "error"}, 0),
        ({"email": "!=bob@example.org"}, 0),
        ({"sort": "+submitted_time"}, 1),
    ],
)
def test_the_log_can_be_narrowed(
    api: httpx.Client, parameters: dict[str, str | int], expected: int
) -> None:
    """By time, status and address."""
    api.post("/v2/emails", json=mail())

    found = api.get("/logs/emails-summary", params=parameters)

    assert (found.status_code, len(found.json()["data"])) == (200, expected)


def test_the_log_can_lag_behind(sandbox: Sandbox, api: httpx.Client) -> None:
    """A mail that was just accepted is not seen there yet, but by its id."""
    sandbox.behave(log_delay_seconds=3600)
    number = api.post("/v2/emails", json=mail()).json()["data"]["id"]

    assert api.get("/logs/emails-summary").json()["data"] == []
    assert api.get(f"/v2/emails/{number}").status_code == 200


def test_a_mail_above_a_limit_is_too_large(sandbox: Sandbox, api: httpx.Client) -> None:
    """413 from what stands in front of the service: HTML."""
    sandbox.behave(body_limit_bytes=1000)

    answer = api.post("/v2/emails", json=mail(content=content(text="x" * 1000)))

    assert (answer.status_code, answer.headers["content-type"]) == (
        413, "text/html; charset=utf-8",
    )  # fmt: skip


def test_a_mail_of_34_mib_is_taken(sandbox: Sandbox, api: httpx.Client) -> None:
    """The largest message that the gateway takes fits, in base64."""
    large = attachment(content="QUJD" * (34 * 1024 * 1024 // 4))

    answer = api.post("/v2/emails", json=mail(attachment=[large]))

    assert answer.status_code == 201
    assert int(sandbox.requests("/v2/emails")[0]["headers"]["content-length"]) > 34 * 1024 * 1024
