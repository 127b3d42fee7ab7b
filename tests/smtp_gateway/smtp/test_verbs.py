"""Commands in order and out of order: bytes in, replies and hook calls out."""

from __future__ import annotations

import pytest

from smtp_gateway.smtp.effects import HookName, TlsMode
from tests.support.dialogue import LOGIN, TLS, WRONG, Dialogue, settings

MAIL = b"MAIL FROM:<a@sender.test>\r\n"
RCPT = b"RCPT TO:<b@x.test>\r\n"


def first(replies: list[str]) -> str:
    """The code of the only reply."""
    assert len(replies) == 1, replies
    return replies[0][:3]


# --- greeting, EHLO, HELO -------------------------------------------------------------------------


def test_greets_at_once_and_names_no_product() -> None:
    """RFC 5321 3.1, 4.3.1: the greeting is 220 with the host name and nothing else of us."""
    assert Dialogue().start() == ["220 mx.test ESMTP"]


def test_ehlo_in_tls_lists_what_is_offered() -> None:
    """RFC 5321 4.1.1.1, RFC 6409 7: PIPELINING, SIZE, 8BITMIME, AUTH, LIMITS; no STARTTLS here."""
    d = Dialogue()
    d.start()
    assert d.say(b"EHLO client.test\r\n") == [
        "250-mx.test",
        "250-PIPELINING",
        "250-SIZE 26214400",
        "250-8BITMIME",
        "250-AUTH PLAIN LOGIN",
        "250 LIMITS RCPTMAX=100",
    ]


def test_ehlo_before_tls_offers_starttls_and_no_auth() -> None:
    """RFC 3207 4.2, RFC 4954 3: STARTTLS before TLS only, AUTH only where it can be used."""
    d = Dialogue(secured=None)
    d.start()
    assert d.say(b"EHLO client.test\r\n") == [
        "250-mx.test",
        "250-PIPELINING",
        "250-SIZE 26214400",
        "250-8BITMIME",
        "250-STARTTLS",
        "250 LIMITS RCPTMAX=100",
    ]


def test_ehlo_without_a_certificate_offers_no_starttls() -> None:
    """RFC 3207 4: what cannot be done is not offered."""
    d = Dialogue(settings(tls_available=False), secured=None)
    d.start()
    assert "250-STARTTLS" not in d.say(b"EHLO client.test\r\n")


def test_limits_names_the_limit_that_is_enforced() -> None:
    """RFC 9422 3, 4: RCPTMAX equals the limit."""
    d = Dialogue(settings(max_recipients=2))
    d.start()
    assert d.say(b"EHLO c\r\n")[-1] == "250 LIMITS RCPTMAX=2"
    d.say(LOGIN)
    replies = d.say(MAIL + RCPT * 3)
    assert replies[1:] == ["250 OK", "250 OK", "452 4.5.3 Too many recipients, limit 2 [s1]"]


def test_helo_lists_nothing() -> None:
    """RFC 5321 3.2: the reply to HELO is one line."""
    d = Dialogue()
    d.start()
    assert d.say(b"HELO client.test\r\n") == ["250 mx.test"]


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b" ",
        b" [127.0.0.1]",
        b" 10.0.0.1",
        b" a@b",
        b" under_score",
        b" two words",
        b" \xc3\xa9",
    ],
)
def test_hello_takes_any_name_or_none(argument: bytes) -> None:
    """RFC 5321 4.1.4: an unknown argument is no reason to refuse; none at all is seen as well."""
    d = Dialogue()
    d.start()
    assert d.say(b"EHLO" + argument + b"\r\n")[0] == "250-mx.test"
    assert d.say(b"HELO" + argument + b"\r\n") == ["250 mx.test"]


def test_hello_refuses_a_name_that_cannot_be_shown() -> None:
    """Control characters and more than 255 octets are no name."""
    d = Dialogue()
    d.start()
    assert first(d.say(b"EHLO a\x01b\r\n")) == "501"
    assert first(d.say(b"EHLO " + b"a" * 256 + b"\r\n")) == "501"


def test_the_hook_gets_name_and_lines_of_ehlo() -> None:
    """The contract of aiosmtpd: five-argument form of handle_EHLO."""
    d = Dialogue().ready()
    name, lines = d.calls[0].args
    assert name == "client.test"
    assert isinstance(lines, list)
    assert lines[0] == "250-mx.test"
    assert lines[-1] == "250 LIMITS RCPTMAX=100"


@pytest.mark.parametrize("verb", [b"ehlo", b"Ehlo", b"EHLO"])
def test_verbs_have_no_case(verb: bytes) -> None:
    """RFC 5321 2.4: verbs in any case."""
    d = Dialogue()
    d.start()
    assert d.say(verb + b" c\r\n")[0] == "250-mx.test"


# --- order ----------------------------------------------------------------------------------------


def test_mail_before_hello_is_503() -> None:
    """RFC 5321 4.1.4: EHLO comes first."""
    d = Dialogue()
    d.start()
    assert d.say(MAIL) == ["503 5.5.1 Send EHLO first [s1]"]


@pytest.mark.parametrize("command", [MAIL, RCPT, b"DATA\r\n", b"VRFY a\r\n"])
def test_nothing_that_sends_works_without_login(command: bytes) -> None:
    """RFC 6409 4.3: 530 5.7.0 before a login."""
    d = Dialogue().ready()
    assert d.say(command) == ["530 5.7.0 Authentication required [s1]"]


def test_rcpt_and_data_need_mail() -> None:
    """RFC 5321 4.1.1.2-4: RCPT without MAIL 503, DATA without MAIL 503."""
    d = Dialogue().logged_in()
    assert d.say(RCPT) == ["503 5.5.1 Need MAIL command first [s1]"]
    assert d.say(b"DATA\r\n") == ["503 5.5.1 Need MAIL command first [s1]"]


def test_data_needs_a_good_recipient() -> None:
    """RFC 5321 3.3: DATA without a good RCPT is 503, and the transaction stays open."""
    d = Dialogue(script={HookName.RCPT: "550 5.1.1 No such user [s1]"}).logged_in()
    d.say(MAIL + RCPT)
    assert d.say(b"DATA\r\n") == ["503 5.5.1 Need RCPT command first [s1]"]
    assert d.machine.in_transaction


def test_second_mail_is_503() -> None:
    """RFC 5321 4.1.4: MAIL in a transaction."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    assert d.say(MAIL) == ["503 5.5.1 Sender already given [s1]"]


@pytest.mark.parametrize("command", [b"RSET\r\n", b"EHLO again\r\n", b"HELO again\r\n"])
def test_rset_and_hello_clear_the_transaction_and_keep_the_login(command: bytes) -> None:
    """RFC 5321 4.1.1.5, 4.1.4: recipients of the first message are not those of the second."""
    d = Dialogue().logged_in()
    d.say(MAIL + RCPT)
    d.say(command)
    assert not d.machine.in_transaction
    assert d.machine.authenticated
    d.say(MAIL + b"RCPT TO:<second@x.test>\r\n")
    d.say(b"DATA\r\n")
    d.say(b"x\r\n.\r\n")
    assert [mail.recipients for mail in d.mails] == [["second@x.test"]]


def test_a_whole_transaction() -> None:
    """RFC 5321 3.3: MAIL, RCPT, DATA; the 250 carries the handler's id, the session goes on."""
    d = Dialogue(script={HookName.DATA: "250 Ok 0c4f"}).in_data()
    assert d.say(b"Subject: x\r\n\r\nhello\r\n.\r\n") == ["250 Ok 0c4f"]
    mail = d.mails[0]
    assert mail.sender == "a@sender.test"
    assert mail.recipients == ["b@x.test"]
    assert mail.content == b"Subject: x\r\n\r\nhello\r\n"
    assert d.counts["emails_received", "accepted"] == 1
    assert d.say(b"QUIT\r\n") == ["221 Bye"]


def test_null_sender_is_no_cause_for_refusal() -> None:
    """RFC 5321 4.5.5, RFC 6409 3.2: `<>` reaches the hook as aiosmtpd has it."""
    d = Dialogue().logged_in()
    assert d.say(b"MAIL FROM:<>\r\n") == ["250 OK"]
    assert d.calls[-1].args == ("<>", [])


def test_postmaster_without_domain_goes_to_the_hook() -> None:
    """RFC 5321 4.5.1: whoever Postmaster is, is policy."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    assert d.say(b"RCPT TO:<postMASTER>\r\n") == ["250 OK"]
    assert d.calls[-1].args == ("Postmaster", [])


def test_noop_rset_quit_take_an_argument_or_none() -> None:
    """RFC 5321 4.1.1.5-10: at any time, with or without argument."""
    d = Dialogue()
    d.start()
    assert d.say(b"NOOP\r\nNOOP hello\r\nRSET\r\nRSET x\r\n") == ["250 OK"] * 4
    assert d.say(b"QUIT now\r\n") == ["221 Bye"]
    assert d.closed


def test_vrfy_after_login_says_252_to_anything() -> None:
    """RFC 5321 3.5.3, 7.3."""
    d = Dialogue().logged_in()
    assert first(d.say(b"VRFY <anybody@x.test>\r\n")) == "252"
    assert first(d.say(b"VRFY\r\n")) == "501"


def test_expn_help_and_bdat() -> None:
    """RFC 5321 3.5, 4.1.1.8; BDAT is not offered, so it is no command."""
    d = Dialogue().ready()
    assert first(d.say(b"EXPN list\r\n")) == "502"
    assert first(d.say(b"HELP\r\n")) == "214"
    assert first(d.say(b"BDAT 100 LAST\r\n")) == "500"
    assert first(d.say(b"ETRN x\r\n")) == "500"
    assert first(d.say(b"\r\n")) == "500"


def test_data_takes_no_argument() -> None:
    """RFC 5321 4.1.1.4."""
    d = Dialogue().logged_in()
    d.say(MAIL + RCPT)
    assert first(d.say(b"DATA now\r\n")) == "501"


def test_bytes_behind_data_close_the_session() -> None:
    """RFC 2920 3.1: DATA is the last of its group; what follows it is not read as commands."""
    d = Dialogue().logged_in()
    replies = d.say(MAIL + RCPT + b"DATA\r\nx\r\n.\r\nMAIL FROM:<evil@x.test>\r\n")
    assert replies == ["250 OK", "250 OK", "554 5.5.0 Input before the reply to DATA [s1]"]
    assert d.closed
    assert d.mails == []
    assert d.names().count("MAIL") == 1


def test_a_group_is_answered_in_order_and_commands_behind_the_dot_wait() -> None:
    """RFC 2920 3.1, 3.2: nothing is lost in the buffer."""
    d = Dialogue(script={HookName.DATA: "250 Ok 1"}).in_data()
    replies = d.say(b"x\r\n.\r\nMAIL FROM:<second@sender.test>\r\nRCPT TO:<b@x.test>\r\nNOOP\r\n")
    assert replies == ["250 Ok 1", "250 OK", "250 OK", "250 OK"]


def test_hundred_recipients_are_taken() -> None:
    """RFC 5321 4.5.3.1.8: at least 100; 452 beyond (4.5.3.1.10)."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    replies = d.say(RCPT * 101)
    assert replies[:100] == ["250 OK"] * 100
    assert replies[100].startswith("452 4.5.3 Too many recipients")


def test_a_refused_recipient_leaves_the_others() -> None:
    """drop-in 8.1 item 9."""

    def judge(address: str, _: list[str]) -> str | None:
        return "550 5.1.1 Refused [s1]" if address == "bad@x.test" else None

    d = Dialogue(script={HookName.RCPT: judge}).logged_in()
    d.say(MAIL + b"RCPT TO:<bad@x.test>\r\nRCPT TO:<good@x.test>\r\n")
    d.say(b"DATA\r\n")
    d.say(b"x\r\n.\r\n")
    assert d.mails[0].recipients == ["good@x.test"]


def test_declared_size_over_the_limit_is_552_at_mail() -> None:
    """RFC 1870 6.1: and a true declaration is known to the edge."""
    d = Dialogue(settings(message_size_limit_bytes=1000)).logged_in()
    assert first(d.say(b"MAIL FROM:<a@sender.test> SIZE=1001\r\n")) == "552"
    assert d.machine.declared_size is None
    assert first(d.say(b"MAIL FROM:<a@sender.test> SIZE=1000\r\n")) == "250"
    assert d.machine.declared_size == 1000


def test_parameters_reach_the_hook_with_their_value_as_sent() -> None:
    """RFC 3461: upper-casing the value, as aiosmtpd does, would spoil xtext."""
    d = Dialogue().logged_in()
    d.say(b"MAIL FROM:<a@sender.test> size=9 body=8bitmime envid=Ab+2Bc ret=hdrs auth=<>\r\n")
    assert d.calls[-1].args == (
        "a@sender.test",
        ["SIZE=9", "BODY=8bitmime", "ENVID=Ab+2Bc", "RET=hdrs", "AUTH=<>"],
    )
    d.say(b"RCPT TO:<b@x.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@x.test\r\n")
    assert d.calls[-1].args == ("b@x.test", ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;b@x.test"])


def test_thousand_messages_then_421_at_mail() -> None:
    """smtp-server 3.4: the client connects again; here with a smaller number."""
    d = Dialogue(settings(max_messages=2)).logged_in()
    for _ in range(2):
        d.say(MAIL + RCPT)
        d.say(b"DATA\r\n")
        assert d.say(b"x\r\n.\r\n") == ["250 OK"]
    assert first(d.say(MAIL)) == "421"
    assert d.closed
    assert d.machine.ended_by == "messages"


# --- STARTTLS -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        MAIL,
        RCPT,
        b"DATA\r\n",
        b"AUTH PLAIN\r\n",
        b"RSET\r\n",
        b"VRFY a\r\n",
        b"HELP\r\n",
        b"EXPN a\r\n",
    ],
)
def test_most_commands_need_tls_first(command: bytes) -> None:
    """RFC 3207 4: 530 to the rest when TLS is required, AUTH included."""
    d = Dialogue(secured=None).ready()
    assert d.say(command) == ["530 5.7.0 Must issue a STARTTLS command first [s1]"]


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"EHLO c\r\n", b"HELO c\r\n", b"QUIT\r\n"])
def test_some_commands_need_no_tls(command: bytes) -> None:
    """RFC 3207 4."""
    d = Dialogue(secured=None)
    d.start()
    assert d.say(command)[-1][:1] == "2"


def test_starttls_drops_what_came_behind_it_in_clear() -> None:
    """RFC 3207 4.2: bytes behind STARTTLS, in the same write or later, never act."""
    d = Dialogue(secured=None).ready()
    replies = d.say(b"STARTTLS\r\nEHLO evil\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    assert replies == ["220 Ready to start TLS"]
    assert d.say(b"NOOP\r\n") == []
    assert d.secure() == []
    assert d.names() == ["EHLO", "STARTTLS"]
    assert not d.machine.authenticated


def test_after_starttls_the_state_is_forgotten() -> None:
    """RFC 3207 4.2: EHLO again; STARTTLS neither listed nor taken in TLS."""
    d = Dialogue(secured=None).ready()
    d.say(b"STARTTLS\r\n")
    d.secure()
    assert first(d.say(LOGIN)) == "503"
    assert "250-STARTTLS" not in d.say(b"EHLO c\r\n")
    assert d.say(b"STARTTLS\r\n") == ["503 5.5.1 TLS already active [s1]"]
    assert d.machine.tls == TLS


def test_starttls_in_a_transaction_forgets_transaction_and_login() -> None:
    """Trap 19: nothing of the clear text acts, state gone."""
    config = settings(tls_mode=TlsMode.OPTIONAL, clear_auth_allowed=True)
    d = Dialogue(config, secured=None).logged_in()
    d.say(MAIL + RCPT)
    d.say(b"STARTTLS\r\n")
    d.secure()
    assert not d.machine.in_transaction
    assert not d.machine.authenticated
    d.say(b"EHLO c\r\n")
    assert first(d.say(RCPT)) == "530"


def test_starttls_takes_no_argument_and_needs_a_certificate() -> None:
    """RFC 3207 4: 501, and 454 when unavailable."""
    d = Dialogue(secured=None).ready()
    assert d.say(b"STARTTLS now\r\n") == ["501 5.5.4 No argument allowed [s1]"]
    d = Dialogue(settings(tls_available=False), secured=None).ready()
    assert d.say(b"STARTTLS\r\n") == ["454 4.7.0 TLS not available [s1]"]


def test_a_hook_may_refuse_the_handshake() -> None:
    """The contract of aiosmtpd: handle_STARTTLS returns false, then everything but QUIT is 554."""
    d = Dialogue(secured=None, script={HookName.STARTTLS: False}).ready()
    d.say(b"STARTTLS\r\n")
    d.secure()
    assert first(d.say(b"EHLO c\r\n")) == "554"
    assert first(d.say(b"QUIT\r\n")) == "221"


# --- AUTH: when -----------------------------------------------------------------------------------


def test_auth_in_clear_is_538_where_tls_is_optional() -> None:
    """RFC 4954 6; counted, since somebody's password nearly went over the wire."""
    d = Dialogue(settings(tls_mode=TlsMode.OPTIONAL), secured=None).ready()
    assert first(d.say(LOGIN)) == "538"
    assert d.counts["auth_failures", "tls_required"] == 1


def test_auth_before_ehlo_is_503() -> None:
    """RFC 4954 4: only after EHLO; HELO is not enough."""
    d = Dialogue()
    d.start()
    assert first(d.say(LOGIN)) == "503"
    d.say(b"HELO c\r\n")
    assert first(d.say(LOGIN)) == "503"


def test_second_auth_is_503() -> None:
    """RFC 4954 4: after success, 503 (which smtplib counts as success)."""
    d = Dialogue().logged_in()
    assert d.say(LOGIN) == ["503 5.5.1 Already authenticated [s1]"]
    assert d.machine.authenticated


def test_auth_in_a_transaction_is_503() -> None:
    """RFC 4954 4: not between MAIL and the end of its data."""
    d = Dialogue().logged_in()
    d.say(MAIL)
    assert d.say(LOGIN) == ["503 5.5.1 AUTH not allowed in a mail transaction [s1]"]


def test_unknown_mechanism_is_504() -> None:
    """RFC 4954 4: 504 5.5.4, CRAM-MD5 above all."""
    d = Dialogue().ready()
    assert d.say(b"AUTH CRAM-MD5\r\n") == ["504 5.5.4 Unrecognized authentication type [s1]"]


def test_mail_after_a_refused_login_tells_why() -> None:
    """System.Net.Mail goes on after a refused login and shows its user only this reply."""
    d = Dialogue().ready()
    assert d.say(WRONG) == ["535 5.7.8 Authentication credentials invalid [s1]"]
    reason = "(previous login failed: Authentication credentials invalid)"
    assert d.say(MAIL) == [f"530 5.7.0 Authentication required {reason} [s1]"]
