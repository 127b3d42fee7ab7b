"""Debian's Postfix relays through the gateway: what it retries arrives once, refusals are told."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.mail import PDF, Mail, Server
from tests.clients.postfix import Relay, relay_to
from tests.clients.stand import Stand
from tests.clients.test_real_clients import LITERAL, MAILS, SENDER, TEXT

pytestmark = [pytest.mark.clients, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relay(clients_server: Server) -> AsyncIterator[Relay]:
    """One Postfix for the whole module; each test has recipients of its own."""
    async with relay_to(clients_server) as running:
        yield running


async def settled(relay: Relay, *recipients: str) -> dict[str, tuple[str, str]]:
    """The last attempt for each recipient, once there is one: status and reason."""

    def latest() -> dict[str, tuple[str, str]]:
        return {to: (status, why) for to, status, why in relay.statuses() if to in recipients}

    await relay.until(lambda: len(latest()) == len(recipients))
    return latest()


async def retried(relay: Relay) -> None:
    """Have the queue tried once more, and wait until something was."""
    before = len(relay.statuses())
    await relay.flush()
    await relay.until(lambda: len(relay.statuses()) > before)


@pytest.mark.parametrize("mail", MAILS.values(), ids=MAILS)
async def test_a_relayed_mail_is_there_once_per_recipient(
    stand: Stand, relay: Relay, mail: Mail
) -> None:
    """Postfix logs `sent`, and the API got the mail once per recipient, whole."""
    await relay.submit(mail)
    attempts = await settled(relay, *mail.recipients)

    assert {status for status, _ in attempts.values()} == {"sent"}
    assert stand.recipients() == sorted(mail.recipients)
    for request in stand.emails():
        assert request["content"]["subject"] == mail.subject
        assert request["content"]["text"].rstrip() == mail.text.rstrip()
        assert request["content"].get("html", "").rstrip() == mail.html.rstrip()


async def test_an_attachment_survives_the_relay(stand: Stand, relay: Relay) -> None:
    """The attached file reaches the API octet for octet."""
    mail = Mail(
        *(SENDER, ("relayed-file@example.org",), "A file", TEXT),
        attachment=MAILS["attachment"].attachment,
    )
    await relay.submit(mail)
    await settled(relay, *mail.recipients)

    (request,) = stand.emails()
    (attachment,) = request["attachment"]
    assert base64.b64decode(attachment["content"]) == PDF


async def test_a_refused_recipient_bounces_with_our_words(stand: Stand, relay: Relay) -> None:
    """The sender's mailbox gets a bounce that quotes our reply; the other recipient the mail."""
    await relay.submit(Mail(SENDER, ("beside@example.org", LITERAL), "To two", TEXT))
    attempts = await settled(relay, "beside@example.org", LITERAL)
    await relay.until(lambda: any(LITERAL in bounce for bounce in relay.bounces()))

    assert attempts["beside@example.org"][0] == "sent"
    assert attempts[LITERAL][0] == "bounced"
    assert "5.1.2" in attempts[LITERAL][1]
    assert any("554 5.1.2" in bounce for bounce in relay.bounces())
    assert stand.recipients() == ["beside@example.org"]


async def test_a_temporary_refusal_is_retried_and_sends_only_what_is_missing(
    stand: Stand, relay: Relay
) -> None:
    """One of two recipients meets a 503: both are deferred, then each has one mail."""
    stand.sandbox.fault(status=503, times=1, recipient="late@example.org")
    await relay.submit(Mail(SENDER, ("prompt@example.org", "late@example.org"), "Half", TEXT))
    first = await settled(relay, "prompt@example.org", "late@example.org")
    assert {status for status, _ in first.values()} == {"deferred"}
    assert all("451 4.3.2" in why for _, why in first.values())
    assert stand.recipients() == ["prompt@example.org"]

    await relay.flush()
    await relay.until(lambda: ("late@example.org", "sent") in [s[:2] for s in relay.statuses()])

    assert stand.recipients() == ["late@example.org", "prompt@example.org"]


async def test_a_lost_answer_of_the_api_does_not_double_the_mail(
    stand: Stand, relay: Relay
) -> None:
    """The API accepts and the connection breaks: the retry finds the mail instead of sending it."""
    stand.sandbox.fault(manner="reset", accept=True, times=1, recipient="lost@example.org")
    await relay.submit(Mail(SENDER, ("lost@example.org",), "Once", TEXT))
    first = await settled(relay, "lost@example.org")
    assert first["lost@example.org"][0] == "deferred"
    assert "451 4.4.2" in first["lost@example.org"][1]

    await relay.flush()
    await relay.until(lambda: ("lost@example.org", "sent") in [s[:2] for s in relay.statuses()])

    assert stand.recipients() == ["lost@example.org"]


async def test_recipients_over_the_limit_follow_in_further_messages(narrow_stand: Stand) -> None:
    """After `452 4.5.3` Postfix keeps the rest in its queue; in the end each has one mail."""
    recipients = tuple(f"split-{number}@example.org" for number in range(5))
    async with relay_to(narrow_stand.server) as relay:
        await relay.submit(Mail(SENDER, recipients, "For five", TEXT))
        deferred = await settled(relay, *recipients)
        assert any("452 4.5.3" in why for _, why in deferred.values())
        while len(narrow_stand.recipients()) < len(recipients):
            await retried(relay)

    assert narrow_stand.recipients() == sorted(recipients)


async def test_a_wrong_password_keeps_the_mail_in_the_queue_with_our_words(stand: Stand) -> None:
    """Postfix defers instead of losing the mail, and its log shows our reply."""
    async with relay_to(stand.server.with_password("not the password")) as relay:
        await relay.submit(Mail(SENDER, ("nobody@example.org",), "No login", TEXT))
        attempts = await settled(relay, "nobody@example.org")

    assert attempts["nobody@example.org"][0] == "deferred"
    assert "535 5.7.8 Authentication credentials invalid" in attempts["nobody@example.org"][1]
    assert stand.recipients() == []
