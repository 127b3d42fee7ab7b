"""The hooks one by one, without an engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiosmtpd.smtp import Envelope, Session
from prometheus_client import CollectorRegistry

from smtp_gateway import errors
from smtp_gateway.policy import Policy, PolicyHolder
from smtp_gateway.smtp import context
from smtp_gateway.smtp.authenticator import Authenticator
from smtp_gateway.smtp.handler import GatewayHandler
from smtp_gateway.smtp.limits import MailRate
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.telemetry import Metrics
from tests.support.fakes import (
    RECEIPT_ID,
    FakeCourier,
    FakeLog,
    FakeLogin,
    FakeTokens,
    GivenClock,
)

POLICY = Policy(max_recipients=3, rate_limit_per_ip=10, message_size_limit_bytes=1000)
NOT_VERIFIED = (
    "550 5.7.1 The from address does not match a verified Sender Identity: bob@x.test [abc]"
)


class Engine:
    """A handler, and one session that is logged in unless told otherwise."""

    def __init__(self, *, logged_in: bool = True, login: FakeLogin | None = None) -> None:
        self.hostname = "mx.test"
        self.clock = GivenClock()
        self.log = FakeLog()
        self.courier = FakeCourier()
        self.policies = PolicyHolder(POLICY)
        self.registry = CollectorRegistry()
        metrics = Metrics(self.registry)
        self.handler = GatewayHandler(
            authenticator=Authenticator(
                tokens=FakeTokens(),
                lockout=Lockout(self.clock),
                metrics=metrics,
                log=self.log,
                clock=self.clock,
            ),
            courier=self.courier,
            policies=self.policies,
            rate=MailRate(self.clock),
            metrics=metrics,
            log=self.log,
            clock=self.clock,
        )
        self.session: Session | None = self.new_session()
        self.envelope = Envelope()
        if logged_in:
            context.admit_login(self.session, login or FakeLogin(), "")

    async def challenge_auth(self, challenge: str | bytes) -> object:
        """No test here asks."""
        raise AssertionError(challenge)

    def new_session(self) -> Session:
        """A session as an engine makes it."""
        session = Session(asyncio.get_running_loop())
        peer: Any = ("192.0.2.7", 50000)
        session.peer = peer
        vars(session)["session_id"] = "abc"
        return session

    @property
    def args(self) -> tuple[Any, Session, Envelope]:
        """The first three arguments of a hook."""
        assert self.session is not None
        return self, self.session, self.envelope

    async def mail(self, *options: str, sender: str = "s@x.test") -> str:
        """MAIL on an empty envelope."""
        self.envelope = Envelope()
        return await self.handler.handle_MAIL(*self.args, sender, list(options))

    async def rcpt(self, address: str) -> str:
        """RCPT."""
        return await self.handler.handle_RCPT(*self.args, address, [])

    async def data(self, content: bytes = b"Subject: x\r\n\r\ny\r\n") -> str:
        """The final dot."""
        self.envelope.content = self.envelope.original_content = content
        return await self.handler.handle_DATA(*self.args)


async def test_a_greeting_names_the_client_and_changes_nothing() -> None:
    """The engine's lines pass; the name is kept, whatever it is."""
    engine = Engine()
    assert engine.session is not None
    lines = ["250-mx.test", "250 SIZE 1000"]
    assert await engine.handler.handle_EHLO(*engine.args, "a@b", list(lines)) == lines
    assert engine.session.host_name == "a@b"
    assert await engine.handler.handle_HELO(*engine.args, "") == "250 mx.test"
    assert engine.session.host_name == ""


async def test_a_message_goes_to_the_courier_and_its_id_to_the_client() -> None:
    """Envelope and content as they came; the id stands at the end of the line."""
    engine = Engine(login=FakeLogin(key=b"k"))
    assert await engine.mail("SIZE=18", "BODY=8BITMIME") == "250 OK"
    assert await engine.rcpt("a@x.test") == "250 OK"
    assert await engine.rcpt("B@X.Test") == "250 OK"
    vars(engine.envelope)["received_monotonic"] = 7.0
    assert await engine.data() == f"250 Ok {RECEIPT_ID}"
    ((letter, policy),) = engine.courier.letters
    assert letter.login.key == b"k"
    assert letter.mail_from == "s@x.test"
    assert letter.recipients == ("a@x.test", "B@X.Test")
    assert letter.content == b"Subject: x\r\n\r\ny\r\n"
    assert letter.session_id == "abc"
    assert len(letter.message_id) == 36
    assert letter.received_monotonic == 7.0
    assert policy is POLICY
    assert engine.courier.admitted == [b"k"]
    assert engine.envelope.mail_options == ["SIZE=18", "BODY=8BITMIME"]


async def test_the_null_sender_is_no_address() -> None:
    """It arrives as `<>` and leaves as the empty path."""
    engine = Engine()
    assert await engine.mail(sender="<>") == "250 OK"
    await engine.rcpt("a@x.test")
    await engine.data()
    assert engine.envelope.mail_from == "<>"
    assert engine.courier.letters[0][0].mail_from == ""


async def test_the_moment_of_the_dot_is_now_where_no_engine_tells_it() -> None:
    """The deadline counts from the handler's own clock then."""
    engine = Engine()
    await engine.mail()
    await engine.rcpt("a@x.test")
    await engine.data()
    assert engine.courier.letters[0][0].received_monotonic == engine.clock.now


@pytest.mark.trap(3)
async def test_trap_3_nothing_is_taken_without_login() -> None:
    """Each hook asks by itself; nothing reaches the courier."""
    engine = Engine(logged_in=False)
    expected = "530 5.7.0 Authentication required [abc]"
    assert await engine.mail() == expected
    assert await engine.rcpt("a@x.test") == expected
    assert await engine.data() == expected
    assert await engine.handler.handle_VRFY(*engine.args, "a") == expected
    assert (engine.courier.letters, engine.courier.admitted) == ([], [])
    assert (engine.envelope.mail_from, engine.envelope.rcpt_tos) == (None, [])


@pytest.mark.trap(1)
async def test_trap_1_a_login_belongs_to_its_session_alone() -> None:
    """A second session from the same address is not logged in, nor the one after STARTTLS."""
    engine = Engine()
    assert await engine.mail() == "250 OK"
    engine.session = engine.new_session()
    assert (await engine.mail())[:9] == "530 5.7.0"


async def test_mail_after_a_refused_login_says_why() -> None:
    """.NET shows its user this reply alone."""
    engine = Engine(logged_in=False)
    assert engine.session is not None
    context.note_failure(engine.session, "Authentication credentials invalid")
    assert await engine.mail() == (
        "530 5.7.0 Authentication required"
        " (previous login failed: Authentication credentials invalid) [abc]"
    )


async def test_a_login_that_may_not_send_is_told_at_mail() -> None:
    """The account is suspended: 235, then 550 with the reason, as often as it is asked."""
    refusal = errors.NotPermitted("suspended", reason="the account is suspended")
    engine = Engine(login=FakeLogin(refusal=refusal))
    for _ in range(3):
        assert await engine.mail() == "550 5.7.1 Not permitted: the account is suspended [abc]"
    assert refusal.__traceback__ is None
    assert engine.courier.admitted == []


async def test_an_account_that_the_user_name_asks_for_is_not_silently_replaced() -> None:
    """A suffix that nobody has mapped: the login is right, the mail is refused."""
    engine = Engine(logged_in=False)
    assert engine.session is not None
    context.admit_login(engine.session, FakeLogin(), "sparkpost:7")
    assert await engine.mail() == (
        "550 5.7.1 Not permitted: account sparkpost:7 is not known here [abc]"
    )


async def test_the_rate_of_mails_is_held_per_client() -> None:
    """The eleventh of ten a minute is refused for now, and counted."""
    engine = Engine()
    replies = [await engine.mail() for _ in range(11)]
    assert replies == ["250 OK"] * 10 + ["451 4.7.1 Rate limit, retry in 61 s [abc]"]
    name = "smtp_admission_refusals_total"
    assert engine.registry.get_sample_value(name, {"reason": "rate"}) == 1
    engine.clock.advance(61)
    assert await engine.mail() == "250 OK"


async def test_an_expired_login_ends_its_connection_at_mail() -> None:
    """A pool would go on with this connection for ever; the next one logs in anew."""
    engine = Engine(login=FakeLogin(refusal=errors.LoginExpired()))
    assert await engine.mail() == "421 4.7.0 Login expired, connect and log in again [abc]"
    assert engine.envelope.mail_from is None


@pytest.mark.parametrize(
    ("refusal", "reply"),
    [
        (errors.Unavailable(), "451 4.3.2 Service temporarily unavailable [abc]"),
        (errors.Throttled(seconds=30), "451 4.7.1 Rate limit, retry in 30 s [abc]"),
        (
            errors.CredentialsRevoked(),
            "554 5.7.8 Authentication credentials no longer valid [abc]",
        ),
    ],
)
async def test_what_would_fail_after_the_upload_is_refused_before(
    refusal: errors.GatewayError, reply: str
) -> None:
    """The courier decides at MAIL; the envelope stays empty."""
    engine = Engine()
    engine.courier.refusal = refusal
    assert await engine.mail() == reply
    assert engine.envelope.mail_from is None


@pytest.mark.parametrize("option", ["SIZE=1001", "size=1001"])
async def test_a_message_declared_too_large_is_refused_at_mail(option: str) -> None:
    """RFC 1870 6.1."""
    assert (
        await Engine().mail(option) == "552 5.3.4 Message size exceeds limit of 1000 octets [abc]"
    )


@pytest.mark.parametrize(
    "option", ["SIZE=1000", "SIZE=", "SIZE=x", "SIZE=" + "9" * 30, "BODY=7BIT"]
)
async def test_other_parameters_are_the_engines_affair(option: str) -> None:
    """It has checked their form before the hook."""
    assert await Engine().mail(option) == "250 OK"


async def test_a_message_that_grew_too_large_is_refused_at_the_dot() -> None:
    """Whatever was declared, and whichever engine counts."""
    engine = Engine()
    await engine.mail()
    await engine.rcpt("a@x.test")
    assert (
        await engine.data(b"x" * 1001)
        == "552 5.3.4 Message size exceeds limit of 1000 octets [abc]"
    )
    assert engine.courier.letters == []


async def test_recipients_beyond_the_limit_come_with_the_next_message() -> None:
    """452, never 5xx: relays split and come again (RFC 5321 4.5.3.1.10)."""
    engine = Engine()
    await engine.mail()
    replies = [await engine.rcpt(f"r{n}@x.test") for n in range(4)]
    assert replies == ["250 OK"] * 3 + ["452 4.5.3 Too many recipients, limit 3 [abc]"]
    assert engine.envelope.rcpt_tos == ["r0@x.test", "r1@x.test", "r2@x.test"]


@pytest.mark.parametrize(
    ("address", "reply"),
    [
        ("<>", "501 5.1.3 Bad address syntax [abc]"),
        ("nobody", "554 5.1.2 Recipient domain is not fully qualified [abc]"),
        ("postmaster", "550 5.1.1 No postmaster at this service [abc]"),
        ("caf\u00e9@x.test", "553 5.6.7 Internationalized addresses are not supported [abc]"),
    ],
)
async def test_recipients_that_nobody_can_have(address: str, reply: str) -> None:
    """Refused by form, and the transaction goes on."""
    engine = Engine()
    await engine.mail()
    assert await engine.rcpt(address) == reply
    assert await engine.rcpt("a@x.test") == "250 OK"


async def test_postmaster_goes_where_the_policy_says() -> None:
    """In any case, without a domain (RFC 5321 4.5.1)."""
    engine = Engine()
    engine.policies.current = replace(POLICY, postmaster="desk@x.test")
    await engine.mail()
    assert await engine.rcpt("PostMaster") == "250 OK"
    assert engine.envelope.rcpt_tos == ["desk@x.test"]


async def test_a_transaction_sees_one_policy() -> None:
    """A reload between MAIL and the dot counts for the next transaction."""
    engine = Engine()
    await engine.mail()
    engine.policies.current = replace(POLICY, max_recipients=1, message_size_limit_bytes=1)
    await engine.rcpt("a@x.test")
    assert await engine.rcpt("b@x.test") == "250 OK"
    assert (await engine.data())[:6] == "250 Ok"
    assert engine.courier.letters[0][1] is POLICY
    await engine.mail()
    await engine.rcpt("a@x.test")
    assert (await engine.rcpt("b@x.test"))[:9] == "452 4.5.3"


@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (errors.NotConfirmed(), "451 4.4.2 Submission not confirmed, try again [abc]"),
        (
            errors.SenderNotVerified(address="bob@x.test"),
            NOT_VERIFIED,
        ),
        (ValueError("bob@x.test"), "451 4.3.0 Internal error [abc]"),
    ],
)
async def test_what_delivery_raises_is_what_the_client_hears(
    failure: Exception, reply: str
) -> None:
    """Errors through the table; anything else is our own defect, with the session's id."""
    engine = Engine()
    engine.courier.failure = failure
    await engine.mail()
    await engine.rcpt("a@x.test")
    assert await engine.data() == reply


@pytest.mark.trap(12)
async def test_trap_12_the_providers_words_stay_on_one_line() -> None:
    """CR LF and an address in the API's answer: one line, no address."""
    engine = Engine()
    engine.courier.failure = errors.ContentRefused(excerpt="bad\r\n250 Ok 1 for v@x.test")
    await engine.mail()
    await engine.rcpt("a@x.test")
    assert await engine.data() == "550 5.6.0 Message refused: bad 250 Ok 1 for [address] [abc]"


@pytest.mark.trap(36)
async def test_trap_36_control_headers_are_not_the_handlers() -> None:
    """Recipients come from RCPT alone, whatever the content says."""
    engine = Engine()
    await engine.mail()
    await engine.rcpt("a@x.test")
    await engine.data(b'X-SMTPAPI: {"to":["v@x.test"]}\r\nBcc: w@x.test\r\nTo: z@x.test\r\n\r\n')
    assert engine.courier.letters[0][0].recipients == ("a@x.test",)


async def test_the_memory_of_a_message_is_taken_over_once() -> None:
    """Delivery frees it; a message refused before delivery leaves it to the engine."""
    engine = Engine()
    freed: list[str] = []
    await engine.mail()
    await engine.rcpt("a@x.test")
    vars(engine.envelope)["on_settled"] = lambda: freed.append("delivered")
    await engine.data()
    assert freed == ["delivered"]
    assert "on_settled" not in vars(engine.envelope)
    vars(engine.envelope)["on_settled"] = lambda: freed.append("refused")
    await engine.data(b"x" * 1001)
    assert freed == ["delivered"]
    assert "on_settled" in vars(engine.envelope)


async def test_vrfy_neither_confirms_nor_denies() -> None:
    """252 for anything, after login (RFC 5321 7.3)."""
    engine = Engine()
    reply = await engine.handler.handle_VRFY(*engine.args, "root")
    assert reply == "252 Cannot verify the user, but will take mail for it"


async def test_an_unexpected_exception_is_temporary_and_keeps_its_text() -> None:
    """A fixed reply; an error in the log with the stack and without the text."""
    engine = Engine()
    error = ValueError("bob@x.test")
    assert await engine.handler.handle_exception(error) == "451 4.3.0 Internal error"
    (line,) = engine.log.lines
    assert (line.level, line.event) == ("error", "handler failed")
    assert line.fields == {"stack": ["ValueError"]}


async def test_refusals_are_logged_without_addresses() -> None:
    """At INFO, with codes and the session's id."""
    engine = Engine()
    await engine.mail("SIZE=1001")
    await engine.mail()
    await engine.rcpt("victim")
    assert [(line.level, line.fields["session"]) for line in engine.log.lines] == [
        ("info", "abc"),
        ("info", "abc"),
    ]
    assert [line.fields["code"] for line in engine.log.lines] == [552, 554]
    assert "victim" not in engine.log.text
    assert "s@x.test" not in engine.log.text
