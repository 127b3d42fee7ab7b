"""Unchanged client programs over real TLS: what they tell their user is what the sandbox holds."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.clients.mail import PDF, Attachment, Mail
from tests.clients.programs import CLIENTS, Client
from tests.clients.stand import Stand

pytestmark = pytest.mark.clients

SENDER = "demo@example.com"
TEXT = "Bonjour,\n\n.A line that begins with a dot.\nÀ bientôt.\n"
HTML = "<p>Bonjour, <b>à bientôt</b>.</p>\n"

MAILS = {
    "plain": Mail(SENDER, ("plain@example.org",), "A plain one", TEXT),
    "html": Mail(SENDER, ("html@example.org",), "An html one", TEXT, html=HTML),
    "attachment": Mail(
        *(SENDER, ("attachment@example.org",), "An invoice", TEXT),
        attachment=Attachment("invoice-7.pdf", "application/pdf", PDF),
    ),
    "utf-8 subject": Mail(SENDER, ("utf8@example.org",), "Été à Québec, 5 € ✓", TEXT),
    "bcc": Mail(SENDER, ("to@example.org",), "A hidden one", TEXT, bcc=("bcc@example.org",)),
    "several recipients": Mail(
        SENDER, ("one@example.org", "two@example.org", "three@example.org"), "For many", TEXT
    ),
}
# RFC 6409 4.2: an address literal is refused at RCPT, certainly and for good.
LITERAL = "somebody@[192.0.2.9]"
# What a client does when one of several recipients is refused is the client's own habit.
CARRY_ON = {"smtplib", "smtplib-implicit-tls", "nodemailer", "phpmailer", "swaks"}

every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@pytest.mark.parametrize("mail", MAILS.values(), ids=MAILS)
@every_client
async def test_success_means_one_request_for_each_recipient(
    stand: Stand, client: Client, mail: Mail, tmp_path: Path
) -> None:
    """The client reports success, and the API got the mail once per recipient, whole."""
    told = await client(stand.server, mail, tmp_path)

    assert told.success, told.words
    assert stand.recipients() == sorted(mail.recipients)
    for request in stand.emails():
        content = request["content"]
        assert content["subject"] == mail.subject
        assert content["text"].rstrip() == mail.text.rstrip()
        assert content.get("html", "").rstrip() == mail.html.rstrip()
        assert "bcc@example.org" not in str(request["additional_headers"])


@every_client
async def test_an_attachment_arrives_octet_for_octet(
    stand: Stand, client: Client, tmp_path: Path
) -> None:
    """The attached file reaches the API under its name and with its content."""
    await client(stand.server, MAILS["attachment"], tmp_path)

    (request,) = stand.emails()
    (attachment,) = request["attachment"]
    assert attachment["filename"] == "invoice-7.pdf"
    assert attachment["type"] == "pdf"
    assert base64.b64decode(attachment["content"]) == PDF


@every_client
async def test_a_refused_recipient_is_told_in_our_words(
    stand: Stand, client: Client, tmp_path: Path
) -> None:
    """A mail to one address that is refused at RCPT fails, and the user can read why."""
    told = await client(stand.server, Mail(SENDER, (LITERAL,), "To a literal", TEXT), tmp_path)

    assert not told.success
    assert "5.1.2" in told.words
    assert stand.emails() == []


@pytest.mark.parametrize(("name", "client"), CLIENTS.items(), ids=CLIENTS)
async def test_one_refused_recipient_of_two_is_never_a_plain_success(
    stand: Stand, name: str, client: Client, tmp_path: Path
) -> None:
    """The refusal shows; whether the other recipient gets the mail is the client's habit."""
    mail = Mail(SENDER, ("good@example.org", LITERAL), "To two", TEXT)
    told = await client(stand.server, mail, tmp_path)

    assert "5.1.2" in told.words
    expected = ["good@example.org"] if name in CARRY_ON else []
    assert stand.recipients() == expected


@every_client
async def test_a_wrong_password_is_told_in_our_words(
    stand: Stand, client: Client, tmp_path: Path
) -> None:
    """With a wrong password the client fails, says so, and nothing is sent."""
    told = await client(stand.server.with_password("not the password"), MAILS["plain"], tmp_path)

    assert not told.success
    assert "Authentication credentials invalid" in told.words
    assert stand.emails() == []


@every_client
async def test_a_refused_message_is_told_in_our_words(
    stand: Stand, client: Client, tmp_path: Path
) -> None:
    """An attachment that the API cannot carry is named in what the client shows."""
    archive = Attachment("site-backup.zip", "application/zip", b"PK\x05\x06" + bytes(18))
    mail = Mail(SENDER, ("zip@example.org",), "A zip", TEXT, attachment=archive)
    told = await client(stand.server, mail, tmp_path)

    assert not told.success
    assert "5.6.1" in told.words
    assert "site-backup.zip" in told.words
    assert stand.emails() == []
