"""What a hook's result does to the session: logins, failures, defects."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp.effects import AuthAnswer, HookName
from tests.support.dialogue import LOGIN, WRONG, Dialogue, LoginResult, Raised

MAIL = b"MAIL FROM:<a@sender.test>\r\n"
RCPT = b"RCPT TO:<b@x.test>\r\n"
REFUSED = "535 5.7.8 Authentication credentials invalid [s1]"


# --- the exchange ---------------------------------------------------------------------------------


def test_plain_with_initial_response() -> None:
    """RFC 4954 4: the hook gets aiosmtpd's list, the response still in base64."""
    d = Dialogue().ready()
    assert d.say(LOGIN) == ["235 2.7.0 Authentication successful"]
    assert d.calls[-1].args == (["PLAIN", "AHVzZXIAc2VjcmV0"],)
    assert d.machine.mechanism == "PLAIN"


def test_plain_in_two_steps_asks_with_a_blank() -> None:
    """RFC 4954 4: the empty challenge is `334 ` with the space."""
    d = Dialogue().ready()
    assert d.say(b"AUTH PLAIN\r\n") == ["334 "]
    assert d.say(b"AHVzZXIAc2VjcmV0\r\n") == ["235 2.7.0 Authentication successful"]


def test_login_asks_for_name_and_password() -> None:
    """The challenges octet for octet, as gomail wants them."""
    d = Dialogue().ready()
    assert d.say(b"auth login\r\n") == ["334 VXNlcm5hbWU6"]
    assert d.say(b"dXNlcg==\r\n") == ["334 UGFzc3dvcmQ6"]
    assert d.say(b"c2VjcmV0\r\n") == ["235 2.7.0 Authentication successful"]
    assert d.machine.mechanism == "LOGIN"


def test_login_with_the_name_at_once() -> None:
    """.NET and smtplib give the user name as initial response."""
    d = Dialogue().ready()
    assert d.say(b"AUTH login dXNlcg==\r\n") == ["334 UGFzc3dvcmQ6"]
    assert d.say(b"c2VjcmV0\r\n") == ["235 2.7.0 Authentication successful"]


def test_answers_may_be_pipelined() -> None:
    """RFC 4954 4: what waits behind AUTH is the answer to its challenge."""
    d = Dialogue().ready()
    replies = d.say(b"AUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\nNOOP\r\n")
    assert replies == [
        "334 VXNlcm5hbWU6",
        "334 UGFzc3dvcmQ6",
        "235 2.7.0 Authentication successful",
        "250 OK",
    ]


def test_a_login_may_be_the_first_of_a_group() -> None:
    """RFC 4954 4: AUTH with an initial response may be pipelined."""
    d = Dialogue().ready()
    assert d.say(LOGIN + MAIL + RCPT) == ["235 2.7.0 Authentication successful", "250 OK", "250 OK"]


def test_equals_is_an_empty_initial_response() -> None:
    """RFC 4954 4: `=` stands for no octets."""
    d = Dialogue().ready()
    d.say(b"AUTH PLAIN =\r\n")
    assert d.calls[-1].args == (["PLAIN", ""],)


@pytest.mark.parametrize("response", [b"!!!", b"YQ=", b"=YQ=", b"YQ==YQ==", b"Y", b"\xc3\xa9"])
def test_bad_base64_at_once_is_501_and_no_hook_runs(response: bytes) -> None:
    """RFC 4954 4: bad base64 501 5.5.2, a stray `=` too."""
    d = Dialogue().ready()
    assert d.say(b"AUTH PLAIN " + response + b"\r\n") == ["501 5.5.2 Cannot decode base64 [s1]"]
    assert d.names() == ["EHLO"]
    assert d.counts["auth_failures", "malformed"] == 1


def test_bad_base64_as_an_answer_is_501_and_ends_the_exchange() -> None:
    """RFC 4954 4: one reply, and the session can be used."""
    d = Dialogue().ready()
    d.say(b"AUTH LOGIN\r\n")
    assert d.say(b"=\r\n") == ["501 5.5.2 Cannot decode base64 [s1]"]
    assert d.counts["auth_failures", "malformed"] == 0  # its hook counts what it has seen
    assert not d.machine.hook_out
    assert d.say(LOGIN) == ["235 2.7.0 Authentication successful"]


def test_star_gives_up_the_exchange() -> None:
    """RFC 4954 4: `*` is 501, also where a command is due (Go after a failure)."""
    d = Dialogue().ready()
    d.say(b"AUTH LOGIN\r\n")
    assert d.say(b"*\r\n") == ["501 5.7.0 Authentication aborted [s1]"]
    assert d.say(b"*\r\n") == ["501 5.7.0 Authentication aborted [s1]"]
    assert d.say(MAIL) == ["530 5.7.0 Authentication required [s1]"]
    assert d.say(LOGIN) == ["235 2.7.0 Authentication successful"]


def test_a_refused_login_leaves_the_session_usable() -> None:
    """Symfony: RSET after each failure, then the next mechanism."""
    d = Dialogue().ready()
    assert d.say(WRONG) == [REFUSED]
    assert d.say(b"RSET\r\n") == ["250 OK"]
    assert d.say(b"AUTH LOGIN dXNlcg==\r\n") == ["334 UGFzc3dvcmQ6"]
    assert d.say(b"c2VjcmV0\r\n") == ["235 2.7.0 Authentication successful"]


def test_a_login_result_may_bring_its_own_words() -> None:
    """RFC 4954 6: 454 when the login cannot be checked now; it costs the client nothing."""
    down = LoginResult(success=False, message="454 4.7.0 Temporary authentication failure [s1]")
    d = Dialogue(script={HookName.AUTH_PLAIN: down}).ready()
    for _ in range(12):
        assert d.say(LOGIN) == ["454 4.7.0 Temporary authentication failure [s1]"]
    assert not d.machine.authenticated
    assert not d.closed


def test_a_success_whose_words_refuse_is_no_success() -> None:
    """The reply tells the truth: what the client reads is what holds."""
    odd = LoginResult(success=True, message="421 4.7.0 Too many connections [s1]")
    d = Dialogue(script={HookName.AUTH_PLAIN: odd}).ready()
    assert d.say(LOGIN) == ["421 4.7.0 Too many connections [s1]"]
    assert not d.machine.authenticated
    assert d.closed


def test_a_handled_failure_without_any_reply_is_still_answered() -> None:
    """One reply per command, whatever the hook forgot."""
    quiet = LoginResult(success=False, handled=True)
    d = Dialogue(script={HookName.AUTH_PLAIN: quiet}).ready()
    assert d.say(LOGIN) == [REFUSED]


def test_a_hook_that_wrote_its_own_refusal_is_not_answered_twice() -> None:
    """The contract of aiosmtpd: server.push, then AuthResult with handled set."""
    d = Dialogue(held=frozenset({HookName.AUTH_PLAIN})).ready()
    d.say(LOGIN)
    assert d.carry_out(d.machine.push("501 5.5.2 Can't split auth value", d.now)) == [
        "501 5.5.2 Can't split auth value"
    ]
    assert d.finish(LoginResult(success=False, handled=True)) == []
    assert d.say(b"NOOP\r\n") == ["250 OK"]


def test_a_success_after_the_client_was_refused_does_not_count() -> None:
    """The client gave up with `*`: it must not be logged in behind its back."""
    d = Dialogue(held=frozenset({HookName.AUTH_LOGIN})).ready()
    d.say(b"AUTH LOGIN\r\n")
    d.carry_out(d.machine.challenge("Username:", d.now))
    d.say(b"*\r\n")
    assert d.finish(LoginResult(success=True)) == []
    assert not d.machine.authenticated


def test_a_hook_cannot_ask_again_once_the_exchange_was_answered() -> None:
    """After `*` the client reads its 501: a second challenge would be a reply to nothing."""
    d = Dialogue(held=frozenset({HookName.AUTH_LOGIN})).ready()
    d.say(b"AUTH LOGIN\r\n")
    d.carry_out(d.machine.challenge("Username:", d.now))
    d.say(b"*\r\n")
    assert d.machine.challenge("Password:", d.now) == [AuthAnswer(None)]


# --- delays ---------------------------------------------------------------------------------------


def test_failed_logins_are_slowed_and_the_tenth_ends_the_session() -> None:
    """smtp-server 3.7: 1 and 2 at once, then 1, 2, 4 s; the tenth gets 421."""
    d = Dialogue().ready()
    waits = []
    for _ in range(9):
        if d.say(WRONG) == [REFUSED]:
            waits.append(0.0)
            continue
        due = d.machine.next_deadline
        assert due is not None
        waits.append(due - d.now)
        assert d.pass_time(waits[-1] - 0.01) == []
        assert d.pass_time(0.01) == [REFUSED]
    assert waits == pytest.approx([0, 0, 1, 2, 4, 4, 4, 4, 4])
    assert d.say(WRONG) == ["421 4.7.0 Too many failed logins [s1]"]
    assert d.closed


def test_commands_wait_behind_a_delayed_refusal() -> None:
    """The order of replies is the order of commands."""
    d = Dialogue().ready()
    d.say(WRONG + WRONG)
    assert d.say(WRONG + b"NOOP\r\n") == []
    assert d.pass_time(1) == [REFUSED, "250 OK"]


# --- replies of hooks -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "line"),
    [
        (HookName.NOOP, b"NOOP\r\n"),
        (HookName.RSET, b"RSET\r\n"),
        (HookName.VRFY, b"VRFY a\r\n"),
        (HookName.EHLO, b"EHLO c\r\n"),
        (HookName.HELO, b"HELO c\r\n"),
        (HookName.MAIL, MAIL),
    ],
)
def test_a_hook_that_raises_is_451_with_a_fixed_text(hook: HookName, line: bytes) -> None:
    """No text of an exception reaches a client."""
    d = Dialogue().logged_in()
    d.script[hook] = Raised(RuntimeError("secret\r\n250 Ok"))
    assert d.say(line) == ["451 4.3.0 Internal error [s1]"]
    assert not d.machine.in_transaction


def test_a_login_hook_that_raises_is_451_and_no_login() -> None:
    """Unknown means temporary: never 535 for our own defect."""
    d = Dialogue(script={HookName.AUTH_PLAIN: Raised()}).ready()
    assert d.say(LOGIN) == ["451 4.3.0 Internal error [s1]"]
    assert not d.machine.authenticated


def test_quit_is_obeyed_even_if_its_hook_raises() -> None:
    """RFC 5321 4.1.1.10: 221, then close."""
    d = Dialogue(script={HookName.QUIT: Raised()}).ready()
    assert d.say(b"QUIT\r\n") == ["221 Bye"]
    assert d.closed


def test_a_raising_data_hook_leaves_nothing_for_the_next_message() -> None:
    """Trap 23: aiosmtpd keeps sender and recipients after an error in DATA."""
    d = Dialogue(script={HookName.DATA: Raised()}).in_data()
    assert d.say(b"x\r\n.\r\n") == ["451 4.3.0 Internal error [s1]"]
    assert d.counts["emails_received", "deferred"] == 1
    assert (d.sender, d.recipients) == ("", [])
    assert d.say(RCPT) == ["503 5.5.1 Need MAIL command first [s1]"]


def test_a_refused_mail_opens_no_transaction() -> None:
    """The first digit decides, whatever the hook wrote into the envelope."""
    d = Dialogue(script={HookName.MAIL: "451 4.3.2 Service temporarily unavailable [s1]"})
    d.logged_in()
    d.say(MAIL)
    assert d.say(RCPT) == ["503 5.5.1 Need MAIL command first [s1]"]


@pytest.mark.parametrize("hook", [HookName.NOOP, HookName.MAIL, HookName.DATA])
def test_421_of_a_hook_ends_the_session(hook: HookName) -> None:
    """RFC 5321 3.8: a farewell, whoever says it."""
    d = Dialogue(script={hook: "421 4.3.2 Going down [s1]"}).logged_in()
    d.say(MAIL + RCPT if hook is HookName.DATA else b"")
    if hook is HookName.DATA:
        d.say(b"DATA\r\n")
    lines = {HookName.NOOP: b"NOOP\r\n", HookName.MAIL: MAIL, HookName.DATA: b"x\r\n.\r\n"}
    assert d.say(lines[hook]) == ["421 4.3.2 Going down [s1]"]
    assert d.closed


@pytest.mark.parametrize(
    "line", ["", "2", "250-no", "hello", "250 a\r\n250 b", "250 \u00e9", "699 x"]
)
def test_what_is_no_reply_never_leaves(line: str) -> None:
    """RFC 5321 4.2; trap 37: a hook's mistake is said as one."""
    d = Dialogue(script={HookName.NOOP: line}).ready()
    assert d.say(b"NOOP\r\n") == ["451 4.3.0 Internal error [s1]"]


def test_a_reply_in_octets_is_a_reply() -> None:
    """The contract of aiosmtpd: a status is text or octets."""
    d = Dialogue(script={HookName.NOOP: b"250 fine"}).ready()
    assert d.say(b"NOOP\r\n") == ["250 fine"]


def test_a_code_alone_gets_its_space() -> None:
    """Go's client fails without the space after the code."""
    d = Dialogue(script={HookName.NOOP: "250"}).ready()
    assert d.say(b"NOOP\r\n") == ["250 "]


def test_the_ehlo_hook_may_replace_the_lines() -> None:
    """The contract of aiosmtpd: the list that is returned is said, its last line marked anew."""
    d = Dialogue(script={HookName.EHLO: lambda _name, lines: [*lines, "250 EXTRA"]})
    d.start()
    assert d.say(b"EHLO c\r\n")[-2:] == ["250-LIMITS RCPTMAX=100", "250 EXTRA"]


@pytest.mark.parametrize("result", [[], ["250-a", "550 b"], ["250 a\r\nb"], 7, ["250 "]])
def test_an_ehlo_hook_that_returns_no_list_of_lines_is_a_defect(result: object) -> None:
    """RFC 5321 4.2.1: equal codes in all lines."""
    d = Dialogue(script={HookName.EHLO: lambda _name, _lines: result})
    d.start()
    assert d.say(b"EHLO c\r\n") == ["451 4.3.0 Internal error [s1]"]


def test_an_ehlo_hook_may_refuse() -> None:
    """RFC 5321 4.1.4: then the client has not been greeted."""
    d = Dialogue(script={HookName.EHLO: lambda _name, _lines: "550 5.7.1 Go away [s1]"})
    d.start()
    assert d.say(b"EHLO c\r\n") == ["550 5.7.1 Go away [s1]"]
    assert d.say(LOGIN) == ["503 5.5.1 Send EHLO first [s1]"]
