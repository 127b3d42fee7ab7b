"""State of one session and the few things that change it; the base on which the machine stands.

Kept apart from the machine, so that the commands (``verbs``) and what becomes of hook results
(``results``) can be plain functions of it.
"""

from __future__ import annotations

import re
from enum import IntEnum, auto
from functools import cache
from typing import TYPE_CHECKING

from smtp_gateway.smtp import replies
from smtp_gateway.smtp.deadlines import Deadlines, UploadPace
from smtp_gateway.smtp.effects import (
    AuthAnswer,
    BodyDiscard,
    CallHook,
    Close,
    Count,
    Effect,
    HookName,
    ResetEnvelope,
    Send,
    SessionSettings,
    TlsInfo,
    TlsMode,
)

if TYPE_CHECKING:
    from smtp_gateway.smtp.data import DataReader
    from smtp_gateway.smtp.replies import Reply

# RFC 5321 4.2: three digits, a space, printable ASCII; 512 octets with CRLF (4.5.3.1.5)
_REPLY = re.compile(r"[2-5][0-5][0-9] [ -~]{0,506}")
_CODE_DIGITS = 3
_CODES = re.compile(r"\d{3}(?: \d(?:\.\d{1,3}){2}(?= ))?")  # RFC 5321 4.2, RFC 3463 2

_STATUS = {"2": "ok", "3": "ok", "4": "temporary", "5": "permanent"}
_VERBS = (
    "AUTH", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET",
    "STARTTLS", "VRFY", "other",
)  # fmt: skip
_COMMAND_COUNTS = {
    (verb, digit): Count("commands", {"command": verb, "status": status})
    for verb in _VERBS
    for digit, status in _STATUS.items()
}
_RECEIVED_COUNTS = {
    digit: Count("emails_received", {"status": status})
    # 3yz is no answer to a dot: a handler that gives it has taken nothing
    for digit, status in (
        ("2", "accepted"),
        ("3", "deferred"),
        ("4", "deferred"),
        ("5", "rejected"),
    )
}
_ABORTED = Count("emails_received", {"status": "aborted"})

# What counts against a session. Refused addresses and parameters do not: a mailing has many; nor
# do RCPT and DATA behind a refused MAIL: a client that pipelines sends a hundred of them.
BAD_COMMANDS = frozenset({
    replies.UNKNOWN_COMMAND, replies.SYNTAX, replies.LINE_TOO_LONG, replies.AUTH_TOO_LONG,
    replies.NO_ARGUMENT, replies.BAD_ARGUMENT, replies.AUTH_SYNTAX, replies.MAIL_SYNTAX,
    replies.RCPT_SYNTAX, replies.NOT_IMPLEMENTED, replies.HELLO_FIRST, replies.NESTED_MAIL,
    replies.ALREADY_SECURED, replies.ALREADY_AUTHENTICATED, replies.AUTH_IN_TRANSACTION,
    replies.UNKNOWN_MECHANISM,
})  # fmt: skip


class Phase(IntEnum):  # hashed in C; each turn looks it up several times
    """What the session waits for."""

    NEW = auto()  # start
    COMMAND = auto()  # a command line
    CHALLENGE = auto()  # the client's answer to a challenge; the hook is out
    BODY = auto()  # the end of the message
    HOOK = auto()  # the hook
    DELAY = auto()  # the end of the delay after a failed login
    HANDSHAKE = auto()  # tls_started
    CLOSED = auto()  # nothing


class SessionState:
    """Facts of the session, and the effects that the present call has brought so far."""

    def __init__(self, settings: SessionSettings, *, secured: TlsInfo | None = None) -> None:
        self.settings = settings
        self.tls = secured
        self.authenticated = False
        self.mechanism = ""
        self.messages = 0
        self.ended_by = ""
        self.refusals = 0
        self.last_refusal = ""  # verb and codes; the words may hold an address
        self.in_transaction = False
        self.declared_size: int | None = None
        self.phase = Phase.NEW
        self.now = 0.0
        self.deadlines = Deadlines(settings.timeouts)
        self.verb = ""  # of the command not answered yet
        self.extended: bool | None = None  # None before EHLO or HELO, False after HELO
        self.recipients = 0
        self.size_asked: int | None = None  # SIZE of the MAIL that the hook has not judged yet
        self.tls_refused = False
        self.bad_commands = 0
        self.login_failures = 0
        self.login_failure_reason = ""
        self.auth_reply = ""  # the exchange was answered before its hook returned
        self.delayed = ""  # the reply that waits for delay_until
        self.delay_until = 0.0
        self.reader: DataReader | None = None
        self.pace: UploadPace | None = None
        self.hook: HookName | None = None
        self.input = b""
        self.at = 0  # how far the input was parsed
        self._out: list[Effect] = []
        self._call: CallHook | None = None

    # --- facts for the edge -----------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """The session has ended; ``ended_by`` says why."""
        return self.phase is Phase.CLOSED

    @property
    def receiving(self) -> bool:
        """A message is being received."""
        return self.phase is Phase.BODY

    @property
    def hook_out(self) -> bool:
        """A hook was called and has not been reported."""
        return self.hook is not None

    @property
    def awaiting_data(self) -> bool:
        """The hook that is out is the one for DATA: its outcome decides about a message."""
        return self.hook is HookName.DATA

    # --- what the session says and asks -----------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Add an effect."""
        self._out.append(effect)

    def say(self, reply: Reply, **facts: str | float) -> None:
        """Answer with a reply of the table."""
        if reply in BAD_COMMANDS and self._used_up():
            self.say(replies.TOO_MANY_ERRORS)
            self.close("errors")
        elif facts or reply.code >= 400:  # noqa: PLR2004  # errors carry the reference
            self.say_line(reply.line(self.settings.session_id, **facts))
        else:
            self.say_line(plain(reply))

    def say_line(self, line: str) -> str:
        """Answer with this line, and return what was said.

        What is no well-formed reply is a defect, and said as one.
        """
        if len(line) == _CODE_DIGITS:
            line += " "  # Go's client fails without the space
        if _REPLY.fullmatch(line) is None:
            line = replies.DEFECT.line(self.settings.session_id)
        self._out.append(Send(f"{line}\r\n".encode("ascii")))
        if line[0] > "3":  # RFC 5321 4.2.1: 4yz and 5yz
            self._note_refusal(line)
        self.answered(line[0])
        return line

    def _note_refusal(self, line: str) -> None:
        codes = _CODES.match(line)
        self.refusals += 1
        self.last_refusal = f"{self.verb or 'message'} {codes[0] if codes else ''}"

    def answered(self, digit: str) -> None:
        """A command was completed by a reply with this first digit."""
        self.deadlines.replied(self.now)
        if self.verb:
            self._out.append(_COMMAND_COUNTS[self.verb, digit])
            self.verb = ""

    def count_received(self, line: str) -> None:
        """The reply to a final dot was given."""
        self._out.append(_RECEIVED_COUNTS[line[0]])

    def call(self, name: HookName, *args: object) -> None:
        """Call a hook and wait for it."""
        self.phase = Phase.HOOK
        self.hook = name
        self._call = CallHook(name, args)

    def reset(self) -> None:
        """Forget the transaction, on every path out of it (RFC 5321 4.1.1.5)."""
        self.in_transaction = False
        self.recipients = 0
        self.declared_size = None
        self.reader = self.pace = None
        self._out.append(ResetEnvelope())

    def close(self, reason: str) -> None:
        """End the session; what was begun is given up."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.BODY:
            self._out += (BodyDiscard(), _ABORTED)
        if self.phase is Phase.CHALLENGE:
            self._out.append(AuthAnswer(None))
        self.phase = Phase.CLOSED
        self.ended_by = reason
        self.input, self.at = b"", 0
        self.reader = self.pace = None
        self.in_transaction = False
        self._out.append(Close())

    def taken(self) -> list[Effect]:
        """All effects of this call, the call of a hook last."""
        effects, self._out = self._out, []
        if self._call is not None:
            effects.append(self._call)
            self._call = None
        return effects

    def _used_up(self) -> bool:
        self.bad_commands += 1
        s = self.settings
        allowed = s.max_bad_commands if self.authenticated else s.max_bad_commands_before_login
        return self.bad_commands > allowed

    # --- policy -----------------------------------------------------------------------------------

    @property
    def tls_needed(self) -> bool:
        """Most commands wait until TLS is there (RFC 3207 4)."""
        return self.tls is None and self.settings.tls_mode is not TlsMode.OPTIONAL

    @property
    def auth_allowed(self) -> bool:
        """A login may be tried now: never in clear but where the operator allows it."""
        return self.tls is not None or (
            self.settings.tls_mode is TlsMode.OPTIONAL and self.settings.clear_auth_allowed
        )


@cache
def plain(reply: Reply) -> str:
    """A reply without facts and reference, made once."""
    return reply.line()
