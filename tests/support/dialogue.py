"""Written dialogues with the session machine: bytes in, replies out, and no event loop.

``Dialogue`` stands for edge and handler: it carries out the effects, keeps the envelope as the edge
does, answers hooks by a script, and checks that every reply is well formed.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

from smtp_gateway.smtp.effects import (
    AuthAnswer,
    Body,
    BodyBegin,
    BodyDiscard,
    CallHook,
    Close,
    Count,
    Effect,
    HookName,
    MessageRefused,
    NewSession,
    Pause,
    ResetEnvelope,
    Resume,
    Send,
    SessionSettings,
    StartTls,
    TlsInfo,
)
from smtp_gateway.smtp.machine import Machine

TLS = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384")
LOGIN = b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"  # user, secret
WRONG = b"AUTH PLAIN AHVzZXIAd3Jvbmc=\r\n"  # user, wrong
SECRET = b"secret"
REPLY = re.compile(rb"(?:([2-5][0-5][0-9])-[ -~]{0,506}\r\n)*([2-5][0-5][0-9]) [ -~]{0,506}\r\n")

Exchange = Generator[bytes, bytes | None, object]
Answer = object | Callable[..., object]


@dataclass(frozen=True)
class LoginResult:
    """What the machine reads of aiosmtpd's AuthResult."""

    success: bool
    handled: bool = False
    message: str | None = None


@dataclass(frozen=True)
class Raised:
    """A scripted hook that raises."""

    error: Exception = field(default_factory=lambda: RuntimeError("boom"))


@dataclass
class Mail:
    """A transaction as the handler saw it at DATA."""

    sender: str
    recipients: list[str]
    content: bytes
    authenticated: bool


def settings(**changes: object) -> SessionSettings:
    """Settings of one session, with the host name and the reference of the tests."""
    values: dict[str, object] = {"hostname": "mx.test", "session_id": "s1", **changes}
    return SessionSettings(**values)  # type: ignore[arg-type]  # the tests name the fields


class Dialogue:
    """One session. ``say`` sends bytes and returns the reply lines that came back.

    ``script`` maps a hook to its result, to a function of its arguments, or to ``Raised``; a hook
    in ``held`` stays out until ``finish``.
    """

    def __init__(
        self,
        config: SessionSettings | None = None,
        *,
        secured: TlsInfo | None = TLS,
        script: Mapping[HookName, Answer] | None = None,
        held: frozenset[HookName] = frozenset(),
    ) -> None:
        self.machine = Machine(config or settings(), secured=secured)
        self.now = 1000.0
        self.script = dict(script or {})
        self.held = held
        self.calls: list[CallHook] = []
        self.mails: list[Mail] = []
        self.refused: list[str] = []
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.effects: list[Effect] = []
        self.closed = False
        self.paused = False
        self.tls_asked = False
        self.sender = ""
        self.recipients: list[str] = []
        self.pieces: list[bytes] | None = None
        self._exchange: Exchange | None = None
        self._replies: list[str] = []

    # --- what a test does -------------------------------------------------------------------------

    def start(self) -> list[str]:
        """Connect."""
        return self.carry_out(self.machine.start(self.now))

    def say(self, data: bytes) -> list[str]:
        """Send bytes in one read."""
        return self.carry_out(self.machine.feed(data, self.now))

    def ready(self) -> Dialogue:
        """Greeting and EHLO done."""
        self.start()
        self.say(b"EHLO client.test\r\n")
        return self

    def logged_in(self) -> Dialogue:
        """Greeting, EHLO and a good login done."""
        self.ready()
        assert self.say(LOGIN) == ["235 2.7.0 Authentication successful"]
        return self

    def in_data(self) -> Dialogue:
        """Logged in, and the machine has said 354."""
        self.logged_in()
        self.say(b"MAIL FROM:<a@sender.test>\r\nRCPT TO:<b@x.test>\r\n")
        assert self.say(b"DATA\r\n") == ["354 End data with <CR><LF>.<CR><LF>"]
        return self

    def pass_time(self, seconds: float) -> list[str]:
        """Move the clock, and tick as often as the machine asks."""
        end = self.now + seconds
        said: list[str] = []
        while (due := self.machine.next_deadline) is not None and due <= end:
            self.now = max(self.now, due)
            said += self.carry_out(self.machine.tick(self.now))
        self.now = end
        return said

    def end_input(self) -> list[str]:
        """The client sends no more."""
        return self.carry_out(self.machine.eof(self.now))

    def secure(self) -> list[str]:
        """The handshake ends well."""
        assert self.tls_asked
        self.tls_asked = False
        return self.carry_out(self.machine.tls_started(TLS, self.now))

    def finish(self, result: object = None) -> list[str]:
        """A held hook returns."""
        return self.carry_out(self._report(result))

    def names(self) -> list[str]:
        """The hooks called so far."""
        return [call.name.name for call in self.calls]

    # --- the edge's and the handler's part --------------------------------------------------------

    def carry_out(self, effects: list[Effect]) -> list[str]:
        """Do what the machine asks; nested effects follow those already waiting."""
        waiting = deque(effects)
        while waiting:
            effect = waiting.popleft()
            self.effects.append(effect)
            waiting.extend(self._do(effect))
        said, self._replies = self._replies, []
        return said

    def _do(self, effect: Effect) -> list[Effect]:
        match effect:
            case Send(data):
                self._check_reply(data)
            case CallHook():
                assert not self.closed, "a hook was called after the close"
                self.calls.append(effect)
                return [] if effect.name in self.held else self._run(effect)
            case AuthAnswer(data):
                return self._go_on(data)
            case Count(what, labels):
                self.counts[what, *labels.values()] += 1
            case MessageRefused(reason):
                self.refused.append(reason)
            case _:
                self._keep(effect)
        return []

    def _keep(self, effect: Effect) -> None:
        match effect:
            case BodyBegin():
                self.pieces = []
            case Body(data):
                assert self.pieces is not None, "a piece outside a message"
                self.pieces.append(data)
            case BodyDiscard():
                self.pieces = None
            case ResetEnvelope() | NewSession():
                self.sender, self.recipients, self.pieces = "", [], None
            case StartTls():
                self.tls_asked = True
            case Pause() | Resume():
                assert self.paused is not isinstance(effect, Pause), "paused or resumed twice"
                self.paused = isinstance(effect, Pause)
            case Close():
                assert not self.closed, "closed twice"
                self.closed = True
            case _:
                raise AssertionError(effect)

    def _check_reply(self, data: bytes) -> None:
        assert not self.closed, "a reply after the close"
        match = REPLY.fullmatch(data)
        assert match is not None, data
        assert all(len(line) <= 510 for line in data.split(b"\r\n")), data
        if match[1]:
            assert match[1] == match[2], data
        self._replies += data.decode("ascii").removesuffix("\r\n").split("\r\n")

    def _run(self, call: CallHook) -> list[Effect]:
        answer = self.script.get(call.name)
        if callable(answer):
            return self._report(answer(*call.args))
        if answer is None and call.name in {HookName.AUTH_PLAIN, HookName.AUTH_LOGIN}:
            self._exchange = login(call)
            return self._go_on(None, first=True)
        return self._report(answer, call)

    def _report(self, result: object, call: CallHook | None = None) -> list[Effect]:
        call = call or self.calls[-1]
        if isinstance(result, Raised):
            return self.machine.hook_failed(result.error, self.now)
        line = "250" if result is None else str(result)
        self._fill_envelope(call, line)
        return self.machine.hook_done(result, self.now)

    def _fill_envelope(self, call: CallHook, line: str) -> None:
        if call.name is HookName.MAIL and line.startswith("2"):
            self.sender = str(call.args[0])
        elif call.name is HookName.RCPT and line.startswith("2"):
            self.recipients.append(str(call.args[0]))
        elif call.name is HookName.DATA:
            content = b"".join(self.pieces or [])
            known = self.machine.authenticated
            self.mails.append(Mail(self.sender, list(self.recipients), content, known))

    def _go_on(self, data: bytes | None, *, first: bool = False) -> list[Effect]:
        if self._exchange is None:
            return []
        try:
            question = next(self._exchange) if first else self._exchange.send(data)
        except StopIteration as stop:
            self._exchange = None
            return self.machine.hook_done(stop.value, self.now)
        return self.machine.challenge(question, self.now)


def login(call: CallHook) -> Exchange:
    """A handler's `auth_PLAIN` or `auth_LOGIN`: the secret is ``secret`` or an access token."""
    words = call.args[0]
    assert isinstance(words, list)
    given = _decoded(words[1]) if len(words) > 1 else None
    if words[0] == "PLAIN":
        answer = (yield b"") if given is None else given
        password = answer.split(b"\x00")[-1] if answer is not None else None
    else:
        user = (yield b"Username:") if given is None else given
        password = (yield b"Password:") if user is not None else None
    if password is None:
        return LoginResult(success=False, handled=True)
    return LoginResult(success=password == SECRET or password.startswith(b"ck_pat_"))


def _decoded(text: str) -> bytes:
    return b64decode(text, validate=True)
