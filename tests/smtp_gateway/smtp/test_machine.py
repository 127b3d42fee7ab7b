"""Lines, limits and time: the session as a whole."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp.effects import (
    AuthAnswer,
    BodyDiscard,
    Close,
    HookName,
    Timeouts,
)
from smtp_gateway.smtp.replies import Reply
from tests.support.dialogue import LOGIN, Dialogue, settings

MAIL = b"MAIL FROM:<a@sender.test>\r\n"
RCPT = b"RCPT TO:<b@x.test>\r\n"
BODY = b"Subject: x\r\n\r\nhello\r\n.\r\n"
CRLF_ONLY = ["500 5.5.2 Lines must end in CRLF [s1]"]
TIMEOUT = ["421 4.4.2 Timeout [s1]"]

NO_ROOM = Reply(452, "4.3.1", "Insufficient system storage, try again")


# --- command lines --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NOOP\rNOOP\r\n", b"NO\x00OP\r\n", b"\n", b"NOOP\n\r\n", b"NOOP\r\r\n"]
)
def test_a_command_with_any_other_line_end_closes_the_session(line: bytes) -> None:
    """RFC 5321 2.3.8: lines end in CRLF only; in any split."""
    for step in (len(line), 1):
        d = Dialogue().ready()
        said = [r for i in range(0, len(line), step) for r in d.say(line[i : i + step])]
        assert said == CRLF_ONLY
        assert d.closed
        assert d.counts["line_ending_refusals", "command"] == 1


def test_commands_before_a_bad_line_are_answered() -> None:
    """What was in order is in order."""
    d = Dialogue().ready()
    assert d.say(b"NOOP\r\nNOOP\nNOOP\r\n") == ["250 OK", *CRLF_ONLY]


def test_commands_octet_by_octet() -> None:
    """A split changes nothing."""
    d = Dialogue().ready()
    said = [r for octet in LOGIN + MAIL + RCPT for r in d.say(bytes([octet]))]
    assert said == ["235 2.7.0 Authentication successful", "250 OK", "250 OK"]


def test_lines_up_to_2048_octets_are_commands() -> None:
    """RFC 5321 4.5.3.1.4: at least 512; ours 2,048 with CRLF."""
    d = Dialogue().ready()
    assert d.say(b"NOOP " + b"x" * 2041 + b"\r\n") == ["250 OK"]
    assert d.say(b"NOOP " + b"x" * 2042 + b"\r\n") == ["500 5.5.2 Line too long [s1]"]


def test_the_rest_of_a_long_line_is_thrown_away_and_the_third_ends_the_session() -> None:
    """Memory stays flat however long the line is, and the reply comes when it ends."""
    d = Dialogue().ready()
    for _ in range(100):
        assert d.say(b"x" * 16_384) == []
        assert len(d.machine.input) <= 2048
    assert d.say(b"\r\n") == ["500 5.5.2 Line too long [s1]"]
    assert d.say(b"y" * 3000 + b"\r\n") == ["500 5.5.2 Line too long [s1]"]
    assert d.say(b"z" * 3000 + b"\r\n") == ["421 4.7.0 Too many bad commands [s1]"]
    assert d.closed


def test_auth_lines_up_to_12288_octets() -> None:
    """RFC 4954 4: 12,288 octets in both places; beyond that 500 5.5.6."""
    d = Dialogue(held=frozenset({HookName.AUTH_PLAIN})).ready()
    long = b"A" * 12_272
    assert d.say(b"AUTH PLAIN " + long + b"AAA\r\n") == ["501 5.5.2 Cannot decode base64 [s1]"]
    assert d.say(b"auth PLAIN " + long + b"AAAA\r\n") == [
        "500 5.5.6 Authentication exchange line is too long [s1]"
    ]
    d.say(b"AUTH PLAIN " + long + b"\r\n")
    assert d.names()[-1] == "AUTH_PLAIN"


def test_a_long_answer_is_500_and_ends_the_exchange() -> None:
    """RFC 4954 4: the hook learns that no answer comes."""
    d = Dialogue().ready()
    d.say(b"AUTH PLAIN\r\n")
    assert d.say(b"A" * 12_287) == []
    assert d.say(b"\r\n") == ["500 5.5.6 Authentication exchange line is too long [s1]"]
    assert AuthAnswer(None) in d.effects
    assert d.say(LOGIN) == ["235 2.7.0 Authentication successful"]


def test_bad_commands_are_few_before_login_and_more_after() -> None:
    """smtp-server 3.4: 5 before login, 20 a session."""
    d = Dialogue().ready()
    assert d.say(b"FOO\r\n" * 5) == ["500 5.5.1 Command not recognized [s1]"] * 5
    assert d.say(b"FOO\r\n") == ["421 4.7.0 Too many bad commands [s1]"]
    d = Dialogue().logged_in()
    assert d.say(b"FOO\r\n" * 20) == ["500 5.5.1 Command not recognized [s1]"] * 20
    assert d.say(b"FOO\r\n") == ["421 4.7.0 Too many bad commands [s1]"]
    assert d.machine.ended_by == "errors"


def test_recipients_behind_a_refused_mail_are_no_bad_commands() -> None:
    """RFC 2920: a client that pipelines has sent them all before it reads the refusal."""
    d = Dialogue(script={HookName.MAIL: "451 4.3.2 Later [s1]"}).logged_in()
    assert len(d.say(MAIL + RCPT * 100)) == 101
    assert not d.closed


def test_refused_addresses_are_no_bad_commands() -> None:
    """A mailing with many bad addresses is no attack."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    assert d.say(b"RCPT TO:<a..b@x.test>\r\n" * 50) == ["501 5.1.3 Bad address syntax [s1]"] * 50


def test_each_command_is_counted_with_the_class_of_its_reply() -> None:
    """smtp_commands_total: known verbs, else `other`."""
    d = Dialogue().logged_in()
    d.say(b"noop\r\nFOO\r\nMAIL FROM:<>\r\n")
    assert d.counts["commands", "NOOP", "ok"] == 1
    assert d.counts["commands", "other", "permanent"] == 1
    assert d.counts["commands", "MAIL", "ok"] == 1
    assert d.counts["commands", "AUTH", "ok"] == 1


# --- input that waits -----------------------------------------------------------------------------


def test_nothing_is_parsed_while_a_hook_is_out() -> None:
    """One hook at a time; the input waits."""
    d = Dialogue(held=frozenset({HookName.NOOP})).ready()
    assert d.say(b"NOOP a\r\nNOOP b\r\n") == []
    assert d.names() == ["EHLO", "NOOP"]
    assert d.finish() == ["250 OK"]
    assert d.names() == ["EHLO", "NOOP", "NOOP"]


def test_reading_pauses_at_64_kib_and_resumes() -> None:
    """Pitfall: a client that floods while a hook is out fills memory."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY)
    for _ in range(4):
        d.say(b"NOOP\r\n" * 2731)
        if d.paused:
            break
    assert d.paused
    assert len(d.machine.input) <= 65_536 + 16_386
    replies_ = d.finish("250 Ok 1")
    assert replies_[0] == "250 Ok 1"
    assert set(replies_[1:]) == {"250 OK"}
    assert not d.paused


# --- over-size and refused messages ---------------------------------------------------------------


def test_undeclared_oversize_is_552_at_the_dot_and_the_session_goes_on() -> None:
    """RFC 1870 6.3: the client may send another one."""
    d = Dialogue(settings(message_size_limit_bytes=1000)).in_data()
    assert d.say(b"x" * 1500) == []
    assert d.say(b"\r\n.\r\nNOOP\r\n") == [
        "552 5.3.4 Message size exceeds limit of 1000 octets [s1]",
        "250 OK",
    ]
    assert d.counts["emails_received", "rejected"] == 1
    assert (d.mails, d.refused) == ([], ["over_size"])
    assert (d.sender, d.recipients) == ("", [])


def test_oversize_without_end_is_552_at_twice_the_limit_and_close() -> None:
    """smtp-server 1: discards up to twice the limit, then 552 and closes."""
    d = Dialogue(settings(message_size_limit_bytes=1000)).in_data()
    assert d.say(b"x" * 1999) == []
    assert d.say(b"x\r\n.\r\n") == ["552 5.3.4 Message size exceeds limit of 1000 octets [s1]"]
    assert d.closed
    assert d.machine.ended_by == "over_size"


def test_a_message_of_exactly_the_limit_is_taken() -> None:
    """RFC 1870 4: the value of SIZE is true; octets with CRLF, without the final dot."""
    d = Dialogue(settings(message_size_limit_bytes=1000)).in_data()
    assert d.say(b"x" * 998 + b"\r\n.\r\n") == ["250 OK"]
    assert len(d.mails[0].content) == 1000


def test_header_section_limits() -> None:
    """552 5.3.4 for too many fields or octets; 554 5.4.6 for a loop (RFC 5321 6.3)."""
    config = settings(header_fields_limit=10, header_section_limit_bytes=500)
    d = Dialogue(config).in_data()
    too_large = "552 5.3.4 Header section too large [s1]"
    assert d.say(b"A: b\r\n" * 11 + b"\r\nbody\r\n.\r\n") == [too_large]
    d.say(MAIL + RCPT)
    d.say(b"DATA\r\n")
    assert d.say(b"A: " + b"b" * 600 + b"\r\n\r\nbody\r\n.\r\n") == [too_large]
    d = Dialogue().in_data()
    loop = b"Received: from a by b\r\n" * 101
    assert d.say(loop + b"\r\n.\r\n") == ["554 5.4.6 Too many Received fields, mail loop [s1]"]


def test_shed_refuses_at_the_dot_with_the_words_of_the_edge() -> None:
    """smtp-server 4.7: no room to grow is 452 at the dot, and temporary."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n\r\n")
    assert d.carry_out(d.machine.shed(NO_ROOM, d.now)) == []
    assert BodyDiscard() in d.effects
    assert d.say(b"more\r\n.\r\n") == ["452 4.3.1 Insufficient system storage, try again [s1]"]
    assert d.counts["emails_received", "deferred"] == 1
    assert d.mails == []
    assert not d.closed


def test_the_next_message_after_a_refused_one_is_whole() -> None:
    """The refusal of one message says nothing about the next."""
    d = Dialogue(settings(message_size_limit_bytes=100)).in_data()
    d.say(b"x" * 150 + b"\r\n.\r\n")
    d.say(MAIL + RCPT)
    d.say(b"DATA\r\n")
    assert d.say(b"ok\r\n.\r\n") == ["250 OK"]
    assert d.mails[0].content == b"ok\r\n"


# --- time -----------------------------------------------------------------------------------------


def test_all_that_precedes_a_login_has_300_seconds_in_total() -> None:
    """Trap 16: NOOP buys no time."""
    d = Dialogue().ready()
    for _ in range(29):
        assert d.pass_time(10) == []
        assert d.say(b"NOOP\r\n") == ["250 OK"]
    assert d.pass_time(9.9) == []
    assert d.pass_time(0.1) == TIMEOUT
    assert d.closed
    assert d.machine.ended_by == "timeout"


def test_a_logged_in_client_has_300_seconds_for_each_command() -> None:
    """RFC 5321 4.5.3.2.7: five minutes; bytes do not extend it, completed commands do."""
    d = Dialogue().logged_in()
    for _ in range(5):
        assert d.pass_time(299) == []
        assert d.say(b"NOOP\r\n") == ["250 OK"]
    d.pass_time(200)
    d.say(b"NOO")
    assert d.pass_time(99.9) == []
    assert d.pass_time(0.1) == TIMEOUT


def test_an_open_transaction_times_out_as_well() -> None:
    """No phase lacks a deadline."""
    d = Dialogue().logged_in()
    d.say(MAIL + RCPT)
    assert d.pass_time(300) == TIMEOUT


def test_an_answer_to_a_challenge_has_60_seconds() -> None:
    """The hook learns that none comes."""
    d = Dialogue().ready()
    d.say(b"AUTH LOGIN\r\n")
    assert d.pass_time(59.9) == []
    assert d.pass_time(0.1) == TIMEOUT
    assert d.effects[-2:] == [AuthAnswer(None), Close()]
    assert not d.machine.hook_out


def test_silence_in_data_has_180_seconds() -> None:
    """RFC 5321 4.5.3.2.5: three minutes for a block."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n")
    d.pass_time(179)
    d.say(b"\r\n")
    assert d.pass_time(179.9) == []
    assert d.pass_time(0.1) == TIMEOUT
    assert d.counts["emails_received", "aborted"] == 1
    assert d.mails == []


def test_an_honest_slow_upload_of_25_mb_passes() -> None:
    """Trap 14: 10 KiB a second for over forty minutes."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n\r\n")
    for _ in range(255):
        assert d.pass_time(10) == []
        assert d.say(b"y" * 102_398 + b"\r\n") == []
    assert d.say(b".\r\n") == ["250 OK"]


def test_a_trickler_is_cut() -> None:
    """Less than 8 KiB/s over 30 s, after the first 30 s."""
    d = Dialogue().in_data()
    said: list[str] = []
    while not said:
        said = d.pass_time(1) + d.say(b"y" * 1000)
    assert said == TIMEOUT
    assert d.now - 1000 == pytest.approx(60)


def test_a_trickler_with_long_pauses_is_cut_too() -> None:
    """A stall is forgiven for 180 s in all, not at each read."""
    d = Dialogue().in_data()
    said: list[str] = []
    while not said:
        said = d.pass_time(100) + d.say(b"y")
    assert said == TIMEOUT
    assert d.now - 1000 <= 400


def test_a_stalled_network_is_forgiven_once() -> None:
    """RFC 5321 4.5.3.2.5: up to three minutes for a block, then on as before."""
    d = Dialogue().in_data()
    d.say(b"Subject: x\r\n\r\n")
    for _ in range(50):
        d.pass_time(1)
        d.say(b"y" * 20_000)
    d.pass_time(170)
    for _ in range(50):
        d.pass_time(1)
        assert d.say(b"y" * 20_000) == []
    assert d.say(b"\r\n.\r\n") == ["250 OK"]


def test_a_hook_has_no_deadline_here() -> None:
    """Trap 14: the idle timer is blind to the API call."""
    d = Dialogue(held=frozenset({HookName.DATA})).in_data()
    d.say(BODY)
    assert d.machine.next_deadline is None
    assert d.pass_time(1000) == []
    assert d.finish("250 Ok 1") == ["250 Ok 1"]
    assert d.pass_time(299) == []


def test_the_handshake_has_no_deadline_here() -> None:
    """The edge limits it: a 421 in clear would end up inside the handshake."""
    d = Dialogue(secured=None).ready()
    d.say(b"STARTTLS\r\n")
    assert d.machine.next_deadline is None


def test_stress_shortens_the_allowance_before_login_only() -> None:
    """smtp-server 3.5: 60 s in total, a command each 10 s; who has logged in keeps his."""
    d = Dialogue().ready()
    d.carry_out(d.machine.stress(True, d.now))
    assert d.pass_time(9.9) == []
    assert d.pass_time(0.1) == TIMEOUT
    d = Dialogue().ready()
    d.carry_out(d.machine.stress(True, d.now))
    for _ in range(6):
        d.pass_time(9)
        d.say(b"NOOP\r\n")
    assert d.pass_time(6) == TIMEOUT
    d = Dialogue().logged_in()
    d.carry_out(d.machine.stress(True, d.now))
    assert d.pass_time(299) == []


def test_time_outs_are_settings() -> None:
    """Trap 33: each setting is read."""
    d = Dialogue(settings(timeouts=Timeouts(before_login_seconds=7))).ready()
    assert d.machine.next_deadline == 1007
    d = Dialogue(settings(timeouts=Timeouts(next_command_seconds=8))).logged_in()
    assert d.machine.next_deadline == 1008
    d = Dialogue(settings(timeouts=Timeouts(data_read_seconds=9))).in_data()
    assert d.machine.next_deadline == 1009
    d = Dialogue(settings(timeouts=Timeouts(auth_answer_seconds=5))).ready()
    d.say(b"AUTH PLAIN\r\n")
    assert d.machine.next_deadline == 1005


def test_an_early_tick_does_nothing() -> None:
    """Timers are coarse: the edge may come too soon."""
    d = Dialogue().ready()
    assert d.machine.tick(d.now + 1) == []
