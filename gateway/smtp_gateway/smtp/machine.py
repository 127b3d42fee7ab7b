"""The SMTP session without I/O: bytes, hook results and time in; effects out.

It imports neither asyncio nor ssl and reads no clock, so a whole session is a function of its
inputs: cheap to fuzz, and every time-out can be proved without waiting. ``smtp/effects.py`` holds
the interface, ``verbs`` the commands, ``data`` the message, ``state`` what is known.

Each input ends in ``_done``: parse what can be parsed in this phase, then see whether the session
has to end (end of input, shutdown), whether to pause or resume, and hand out the effects.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from smtp_gateway.smtp import auth, replies
from smtp_gateway.smtp.commands import Refused, split_command
from smtp_gateway.smtp.data import Fault
from smtp_gateway.smtp.effects import (
    AuthAnswer,
    Body,
    BodyDiscard,
    Count,
    Effect,
    HookName,
    MessageRefused,
    NewSession,
    Pause,
    Resume,
    Send,
    SessionSettings,
    TlsInfo,
)
from smtp_gateway.smtp.results import RESULTS, WHEN_FAILED, login_failed
from smtp_gateway.smtp.state import Phase, SessionState
from smtp_gateway.smtp.verbs import ALLOWED_IN_CLEAR, TLS_REQUIRED, VERBS

if TYPE_CHECKING:
    from collections.abc import Callable

    from smtp_gateway.smtp.replies import Reply

_AUTH_HOOKS = frozenset(auth.MECHANISM_OF)
_PARSING = frozenset({Phase.COMMAND, Phase.CHALLENGE, Phase.BODY})
_WAITING = frozenset({Phase.HOOK, Phase.DELAY})
_BETWEEN = frozenset({Phase.COMMAND, Phase.CHALLENGE, Phase.DELAY})
_MAX_LONG_LINES = 3

_FAULTS = {
    Fault.BARE_CR: (replies.BARE_CR, "bare_cr"),
    Fault.NUL: (replies.NUL_OCTET, "nul"),
    Fault.DOT_LINE: (replies.DOT_LINE, "dot_line"),
    Fault.BARE_LF: (replies.BARE_LF, "bare_lf"),
    Fault.OVER_SIZE: (replies.OVER_SIZE, ""),
    Fault.HEADER_TOO_LARGE: (replies.HEADER_TOO_LARGE, ""),
    Fault.ROUTING_LOOP: (replies.ROUTING_LOOP, ""),
}
_LINE_ENDING_COUNTS = {
    kind: Count("line_ending_refusals", {"kind": kind})
    for kind in ("bare_cr", "bare_lf", "dot_line", "nul", "command")
}
_MALFORMED = Count("auth_failures", {"reason": "malformed"})


class Machine(SessionState):
    """One session, from the greeting to the close. Interface: ``smtp/effects.py``."""

    def __init__(self, settings: SessionSettings, *, secured: TlsInfo | None = None) -> None:
        super().__init__(settings, secured=secured)
        self._paused = False
        self._eof = False
        self._farewell: tuple[Reply, str] | None = None
        self._cut_uploads = False
        self._too_long: Reply | None = None  # the rest of a long line is being thrown away
        self._long_lines = 0
        self._shed: Reply | None = None
        self._discarded = False

    # --- what happens -----------------------------------------------------------------------------

    def start(self, now: float) -> list[Effect]:
        """The connection was accepted: greet."""
        self.now = now
        self.deadlines.begin(now)
        self.phase = Phase.COMMAND
        self.say(replies.GREETING, hostname=self.settings.hostname)
        return self._done()

    def refuse(self, reply: Reply, now: float) -> list[Effect]:
        """Say this and close: now if no transaction is open, else when it has ended."""
        self.now = now
        self._farewell = (reply, "refused")
        if self.phase is Phase.NEW:
            self._say_farewell()
        return self._done()

    def drain(self, now: float, *, uploads: bool = False) -> list[Effect]:
        """The server shuts down. ``uploads``: a transaction that has no dot yet is cut too."""
        self.now = now
        self._farewell = (replies.SHUTTING_DOWN, "drain")
        self._cut_uploads = self._cut_uploads or uploads
        if self.phase is Phase.NEW:
            self._say_farewell()
        return self._done()

    def stress(self, on: bool, now: float) -> list[Effect]:  # noqa: FBT001  # a signal
        """The server is near its limits: less patience before login."""
        self.now = now
        self.deadlines.stressed = on
        return self._done()

    def feed(self, data: bytes, now: float) -> list[Effect]:
        """Octets arrived."""
        self.now = now
        if self.phase in {Phase.HANDSHAKE, Phase.CLOSED}:
            return []  # in clear behind STARTTLS (RFC 3207 4.2), or after the end
        if self.at < len(self.input):
            self.input = self.input[self.at :] + data
        else:
            self.input = data
        self.at = 0
        return self._done()

    def eof(self, now: float) -> list[Effect]:
        """No more will come. A hook that is out ends first, and its reply is still said."""
        self.now = now
        self._eof = True
        return self._done()

    def tls_started(self, info: TlsInfo, now: float) -> list[Effect]:
        """The handshake ended well: everything known about the client is forgotten."""
        self.now = now
        if self.phase is not Phase.HANDSHAKE:
            return []
        self.tls = info
        if self.authenticated:
            self.deadlines.begin(now)
        # RFC 3207 4.2: back to the state after the greeting, EHLO included
        self.authenticated, self.mechanism, self.extended = False, "", None
        self.login_failure_reason = ""
        self.emit(NewSession())
        self.reset()
        self.call(HookName.STARTTLS)
        return self._done()

    def challenge(self, text: bytes | str, now: float) -> list[Effect]:
        """The hook of AUTH asks; ``text`` is sent in base64."""
        self.now = now
        if self.phase is not Phase.HOOK or self.hook not in _AUTH_HOOKS or self.auth_reply:
            return [AuthAnswer(None)]  # the exchange is over: its hook has only to return
        raw = text.encode() if isinstance(text, str) else text
        # RFC 4954 4: "334" SP, also in front of nothing (Go's client insists)
        self.emit(Send(b"334 " + b64encode(raw) + b"\r\n"))
        self.deadlines.asked(now)
        self.phase = Phase.CHALLENGE
        return self._done()

    def push(self, line: bytes | str, now: float) -> list[Effect]:
        """A hook wrote a reply by itself (aiosmtpd's ``server.push``)."""
        self.now = now
        if self.phase is Phase.CLOSED:
            return []
        text = line.decode("ascii", "replace") if isinstance(line, bytes) else line
        said = self.say_line(text)
        if self.hook in _AUTH_HOOKS:
            self.auth_reply = said
        return self._done()

    def hook_done(self, result: object, now: float) -> list[Effect]:
        """The hook returned."""
        self.now = now
        hook, self.hook = self.hook, None
        if hook is None:
            return []
        if self.phase is Phase.CLOSED:
            return []
        self.phase = Phase.COMMAND
        said = RESULTS[hook](self, result)
        if said.startswith("421"):  # RFC 5321 3.8: a farewell, whoever says it
            self.close("handler")
        return self._done()

    def hook_failed(self, error: BaseException, now: float) -> list[Effect]:  # noqa: ARG002  # the log's
        """The hook raised. The error is the log's; the client reads a fixed text."""
        result = WHEN_FAILED.get(self.hook, replies.DEFECT.line(self.settings.session_id))
        return self.hook_done(result, now)

    def shed(self, reply: Reply, now: float) -> list[Effect]:
        """No room for the message that is being received: refuse it at its dot."""
        self.now = now
        if self.reader is not None and self.phase is Phase.BODY:
            self._shed = reply
            self.reader.refuse(Fault.SHED)
            self._discard()
        return self._done()

    def tick(self, now: float) -> list[Effect]:
        """Time passed."""
        self.now = now
        deadline = self.next_deadline
        if deadline is None or now < deadline:
            return []
        if self.phase is Phase.DELAY:
            self.phase = Phase.COMMAND
            if self.delayed:
                self.say_line(self.delayed)
        else:
            self._time_out()
        return self._done()

    @property
    def next_deadline(self) -> float | None:
        """When ``tick`` is due; None while somebody else's deadline rules."""
        phase = self.phase
        if phase is Phase.COMMAND:
            return self.deadlines.command_by(authenticated=self.authenticated)
        if phase is Phase.BODY and self.pace is not None:
            return self.pace.read_by
        if phase is Phase.CHALLENGE:
            return self.deadlines.answer_by()
        if phase is Phase.DELAY:
            return self.delay_until
        return None

    # --- every input ends here --------------------------------------------------------------------

    def _done(self) -> list[Effect]:
        while self.phase in _PARSING and self.at < len(self.input):
            if self.phase is Phase.BODY:
                self._read_body()
            elif not self._read_line():
                break
        if self._eof:
            self._end_of_input()
        elif self._farewell is not None:
            self._say_farewell_between()
        self._hold_back()
        return self.taken()

    def _end_of_input(self) -> None:
        if self.phase is Phase.CHALLENGE:
            self._answer_challenge(None)
            self.auth_reply = replies.TIMED_OUT.line()  # in place of one that nobody would read
        elif self.phase is not Phase.HOOK:
            self.close("eof")

    def _say_farewell_between(self) -> None:
        """421 between transactions, never in place of the answer to a dot (smtp-server 4.8)."""
        busy = self.in_transaction and not self._cut_uploads
        if not busy and (self.phase in _BETWEEN or self.phase is Phase.BODY):
            self._say_farewell()

    def _say_farewell(self) -> None:
        if self._farewell is not None and self.phase is not Phase.CLOSED:
            reply, reason = self._farewell
            self.say(reply)
            self.close(reason)

    def _hold_back(self) -> None:
        waiting = len(self.input) - self.at
        full = self.phase in _WAITING and waiting > self.settings.pending_input_limit_bytes
        if full != self._paused and self.phase is not Phase.CLOSED:
            self._paused = full
            self.emit(Pause() if full else Resume())

    def _time_out(self) -> None:
        # Never silence before closing (smtp-server 3.5)
        self.say(replies.TIMED_OUT)
        self.close("timeout")

    # --- lines ------------------------------------------------------------------------------------

    def _read_line(self) -> bool:
        """Take one line; false when the rest of it has not arrived."""
        end = self.input.find(b"\r\n", self.at)
        line = self.input[self.at : end] if end >= 0 else self.input[self.at :]
        whole = end >= 0
        judged = line if whole else line.removesuffix(b"\r")
        # RFC 5321 2.3.8: a line ends in CRLF; anything near it is what smuggling is made of
        if b"\n" in judged or b"\r" in judged or b"\x00" in judged:
            self._refuse_line_ending()
            return True
        if self._too_long is None and len(judged) + 2 > self._line_limit(judged):
            self._too_long = self._long_line_reply(judged)
        if whole:
            self.at = end + 2
            self._take_line(line)
        elif self._too_long is not None:
            self.input, self.at = line[len(judged) :], 0
        return whole

    def _line_limit(self, line: bytes) -> int:
        s = self.settings
        return s.auth_line_limit_bytes if self._in_auth(line) else s.command_line_limit_bytes

    def _long_line_reply(self, line: bytes) -> Reply:
        return replies.AUTH_TOO_LONG if self._in_auth(line) else replies.LINE_TOO_LONG

    def _in_auth(self, line: bytes) -> bool:
        return self.phase is Phase.CHALLENGE or line[:5].upper() == b"AUTH "

    def _refuse_line_ending(self) -> None:
        self.emit(_LINE_ENDING_COUNTS["command"])
        self.verb = self.verb or "other"
        self.say(replies.LINE_ENDING)
        self.close("line_ending")

    def _take_line(self, line: bytes) -> None:
        too_long, self._too_long = self._too_long, None
        if too_long is not None:
            self._refuse_long_line(too_long)
        elif self.phase is Phase.CHALLENGE:
            self._take_answer(line)
        else:
            self._take_command(line)

    def _refuse_long_line(self, reply: Reply) -> None:
        self._long_lines += 1
        if self._long_lines >= _MAX_LONG_LINES:
            self.verb = self.verb or "other"
            self.say(replies.TOO_MANY_ERRORS)
            self.close("errors")
        elif self.phase is Phase.CHALLENGE:
            self._answer_challenge(None, reply)
        else:
            self.verb = "AUTH" if reply is replies.AUTH_TOO_LONG else "other"
            self.say(reply)

    def _take_command(self, line: bytes) -> None:
        name, argument = split_command(line)
        verb = VERBS.get(name)
        self.verb = name if verb is not None else "other"
        if verb is None:
            self._refuse_unknown(line)
        elif self.tls_refused and name != "QUIT":
            self.say(replies.TLS_REFUSED)
        elif self.tls_needed and name not in ALLOWED_IN_CLEAR:
            if name == "AUTH":
                self.emit(TLS_REQUIRED)
            self.say(replies.STARTTLS_FIRST)  # RFC 3207 4
        elif name == "MAIL" and self._farewell is not None and not self.in_transaction:
            self._say_farewell()
        else:
            self._obey(verb, argument)

    def _obey(self, verb: Callable[[SessionState, str], None], argument: str) -> None:
        try:
            verb(self, argument)
        except Refused as refused:
            self.say(refused.reply, **refused.facts)
            if refused.reply is replies.BAD_BASE64:
                self.emit(_MALFORMED)
                login_failed(self, refused.reply.line(), answered=True)

    def _refuse_unknown(self, line: bytes) -> None:
        if line == auth.ABORT:
            self.say(replies.AUTH_ABORTED)  # Go's client gives up an exchange that is over
        elif line.strip():
            self.say(replies.UNKNOWN_COMMAND)
        else:
            self.say(replies.SYNTAX)  # Nodemailer's answer to a challenge that it did not expect

    def _take_answer(self, line: bytes) -> None:
        blob = line.strip()
        answer = auth.decode(blob)
        if blob == auth.ABORT:
            self._answer_challenge(None, replies.AUTH_ABORTED)
        elif answer is None:
            self._answer_challenge(None, replies.BAD_BASE64)
        else:
            self._answer_challenge(answer)

    def _answer_challenge(self, data: bytes | None, reply: Reply | None = None) -> None:
        """Go on with the hook; a reply given here ends the exchange whatever the hook returns."""
        self.phase = Phase.HOOK
        if reply is not None:
            self.auth_reply = self.say_line(reply.line(self.settings.session_id))
        self.emit(AuthAnswer(data))

    # --- the message ------------------------------------------------------------------------------

    def _read_body(self) -> None:
        reader, pace = self.reader, self.pace
        if reader is None or pace is None:  # both are set as long as the phase is BODY
            return
        read = reader.feed(self.input[self.at :] if self.at else self.input)
        self.at += read.used
        on_time = pace.arrived(read.used, self.now)
        if reader.fault is not None:
            self._discard()
        elif read.piece:
            self.emit(Body(read.piece))
        if read.ended or read.exhausted:
            self._end_of_data(reader.fault, exhausted=read.exhausted)
        elif not on_time:
            self._time_out()

    def _discard(self) -> None:
        if not self._discarded:
            self._discarded = True
            self.emit(BodyDiscard())

    def _end_of_data(self, fault: Fault | None, *, exhausted: bool) -> None:
        self.messages += 1
        self._discarded = False
        if fault is None:
            self.call(HookName.DATA)
            return
        self.phase = Phase.COMMAND
        reply, kind = _FAULTS.get(fault, (self._shed or replies.DEFECT, ""))
        if kind:
            self.emit(_LINE_ENDING_COUNTS[kind])
        self.say(reply, limit=self.settings.message_size_limit_bytes)
        self.count_received(str(reply.code))
        self.emit(MessageRefused(fault.name.lower(), self.recipients))
        self.reset()
        if fault.breaks_lines or exhausted:
            self.close("line_ending" if fault.breaks_lines else "over_size")
