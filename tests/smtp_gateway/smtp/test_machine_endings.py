"""How a session ends: the client stops sending, the server shuts down."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp.effects import AuthAnswer, HookName
from smtp_gateway.smtp.replies import Reply
from tests.support.dialogue import TLS, Dialogue

MAIL = b"MAIL FROM:<a@sender.test>\r\n"
RCPT = b"RCPT TO:<b@x.test>\r\n"
BODY = b"Subject: x\r\n\r\nhello\r\n.\r\n"
SHUTDOWN = ["421 4.3.2 Service shutting down [s1]"]
NO_ROOM = Reply(452, "4.3.1", "Insufficient system storage, try again")


# --- end of input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"NOOP", MAIL, MAIL + RCPT])
def test_end_of_input_outside_a_message_closes_quietly(sent: bytes) -> None:
    """Pools end without QUIT; that is no error."""
    d = Dialogue().logged_in()
    d.say(sent)
    assert d.end_input() == []
    assert d.closed
    assert d.machine.ended_by == "eof"


def test_end_of_input_in_a_message_sends_nothing() -> None:
    """Matrix: no real end before EOF; nothing sent."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n\r\nhello\r\n.\r")
    assert d.end_input() == []
    assert d.mails == []
    assert d.counts["emails_received", "aborted"] == 1
    assert d.counts["emails_received", "accepted"] == 0
    assert d.closed


def test_end_of_input_while_the_hook_works_waits_for_it() -> None:
    """Trap 18: the outcome is said and counted, then the session closes."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY)
    assert d.end_input() == []
    assert not d.closed
    assert d.machine.awaiting_data
    assert d.finish("250 Ok 1") == ["250 Ok 1"]
    assert d.counts["emails_received", "accepted"] == 1
    assert d.closed


def test_commands_sent_before_the_end_of_input_are_answered() -> None:
    """A client that shuts down its side after the last command still reads the replies."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY + b"QUIT\r\n")
    d.end_input()
    assert d.finish("250 Ok 1") == ["250 Ok 1", "221 Bye"]
    assert d.machine.ended_by == "quit"


def test_end_of_input_in_an_exchange_releases_the_hook() -> None:
    """No hook is left open."""
    d = Dialogue().ready()
    d.say(b"AUTH LOGIN\r\n")
    assert d.end_input() == []
    assert d.closed
    assert not d.machine.hook_out


def test_end_of_input_in_the_handshake_closes() -> None:
    """From any state the end of input leads to the end."""
    d = Dialogue(secured=None).ready()
    d.say(b"STARTTLS\r\n")
    d.end_input()
    assert d.closed


def test_after_the_close_nothing_happens() -> None:
    """The edge may be late with anything."""
    d = Dialogue().ready()
    d.say(b"QUIT\r\n")
    machine, now = d.machine, d.now
    assert machine.feed(b"NOOP\r\n", now) == []
    assert machine.eof(now) == []
    assert machine.tick(now + 1000) == []
    assert machine.drain(now) == []
    assert machine.hook_done(None, now) == []
    assert machine.push("250 x", now) == []
    assert machine.shed(NO_ROOM, now) == []
    assert machine.tls_started(TLS, now) == []
    assert machine.challenge("", now) == [AuthAnswer(None)]
    assert machine.next_deadline is None


# --- shutdown -------------------------------------------------------------------------------------


def test_drain_between_transactions_says_421() -> None:
    """smtp-server 4.8: greeted, logged in or idle."""
    for d in (Dialogue().ready(), Dialogue().logged_in()):
        assert d.carry_out(d.machine.drain(d.now)) == SHUTDOWN
        assert d.closed
        assert d.machine.ended_by == "drain"


def test_drain_lets_an_open_transaction_end() -> None:
    """Trap 31: 421 never in place of the answer to a dot."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    assert d.carry_out(d.machine.drain(d.now)) == []
    assert d.say(RCPT) == ["250 OK"]
    assert d.say(b"DATA\r\n")[0][:3] == "354"
    assert d.carry_out(d.machine.drain(d.now)) == []
    assert d.say(BODY) == ["250 OK", *SHUTDOWN]
    assert len(d.mails) == 1


def test_drain_waits_for_the_hook_of_data() -> None:
    """A call under way runs to its end."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY)
    assert d.carry_out(d.machine.drain(d.now, uploads=True)) == []
    assert d.finish("250 Ok 1") == ["250 Ok 1", *SHUTDOWN]


def test_the_next_mail_of_a_group_gets_421() -> None:
    """smtp-server 4.8: what is pipelined behind the message is answered, but no new transaction."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY + b"NOOP\r\n" + MAIL)
    d.carry_out(d.machine.drain(d.now))
    assert d.finish("250 Ok 1") == ["250 Ok 1", "250 OK", *SHUTDOWN]
    assert d.names().count("MAIL") == 1


def test_a_late_drain_cuts_an_upload() -> None:
    """smtp-server 4.8: 421, and nothing was taken."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n")
    assert d.carry_out(d.machine.drain(d.now, uploads=True)) == SHUTDOWN
    assert d.mails == []
    assert d.counts["emails_received", "aborted"] == 1


def test_drain_in_an_exchange_ends_it() -> None:
    """The hook learns that no answer comes."""
    d = Dialogue().ready()
    d.say(b"AUTH LOGIN\r\n")
    assert d.carry_out(d.machine.drain(d.now)) == SHUTDOWN
    assert not d.machine.hook_out


def test_drain_in_the_handshake_says_421_inside_tls() -> None:
    """Between 220 and the handshake there is no room for a reply."""
    d = Dialogue(secured=None).ready()
    d.say(b"STARTTLS\r\n")
    assert d.carry_out(d.machine.drain(d.now)) == []
    assert d.secure() == SHUTDOWN


def test_refuse_instead_of_the_greeting() -> None:
    """RFC 5321 3.1: 421 or 554 may stand for the greeting."""
    d = Dialogue()
    assert d.carry_out(d.machine.refuse(Reply(421, "4.7.0", "Too many connections"), d.now)) == [
        "421 4.7.0 Too many connections [s1]"
    ]
    assert d.closed
    assert d.machine.ended_by == "refused"


def test_drain_before_the_greeting_refuses() -> None:
    """A connection that was accepted while the server shut down."""
    d = Dialogue()
    assert d.carry_out(d.machine.drain(d.now)) == SHUTDOWN
