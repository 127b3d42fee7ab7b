"""Whatever a client, a handler, the clock and the server do: what always holds of a session."""

from __future__ import annotations

import re
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from smtp_gateway.smtp.effects import HookName, LineEndings, SessionSettings, TlsMode
from smtp_gateway.smtp.replies import Reply
from tests.support import dialogue
from tests.support.dialogue import LOGIN, TLS, WRONG, Dialogue, LoginResult, Raised

EVERY_HOOK = frozenset(HookName)
RARELY = st.integers(0, 9).map(lambda n: n == 9)  # what ends a session must not end all at once
AUTH_HOOKS = {HookName.AUTH_PLAIN, HookName.AUTH_LOGIN}
HOUR_SECONDS = 3600.0

# A grammar of commands, near misses included. `%d` becomes a number that grows.
COMMANDS = [
    b"EHLO client.test\r\n", b"HELO\r\n", b"NOOP x\r\n", b"RSET\r\n", b"VRFY a\r\n",
    b"EXPN a\r\n", b"HELP\r\n", b"*\r\n", b"\r\n", b"FOO bar\r\n", LOGIN, WRONG, b"AUTH LOGIN\r\n",
    b"AUTH PLAIN\r\n", b"AUTH PLAIN !\r\n", b"AUTH X\r\n", b"dXNlcg==\r\n", b"STARTTLS\r\n",
    b"MAIL FROM:<s%d@sender.test>\r\n", b"MAIL FROM:<>\r\n", b"mail from: s%d@x.test\r\n",
    b"MAIL FROM:<s%d@x.test> SIZE=99999\r\n", b"MAIL FROM:<broken\r\n",
    b"RCPT TO:<r%d@x.test>\r\n", b"RCPT TO:<r%d@host>\r\n",
    b"RCPT TO:<r%d@x.test> NOTIFY=NEVER\r\n", b"DATA\r\n", b"DATA x\r\n", b"BDAT 1 LAST\r\n",
]  # fmt: skip
LAST_WORDS = [b"QUIT\r\n", b"NOOP\n", b"NO\x00OP\r\n", b"\r\r\n", b"X" * 3000 + b"\r\n"]
BODIES = [
    b"Subject: x\r\n\r\nhello\r\n.\r\n", b".\r\n", b"a\n.\n\r\n.\r\n", b"a\rb\r\n.\r\n", b"x" * 700,
    b"x" * 2500, b"..dots\r\n.\r\n", b"\r\n.", b"\r\n",
]  # fmt: skip
RESULTS = [
    None, "250 OK", "250", "451 4.3.2 Later", "550 5.7.1 No", "421 4.3.2 Bye", "not a reply", "",
    Raised(), [], ["250-a", "250 b"], False, True, 7, LoginResult(success=True),
    LoginResult(success=False), LoginResult(success=False, handled=True),
    LoginResult(success=False, message="454 4.7.0 Later"),
    LoginResult(success=False, message="535 5.7.8 No"),
]  # fmt: skip
SMALL = {
    "message_size_limit_bytes": 1000,
    "max_recipients": 3,
    "max_messages": 3,
    "header_section_limit_bytes": 600,
}


class Session(RuleBasedStateMachine):
    """A session in which every hook stays out until a rule lets it return."""

    @initialize(
        mode=st.sampled_from(TlsMode),
        secured=st.booleans(),
        endings=st.sampled_from(LineEndings),
        clear=st.booleans(),
    )
    def connect(self, *, mode: TlsMode, secured: bool, endings: LineEndings, clear: bool) -> None:
        """A listener of any kind."""
        config = dialogue.settings(
            tls_mode=mode, line_endings=endings, clear_auth_allowed=clear, **SMALL
        )
        self.number = count(1)
        self.d = Dialogue(config, secured=TLS if secured else None, held=EVERY_HOOK)
        self.d.start()

    @property
    def alive(self) -> bool:
        """Something can still happen."""
        return not self.d.closed

    def numbered(self, line: bytes) -> bytes:
        """Addresses that tell when they were given."""
        return line.replace(b"%d", b"%d" % next(self.number)) if b"%d" in line else line

    @rule(
        lines=st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=6), step=st.integers(1, 80)
    )
    def commands(self, lines: list[bytes], step: int) -> None:
        """Groups of commands, in reads of any size."""
        wire = b"".join(self.numbered(line) for line in lines)
        step = max(step, len(wire) // 40)
        for at in range(0, len(wire), step):
            self.d.say(wire[at : at + step])

    @rule(body=st.sampled_from(BODIES))
    def body(self, body: bytes) -> None:
        """A message or a part of one, wanted or not."""
        self.d.say(body)

    @rule(
        garbage=st.one_of(st.binary(min_size=1, max_size=60), st.sampled_from(LAST_WORDS)),
        really=RARELY,
    )
    def garbage(self, *, garbage: bytes, really: bool) -> None:
        """No grammar at all, or the end of the session."""
        if really:
            self.d.say(garbage)

    @precondition(lambda self: self.d.machine.hook_out)
    @rule(result=st.sampled_from(RESULTS))
    def hook_returns(self, result: object) -> None:
        """The hook that is out returns anything, or raises."""
        self.d.finish(result)

    @precondition(lambda self: self.d.machine.hook_out)
    @rule()
    def hook_succeeds(self) -> None:
        """What a handler does on a good day, so that sessions get far."""
        good = self.d.calls[-1].name in AUTH_HOOKS
        self.d.finish(LoginResult(success=True) if good else None)

    @precondition(lambda self: self.d.machine.hook in AUTH_HOOKS)
    @rule(text=st.sampled_from([b"", b"Username:", b"Password:"]))
    def hook_asks(self, text: bytes) -> None:
        """The hook of AUTH asks, at any moment."""
        if self.d.machine.phase.name != "CHALLENGE":  # the hook waits for its answer
            self.d.carry_out(self.d.machine.challenge(text, self.d.now))

    @precondition(lambda self: self.d.machine.hook_out)
    @rule()
    def hook_pushes(self) -> None:
        """The hook writes by itself."""
        self.d.carry_out(self.d.machine.push("250 pushed", self.d.now))

    @precondition(lambda self: self.d.tls_asked and self.alive)
    @rule()
    def handshake(self) -> None:
        """The handshake ends well."""
        self.d.secure()

    @precondition(lambda self: self.alive and not self.d.machine.authenticated)
    @precondition(lambda self: self.d.machine.phase.name == "COMMAND")
    @rule()
    def log_in(self) -> None:
        """A short way to a login, so that transactions are reached."""
        if self.d.machine.tls_needed:
            self.d.say(b"STARTTLS\r\n")
            if self.d.tls_asked:  # not behind a line that had begun
                self.d.secure()
            self.hook_if_out(None)
        self.d.say(b"EHLO c\r\n")
        self.hook_if_out(None)
        self.d.say(LOGIN)
        self.hook_if_out(LoginResult(success=True))

    @precondition(lambda self: self.d.machine.authenticated)
    @rule()
    def to_data(self) -> None:
        """A short way into a message."""
        for line in (b"MAIL FROM:<s%d@x.test>\r\n", b"RCPT TO:<r%d@x.test>\r\n", b"DATA\r\n"):
            self.d.say(self.numbered(line))
            self.hook_if_out(None)

    @precondition(lambda self: self.d.machine.receiving)
    @rule(result=st.sampled_from(RESULTS[:9]))
    def whole_message(self, result: object) -> None:
        """The message ends, and the hook of DATA returns something."""
        self.d.say(b"Subject: x\r\n\r\nhello\r\n.\r\n")
        self.hook_if_out(result)

    def hook_if_out(self, result: object) -> None:
        """Let a hook return that is out."""
        if self.d.machine.hook_out:
            self.d.finish(result)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 9.0, 59.0, 170.0, 400.0]), really=RARELY)
    def time(self, *, seconds: float, really: bool) -> None:
        """The clock moves, seldom far."""
        self.d.pass_time(seconds if really else min(seconds, 5.0))

    @rule(uploads=st.booleans(), really=RARELY)
    def drain(self, *, uploads: bool, really: bool) -> None:
        """The server shuts down."""
        if really:
            self.d.carry_out(self.d.machine.drain(self.d.now, uploads=uploads))

    @rule(on=st.booleans())
    def stress(self, *, on: bool) -> None:
        """The server is near its limits."""
        self.d.carry_out(self.d.machine.stress(on, self.d.now))

    @rule()
    def shed(self) -> None:
        """The edge has no room."""
        self.d.carry_out(self.d.machine.shed(Reply(452, "4.3.1", "No room"), self.d.now))

    @rule(really=RARELY)
    def eof(self, *, really: bool) -> None:
        """The client sends no more."""
        if really:
            self.d.end_input()

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def memory_is_bounded(self) -> None:
        """First invariant: nothing grows; that nothing was raised is shown by being here."""
        machine = self.d.machine
        assert len(machine.input) - machine.at <= 65_536 + 3000
        if machine.phase.name in {"COMMAND", "CHALLENGE"}:
            assert len(machine.input) - machine.at <= 12_288

    @invariant()
    def a_closed_session_is_over(self) -> None:
        """Second invariant, in part: no deadline behind the end."""
        if self.d.closed:
            assert self.d.machine.next_deadline is None
            assert self.d.machine.ended_by

    @invariant()
    def every_phase_has_its_deadline(self) -> None:
        """Somebody's clock runs in every phase: ours, the hook's, or that of the handshake."""
        if not self.d.closed and not self.d.machine.hook_out and not self.d.tls_asked:
            assert self.d.machine.next_deadline is not None

    @invariant()
    def no_message_without_login(self) -> None:
        """No hook that can send runs without login, sender and recipient."""
        for mail in self.d.mails:
            assert mail.authenticated
            assert mail.sender
            assert mail.recipients

    @invariant()
    def an_envelope_holds_what_came_since_the_last_reset(self) -> None:
        """Trap 23: each recipient was named after its sender."""
        for mail in self.d.mails:
            sender = re.match(r"s(\d+)@", mail.sender)
            named = [int(r.partition("@")[0][1:]) for r in mail.recipients if r[1:2].isdigit()]
            assert named == sorted(set(named))
            if sender and named:
                assert named[0] > int(sender[1])

    def teardown(self) -> None:
        """Second invariant: the end of input, or enough time, leads to the end; no hook is left."""
        if not hasattr(self, "d"):
            return
        if next(self.number) % 2:
            self.d.end_input()
        for _ in range(200):
            self.hook_if_out(None)
            self.d.tls_asked = self.d.tls_asked and self.d.machine.phase.name == "HANDSHAKE"
            if self.d.tls_asked:
                self.d.end_input()  # what the edge says when the handshake is late
            self.d.pass_time(HOUR_SECONDS)
            if self.d.closed and not self.d.machine.hook_out:
                break
        assert self.d.closed
        assert not self.d.machine.hook_out
        assert self.d.say(b"NOOP\r\n") == []


@pytest.mark.trap(37)
def test_three_invariants_of_a_session() -> None:
    """It never breaks, it always ends, and every line that leaves is a well-formed reply."""
    run_state_machine_as_test(
        Session, settings=settings(max_examples=300, stateful_step_count=40, deadline=None)
    )


SAFE = [line for line in COMMANDS if not line.startswith(b"STARTTLS")]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*SAFE, *LAST_WORDS, *BODIES]), max_size=12), st.integers(1, 7))
def test_the_same_bytes_in_any_split_give_the_same_replies(lines: list[bytes], step: int) -> None:
    """Reads decide nothing, as long as DATA is the last of its group."""
    whole, split = (Dialogue(dialogue.settings(**SMALL)).logged_in() for _ in range(2))
    for number, line in enumerate([b"MAIL FROM:<a@x.test>\r\n", b"RCPT TO:<b@x.test>\r\n", *lines]):
        wire = line.replace(b"%d", b"%d" % number)
        said = whole.say(wire)
        said_split = [
            r for at in range(0, len(wire), step) for r in split.say(wire[at : at + step])
        ]
        assert said_split == said
    assert split.mails == whole.mails
    assert split.names() == whole.names()
    assert split.counts == whole.counts


WELL_FORMED = [line for line in SAFE if not line.startswith((b"AUTH", b"DATA", b"EHLO"))]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WELL_FORMED), max_size=15))
def test_as_many_replies_as_commands(lines: list[bytes]) -> None:
    """RFC 5321 4.2: one reply each, in one group or alone."""
    group = b"".join(lines).replace(b"%d", b"1")
    assert len(Dialogue().logged_in().say(group)) == len(lines)


@pytest.mark.trap(19)
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(SAFE), max_size=6),
    st.one_of(st.binary(max_size=80), st.sampled_from([*COMMANDS, *LAST_WORDS])),
)
def test_nothing_received_in_clear_survives_starttls(before: list[bytes], behind: bytes) -> None:
    """RFC 3207 4.2: after the handshake the session is as new, but for what it was guilty of."""
    patient = dialogue.settings(max_bad_commands_before_login=100)
    used = Dialogue(patient, secured=None)
    used.start()
    for line in before:
        used.say(line)
    if used.closed:
        return
    used.say(b"STARTTLS\r\n" + behind)
    used.say(behind)
    heard = len(used.calls)
    used.secure()
    fresh = Dialogue(secured=TLS)
    fresh.start()
    assert [call.name for call in used.calls[heard:]] == [HookName.STARTTLS]
    for line in (b"MAIL FROM:<a@x.test>\r\n", b"EHLO c\r\n", LOGIN, b"MAIL FROM:<a@x.test>\r\n"):
        assert used.say(line) == fresh.say(line)
    assert used.machine.recipients == 0


def test_settings_are_taken_at_connect() -> None:
    """A session keeps the limits it began with."""
    config: SessionSettings = dialogue.settings(max_recipients=1)
    d = Dialogue(config).logged_in()
    assert d.machine.settings is config
