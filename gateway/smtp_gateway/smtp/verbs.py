"""What each command does: a function per verb, in one table.

A function checks order and syntax, then answers or calls the hook; what it refuses it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smtp_gateway.smtp import auth, commands, replies
from smtp_gateway.smtp.commands import Refused
from smtp_gateway.smtp.data import DataLimits, DataReader
from smtp_gateway.smtp.deadlines import UploadPace
from smtp_gateway.smtp.effects import BodyBegin, Count, HookName, StartTls, TlsMode
from smtp_gateway.smtp.state import Phase, SessionState

Verb = Callable[[SessionState, str], None]

# RFC 3207 4 lets these through before TLS; HELO so that an old client is told at its next command
ALLOWED_IN_CLEAR = frozenset({"EHLO", "HELO", "NOOP", "QUIT", "STARTTLS"})
TLS_REQUIRED = Count("auth_failures", {"reason": "tls_required"})


def ehlo_lines(c: SessionState) -> list[str]:
    """The reply to EHLO, as aiosmtpd hands it to the hook (what is offered: smtp-server 3.1)."""
    s = c.settings
    words = [s.hostname, "PIPELINING", f"SIZE {s.message_size_limit_bytes}", "8BITMIME"]
    # RFC 3207 4.2: not offered in TLS
    if c.tls is None and s.tls_available and s.tls_mode is not TlsMode.IMPLICIT:
        words.append("STARTTLS")
    if c.auth_allowed:
        words.append(" ".join(("AUTH", *s.mechanisms)))  # RFC 4954 3: only where it can be used
    if s.smtputf8:
        words.append("SMTPUTF8")
    words.append(f"LIMITS RCPTMAX={s.max_recipients}")  # RFC 9422
    return [*(f"250-{word}" for word in words[:-1]), f"250 {words[-1]}"]


def _ehlo(c: SessionState, argument: str) -> None:
    name = commands.hello_name(argument)
    c.reset()  # RFC 5321 4.1.4: EHLO clears the transaction, and keeps the login
    c.call(HookName.EHLO, name, ehlo_lines(c))


def _helo(c: SessionState, argument: str) -> None:
    name = commands.hello_name(argument)
    c.reset()
    c.call(HookName.HELO, name)


def _noop(c: SessionState, argument: str) -> None:
    c.call(HookName.NOOP, argument)


def _rset(c: SessionState, _: str) -> None:
    c.reset()
    c.call(HookName.RSET)


def _quit(c: SessionState, _: str) -> None:
    c.call(HookName.QUIT)


def _vrfy(c: SessionState, argument: str) -> None:
    _need_login(c)
    if not argument:
        raise Refused(replies.BAD_ARGUMENT)
    c.call(HookName.VRFY, argument)  # RFC 5321 3.5.3, 7.3


def _expn(_c: SessionState, _: str) -> None:
    raise Refused(replies.NOT_IMPLEMENTED)


def _help(c: SessionState, _: str) -> None:
    c.say(replies.HELP_LINE)


def _starttls(c: SessionState, argument: str) -> None:
    if c.tls is not None:
        raise Refused(replies.ALREADY_SECURED)
    if argument:
        raise Refused(replies.NO_ARGUMENT)  # RFC 3207 4
    if not c.settings.tls_available:
        raise Refused(replies.TLS_UNAVAILABLE)
    # RFC 3207 4.2: what came in clear behind this line must not act inside TLS
    c.input, c.at = b"", 0
    c.say(replies.TLS_READY)
    c.phase = Phase.HANDSHAKE
    c.emit(StartTls())


def _auth(c: SessionState, argument: str) -> None:
    if not c.auth_allowed:
        c.emit(TLS_REQUIRED)
        raise Refused(replies.ENCRYPTION_FIRST)  # RFC 4954 6
    if not c.extended:
        raise Refused(replies.HELLO_FIRST)
    if c.in_transaction:
        raise Refused(replies.AUTH_IN_TRANSACTION)  # RFC 4954 4
    if c.authenticated:
        raise Refused(replies.ALREADY_AUTHENTICATED)  # RFC 4954 4
    hook, words = auth.parse(argument, c.settings.mechanisms)
    c.call(hook, words)


def _mail(c: SessionState, argument: str) -> None:
    _need_hello(c)
    _need_login(c)
    if c.in_transaction:
        raise Refused(replies.NESTED_MAIL)  # RFC 5321 4.1.4
    s = c.settings
    if c.messages >= s.max_messages:
        c.say(replies.TOO_MANY_MESSAGES)
        c.close("messages")
        return
    path = commands.mail_path(argument, size_limit=s.message_size_limit_bytes, smtputf8=s.smtputf8)
    c.size_asked = path.size
    c.call(HookName.MAIL, path.address, path.parameters)


def _rcpt(c: SessionState, argument: str) -> None:
    _need_login(c)
    if not c.in_transaction:
        raise Refused(replies.MAIL_FIRST)
    path = commands.recipient_path(argument, smtputf8=c.settings.smtputf8)
    limit = c.settings.max_recipients
    if c.recipients >= limit:
        raise Refused(replies.TOO_MANY_RECIPIENTS, limit=limit)  # RFC 5321 4.5.3.1.10: 452
    c.call(HookName.RCPT, path.address, path.parameters)


def _data(c: SessionState, argument: str) -> None:
    if c.at < len(c.input):
        # RFC 2920 3.1: DATA is the last of its group. Octets behind it are a client that does not
        # wait for 354, or an attack; read as commands they would be a second message.
        c.say(replies.EARLY_INPUT)
        c.close("early_input")
        return
    _need_login(c)
    if argument:
        raise Refused(replies.NO_ARGUMENT)
    if not c.in_transaction:
        raise Refused(replies.MAIL_FIRST)
    if not c.recipients:
        raise Refused(replies.RCPT_FIRST)
    s = c.settings
    limits = DataLimits(
        message_bytes=s.message_size_limit_bytes,
        header_bytes=s.header_section_limit_bytes,
        header_fields=s.header_fields_limit,
        received_fields=s.received_fields_limit,
    )
    c.reader = DataReader(limits, s.line_endings)
    c.pace = UploadPace(s.timeouts, c.now)
    c.phase = Phase.BODY
    c.say(replies.START_INPUT)
    c.emit(BodyBegin())


def _need_hello(c: SessionState) -> None:
    if c.extended is None:
        raise Refused(replies.HELLO_FIRST)  # RFC 5321 4.1.4


def _need_login(c: SessionState) -> None:
    if c.authenticated:
        return
    if c.login_failure_reason:  # .NET goes on after a refused login, and shows only this reply
        raise Refused(replies.LOGIN_FAILED_BEFORE, reason=c.login_failure_reason)
    raise Refused(replies.LOGIN_FIRST)  # RFC 6409 4.3


VERBS: Mapping[str, Verb] = {
    "AUTH": _auth,
    "DATA": _data,
    "EHLO": _ehlo,
    "EXPN": _expn,
    "HELO": _helo,
    "HELP": _help,
    "MAIL": _mail,
    "NOOP": _noop,
    "QUIT": _quit,
    "RCPT": _rcpt,
    "RSET": _rset,
    "STARTTLS": _starttls,
    "VRFY": _vrfy,
}
