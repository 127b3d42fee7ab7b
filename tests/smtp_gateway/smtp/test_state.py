"""Facts that the edge reads, and the shape of effects and replies."""

from __future__ import annotations

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.effects import CallHook, HookName, LineEndings, ResetEnvelope
from smtp_gateway.smtp.machine import Machine
from smtp_gateway.smtp.replies import Reply
from tests.support.dialogue import LOGIN, TLS, Dialogue, LoginResult, settings

MAIL = b"MAIL FROM:<a@sender.test>\r\n"
RCPT = b"RCPT TO:<b@x.test>\r\n"
BODY = b"Subject: x\r\n\r\nhello\r\n.\r\n"


def test_the_call_of_a_hook_is_the_last_effect() -> None:
    """The edge may report the result from within."""
    machine = Machine(settings(), secured=TLS)
    machine.start(0)
    effects = machine.feed(b"RSET\r\nNOOP\r\n", 0)
    assert effects == [ResetEnvelope(), CallHook(HookName.RSET)]


def test_facts_for_the_log_line() -> None:
    """What the edge writes about a session stands on the machine."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    m = d.machine
    assert m.receiving
    d.say(BODY)
    assert (m.receiving, m.awaiting_data, m.hook_out, m.in_transaction) == (False, True, True, True)
    d.finish("250 Ok 1")
    assert (m.messages, m.mechanism, m.authenticated, m.closing) == (1, "PLAIN", True, False)
    assert m.in_transaction is False
    d.say(b"QUIT\r\n")
    assert (m.closing, m.ended_by) == (True, "quit")


def test_the_last_refusal_is_kept_by_its_codes() -> None:
    """The reference at the end of a refusal leads to a session, and that says what was refused."""
    d = Dialogue(script={HookName.MAIL: "550 5.7.1 no mail of a@sender.test"}).ready()
    assert (d.machine.refusals, d.machine.last_refusal) == (0, "")
    d.say(b"RCPT TO:<b@x.test>\r\n")
    assert d.machine.last_refusal == "RCPT 530 5.7.0"
    d.say(LOGIN + MAIL)
    assert (d.machine.refusals, d.machine.last_refusal) == (2, "MAIL 550 5.7.1")
    d.say(b"NOOP\r\n")
    assert (d.machine.refusals, d.machine.last_refusal) == (2, "MAIL 550 5.7.1")


def test_a_refused_message_is_the_last_refusal() -> None:
    """The dot has no verb of its own."""
    d = Dialogue(script={HookName.DATA: "451 later"}).in_data()
    d.say(BODY)
    assert d.machine.last_refusal == "message 451"


def test_strict_refuses_any_bare_lf() -> None:
    """smtp-server 3.3: no mode passes it through."""
    d = Dialogue(settings(line_endings=LineEndings.STRICT)).in_data()
    assert d.say(b"Subject: x\n\nhello\r\n.\r\n") == ["554 5.6.0 Bare LF in the message [s1]"]
    assert d.closed
    assert d.counts["line_ending_refusals", "bare_lf"] == 1
    assert d.counts["emails_received", "rejected"] == 1


def test_long_reasons_never_make_a_reply_too_long() -> None:
    """RFC 5321 4.5.3.1.5: 512 octets with CRLF."""
    failed = LoginResult(success=False, message="535 5.7.8 " + "x" * 500)
    d = Dialogue(script={HookName.AUTH_PLAIN: failed}).ready()
    d.say(LOGIN)
    assert len(d.say(MAIL)[0]) <= 510


def test_every_error_of_the_table_has_an_enhanced_code_of_its_class() -> None:
    """RFC 3463, 5248: the first digit equals the reply's."""
    table = [reply for reply in vars(replies).values() if isinstance(reply, Reply)]
    assert len(table) > 50
    for reply in table:
        if reply.code >= 400:
            assert reply.enhanced.startswith(f"{str(reply.code)[0]}."), reply
