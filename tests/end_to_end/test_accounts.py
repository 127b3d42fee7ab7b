"""From whom, in which account and to which list a mail goes; and refusals that concern these."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Dialer
from tests.support.sandbox import (
    FOREIGN_ACCOUNT_ID,
    OPTED_OUT_RECIPIENT,
    PASSWORD,
    USERNAME,
    WITHOUT_LIST_USERNAME,
    WITHOUT_QUOTA_USERNAME,
    Sandbox,
    recipients,
)
from tests.support.tenants import Tenant, letter, recipient


def test_a_mail_goes_out_as_its_confirmed_sender_to_the_oldest_list(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Sender by From, list discovered, the reply names the API's id, tracking is off."""
    said = dial.as_tenant(tenant).mail("bounce@tenant.example", [recipient()], letter(tenant))

    (mail,) = sandbox.accepted()
    assert said == f"250 Ok {mail['email_id']}"
    assert mail["query"] == ""
    assert mail["account_id"] == tenant.account
    assert mail["body"]["sender"] == {"id": tenant.sender_id}
    assert mail["body"]["list_id"] == tenant.list_id
    assert mail["body"]["content"]["type"] == "transactional"
    assert mail["body"]["tracking"] == {"opens": False, "clicks_html": False, "clicks_text": False}
    assert mail["undocumented"] == []


@pytest.mark.parametrize("kind", ["password", "token"])
def test_a_sub_account_is_selected_by_its_header(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, kind: str
) -> None:
    """Senders and lists of the selected account count."""
    pair = (tenant.username, tenant.password) if kind == "password" else ("any", tenant.token)
    content = letter(tenant, f"X-Account-Id: {tenant.sub_account}")

    assert dial().log_in(*pair).mail(tenant.sender, [recipient()], content).startswith("250 Ok ")

    (mail,) = sandbox.accepted()
    assert mail["query"] == f"account_id={tenant.sub_account}"
    assert mail["account_id"] == tenant.sub_account
    assert mail["body"]["sender"]["id"] == str(tenant.sub_account)
    assert mail["body"]["list_id"] == tenant.sub_account + 500_000


def test_a_foreign_account_is_not_permitted(dial: Dialer, tenant: Tenant, sandbox: Sandbox) -> None:
    """550 5.7.1 before any request to send."""
    content = letter(tenant, f"X-Account-Id: {FOREIGN_ACCOUNT_ID}")

    said = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)

    assert said.startswith("550 5.7.1 ")
    assert sandbox.emails() == []


@pytest.mark.parametrize("kind", ["pending", "unknown"])
def test_a_sender_that_is_not_confirmed_is_named(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, kind: str
) -> None:
    """The reply shows the address that the client itself wrote."""
    sender = tenant.pending_sender if kind == "pending" else "nobody@tenant.example"

    said = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], letter(tenant, sender=sender))

    expected = "550 5.7.1 The from address does not match a verified Sender Identity: "
    assert said.startswith(f"{expected}{sender} [")
    assert sandbox.emails() == []


@pytest.mark.parametrize("number", ["9{0.account}", "12345678"])
def test_a_sender_id_that_may_not_send_is_refused(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, number: str
) -> None:
    """Not confirmed, or of nobody here: 550 5.7.1."""
    content = letter(tenant, f"X-Sender-Id: {number.format(tenant)}")

    said = dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content)

    assert said.startswith("550 5.7.1 ")
    assert sandbox.emails() == []


def test_a_used_up_quota_is_temporary(dial: Dialer, sandbox: Sandbox) -> None:
    """451 4.7.1: next month the mail would pass."""
    wire = dial().log_in(WITHOUT_QUOTA_USERNAME, PASSWORD)
    content = f"From: {WITHOUT_QUOTA_USERNAME}\r\n\r\nx\r\n".encode()
    assert wire.mail(WITHOUT_QUOTA_USERNAME, [recipient()], content).startswith("451 4.7.1 ")


def test_without_any_list_only_transactional_mail_is_taken(dial: Dialer, sandbox: Sandbox) -> None:
    """Transactional mail goes without one, marketing is refused with the header's name."""
    wire = dial().log_in(WITHOUT_LIST_USERNAME, PASSWORD)
    head = f"From: {WITHOUT_LIST_USERNAME}\r\n"
    marketing = f"{head}X-Email-API-Type: marketing\r\n\r\nx\r\n".encode()

    assert wire.mail("", [recipient()], marketing).startswith("550 5.6.0 X-List-Id: ")
    assert wire.mail("", [recipient()], f"{head}\r\nx\r\n".encode()).startswith("250 Ok ")
    (mail,) = sandbox.accepted()
    assert "list_id" not in mail["body"]


def test_one_who_opted_out_gets_nothing_and_the_others_do(dial: Dialer, sandbox: Sandbox) -> None:
    """201 ``rejected`` is final: alone it is 550, beside one accepted it is 250."""
    wire = dial().log_in(USERNAME, PASSWORD)

    def content(number: int) -> bytes:
        return f"From: {USERNAME}\r\nMessage-ID: <{number}@opt>\r\n\r\nx\r\n".encode()

    assert wire.mail("", [OPTED_OUT_RECIPIENT], content(1)).startswith("550 5.7.1 ")
    assert wire.mail("", [OPTED_OUT_RECIPIENT, recipient()], content(2)).startswith("250 Ok ")
    assert recipients(sandbox.accepted()) == [recipient()]


def test_the_same_mail_again_after_its_250_is_the_same_mail(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """With a Message-ID of its own a repeat gets the same id; without one it is a second mail."""
    content = letter(tenant)
    wire = dial.as_tenant(tenant)
    first = wire.mail(tenant.sender, [recipient()], content)
    assert dial.as_tenant(tenant).mail(tenant.sender, [recipient()], content) == first
    assert len(sandbox.emails()) == 1

    alert = f"From: {tenant.sender}\r\n\r\nthe disk is full\r\n".encode()
    said = {wire.mail(tenant.sender, [recipient()], alert) for _ in range(2)}
    assert len(said) == 2
    assert len(sandbox.accepted()) == 3


@pytest.mark.parametrize("status", ["one_400", "one_422"])
def test_an_api_that_takes_one_body_gets_the_html_alone(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox, status: str
) -> None:
    """Asked once with both, then html alone, and remembered for the account."""
    sandbox.behave(bodies=status)
    fields = "Content-Type: multipart/alternative; boundary=b"
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\ncrimson heron\r\n"
        "--b\r\nContent-Type: text/html\r\n\r\n<p>crimson heron</p>\r\n--b--\r\n"
    )
    wire = dial.as_tenant(tenant)
    for _ in range(2):
        said = wire.mail(tenant.sender, [recipient()], letter(tenant, fields, body=body))
        assert said.startswith("250 Ok ")

    sent = [sorted({"html", "text"} & set(each["body"]["content"])) for each in sandbox.emails()]
    assert sent == [["html", "text"], ["html"], ["html"]]
