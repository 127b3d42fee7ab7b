"""What each hook's result means: a function per hook, in one table.

The machine judges a reply by its first digit only: MAIL 2xx opens a transaction, RCPT 2xx is a
recipient. None is the machine's own answer. Each function returns the line that was said, or ""
when nothing was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from smtp_gateway.smtp import auth, replies
from smtp_gateway.smtp.effects import HookName, Send
from smtp_gateway.smtp.replies import Reply
from smtp_gateway.smtp.state import Phase, SessionState, plain
from smtp_gateway.smtp.verbs import ehlo_lines

Result = Callable[[SessionState, object], str]

_EHLO_LINE = re.compile(r"250[ -][!-~][ -~]{0,505}")

# What stands for the result of a hook that raised; any other is answered as a defect of ours.
WHEN_FAILED: Mapping[HookName | None, object] = {HookName.STARTTLS: False, HookName.QUIT: None}


def _said(c: SessionState, result: object, default: Reply, **facts: str) -> str:
    if result is None:
        return c.say_line(default.line(**facts) if facts else plain(default))
    # aiosmtpd takes octets as well
    return c.say_line(
        result.decode("ascii", "replace") if isinstance(result, bytes) else str(result)
    )


def _ehlo(c: SessionState, result: object) -> str:
    lines = ehlo_lines(c) if result is None else result
    if isinstance(lines, str):
        return c.say_line(lines)  # the hook refuses the client
    words = _words(lines)
    if not words:
        return c.say_line(replies.DEFECT.line(c.settings.session_id))
    c.extended = True
    # RFC 5321 4.2.1: one reply, its last line marked by the space
    text = "".join(f"250-{word}\r\n" for word in words[:-1]) + f"250 {words[-1]}\r\n"
    c.emit(Send(text.encode("ascii")))
    c.answered("2")
    return f"250 {words[-1]}"


def _words(lines: object) -> list[str]:
    """What stands behind the code in each line; nothing if one of them is no line of this reply."""
    if not isinstance(lines, list):
        return []
    if not all(isinstance(line, str) and _EHLO_LINE.fullmatch(line) for line in lines):
        return []
    return [line[4:] for line in lines]


def _helo(c: SessionState, result: object) -> str:
    line = _said(c, result, replies.HELLO, hostname=c.settings.hostname)
    if line.startswith("2"):
        c.extended = False
    return line


def _ok(c: SessionState, result: object) -> str:
    return _said(c, result, replies.OK)


def _vrfy(c: SessionState, result: object) -> str:
    return _said(c, result, replies.CANNOT_VERIFY)


def _quit(c: SessionState, result: object) -> str:
    line = _said(c, result, replies.GOODBYE)
    c.close("quit")  # RFC 5321 4.1.1.10
    return line


def _starttls(c: SessionState, result: object) -> str:
    c.tls_refused = result is not None and not result
    return ""


def _mail(c: SessionState, result: object) -> str:
    line = _ok(c, result)
    if line.startswith("2"):
        c.in_transaction = True
        c.declared_size = c.size_asked
    else:
        c.reset()
    return line


def _rcpt(c: SessionState, result: object) -> str:
    line = _ok(c, result)
    c.recipients += line.startswith("2")
    return line


def _data(c: SessionState, result: object) -> str:
    line = _ok(c, result)
    c.count_received(line)
    c.reset()  # on every path, or the next message inherits these recipients
    return line


def _login(c: SessionState, result: object) -> str:
    hook_line = getattr(result, "message", None) or ""
    if c.auth_reply:
        line, c.auth_reply = c.auth_reply, ""
        return login_failed(c, line, answered=True)
    if getattr(result, "success", False) is True and hook_line[:1] in {"", "2"}:
        c.authenticated = True
        c.login_failure_reason = ""
        return c.say_line(hook_line or plain(replies.AUTHENTICATED))
    if isinstance(result, str):
        hook_line = result
    line = hook_line or replies.LOGIN_REFUSED.line(c.settings.session_id)
    return login_failed(c, line, answered=False)


def _plain_login(c: SessionState, result: object) -> str:
    line = _login(c, result)
    c.mechanism = "PLAIN" if c.authenticated else ""
    return line


def _login_login(c: SessionState, result: object) -> str:
    line = _login(c, result)
    c.mechanism = "LOGIN" if c.authenticated else ""
    return line


def login_failed(c: SessionState, line: str, *, answered: bool) -> str:
    """Account for a failed login and say ``line`` unless the client was already answered.

    The first two replies come at once, later ones after a delay, the tenth ends the session
    (smtp-server 3.7). A temporary refusal is nobody's wrong password and costs nothing.
    """
    if line.startswith(_ABORTED):
        return line  # the client's own wish, and no guess
    c.login_failure_reason = auth.reason_of(line)
    c.login_failures += line.startswith("5")
    if c.login_failures >= auth.FAILURES_UNTIL_CLOSE:
        c.say(replies.TOO_MANY_LOGINS)
        c.close("logins")
        return ""
    delay = auth.delay_after(c.login_failures) if line.startswith("5") else 0.0
    if delay:
        c.phase = Phase.DELAY
        c.delayed = "" if answered else line
        c.delay_until = c.now + delay
        return ""
    return "" if answered else c.say_line(line)


_ABORTED = f"{replies.AUTH_ABORTED.code} {replies.AUTH_ABORTED.enhanced} "

RESULTS: Mapping[HookName, Result] = {
    HookName.EHLO: _ehlo,
    HookName.HELO: _helo,
    HookName.NOOP: _ok,
    HookName.RSET: _ok,
    HookName.QUIT: _quit,
    HookName.VRFY: _vrfy,
    HookName.MAIL: _mail,
    HookName.RCPT: _rcpt,
    HookName.DATA: _data,
    HookName.STARTTLS: _starttls,
    HookName.AUTH_PLAIN: _plain_login,
    HookName.AUTH_LOGIN: _login_login,
}
