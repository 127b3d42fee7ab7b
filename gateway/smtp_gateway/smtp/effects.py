"""What the session machine asks of its edge, and what it must be told: the whole interface.

The machine is sans-I/O: bytes, results of hooks, time and signals go in through its methods, and
each method returns a list of the effects below, to be carried out in their order. The machine never
reads a clock: every method gets ``now``, seconds of the edge's monotonic clock.

    edge calls                            because
    machine.start(now)                    the connection was accepted (after TLS, if implicit)
    machine.refuse(reply, now)            instead of start, or between transactions: say it, close
    machine.feed(data, now)               decrypted bytes arrived; b"" is not fed
    machine.eof(now)                      the client will send no more
    machine.tls_started(info, now)        the handshake asked for by StartTls has ended well
    machine.challenge(text, now)          the hook asks the client (server.challenge_auth); the text
                                          before base64; the answer comes as one AuthAnswer
    machine.push(line, now)               the hook wrote a reply itself (server.push)
    machine.hook_done(result, now)        the hook returned
    machine.hook_failed(error, now)       the hook raised
    machine.tick(now)                     next_deadline has passed
    machine.drain(now)                    the server shuts down: 421 between transactions;
                                          with uploads=True a running upload is cut as well
    machine.stress(on, now)               allowances before login shrink, or are whole again
    machine.shed(reply, now)              the edge cannot take more (no memory): refuse at the dot

While a hook is out nothing further is parsed; input waits in the machine (at most 64 KiB, then
``Pause``). One hook at a time. All ``Send`` effects of one call leave in one write. A ``CallHook``
is always the last effect of its call, so the edge may report its result from within.
``machine.next_deadline`` is the monotonic time of the next ``tick``, or None. While a hook is out
there is none (its own deadline rules), nor during the handshake that StartTls asked for.

After ``Close`` every method returns nothing, but a hook that is out is still reported: the outcome
of DATA is counted even when the client is gone. An ``AuthAnswer`` may stand beside a ``Close``.

Facts to read at any time: ``authenticated``, ``mechanism``, ``messages`` (dots answered),
``closing``, ``ended_by``, ``in_transaction``, ``receiving``, ``awaiting_data``, ``hook_out``,
``tls``, ``declared_size`` (SIZE= of the open transaction, else None), ``size_asked`` (that of the
MAIL whose hook is out), ``refusals`` (replies of 4yz and 5yz) and ``last_refusal`` (verb and codes,
no words). ``ended_by`` is one of quit, eof, timeout, drain, refused, handler (a 421
of its own), errors, logins, messages, line_ending, early_input, over_size.

The machine counts: ``commands`` {command, status}, ``emails_received`` {status} for every dot and
every aborted upload, ``line_ending_refusals`` {kind}, and ``auth_failures`` {reason} for what never
reached a hook (malformed, tls_required). All else is counted where it is decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class TlsMode(StrEnum):
    """TLS policy of a listener (smtp-server 3.6)."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    OPTIONAL = "optional"


class LineEndings(StrEnum):
    """What happens to a bare LF in DATA (smtp-server 3.3)."""

    NORMALIZE = "normalize"
    STRICT = "strict"


class HookName(StrEnum):  # hashed in C; many tables are keyed by it
    """Hooks of aiosmtpd's handler contract that the machine calls. Values are method names."""

    EHLO = "handle_EHLO"
    HELO = "handle_HELO"
    NOOP = "handle_NOOP"
    RSET = "handle_RSET"
    QUIT = "handle_QUIT"
    VRFY = "handle_VRFY"
    MAIL = "handle_MAIL"
    RCPT = "handle_RCPT"
    DATA = "handle_DATA"
    STARTTLS = "handle_STARTTLS"
    AUTH_PLAIN = "auth_PLAIN"
    AUTH_LOGIN = "auth_LOGIN"


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the client: one whole reply, CRLF included."""

    data: bytes


@dataclass(frozen=True, slots=True)
class CallHook:
    """Call the handler and report with ``hook_done`` or ``hook_failed``.

    ``args`` are those after (server, session, envelope): EHLO (host, lines), HELO (host),
    NOOP and VRFY (argument), MAIL and RCPT (address, parameters); none for RSET, QUIT, DATA,
    STARTTLS (called once the handshake has ended well, as aiosmtpd does). AUTH_* get aiosmtpd's
    list: the mechanism in upper case and, when given, the initial response, still in base64
    (already checked; "" for the empty response ``=``). Parameters are strings ``KEY=value``, the
    keyword in upper case and the value as sent; the null sender is ``<>``.
    A hook that the handler does not define counts as done with None: the machine's own answer
    (the edge then fills session and envelope as aiosmtpd would).
    """

    name: HookName
    args: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthAnswer:
    """The client's decoded answer to a challenge; None when it gave up with ``*``."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Flush, then begin the handshake; every byte already received in clear was dropped."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Stop reading from the socket."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Read again."""


@dataclass(frozen=True, slots=True)
class BodyBegin:
    """DATA was accepted; the pieces of one message follow. The 354 is a Send before this."""


@dataclass(frozen=True, slots=True)
class Body:
    """A piece of the message: dot-unstuffed, line ends normalised. Pieces join without glue."""

    data: bytes


@dataclass(frozen=True, slots=True)
class BodyDiscard:
    """Forget the pieces of this message: it will be refused."""


@dataclass(frozen=True, slots=True)
class MessageRefused:
    """The machine refused a message at its dot, before any hook: for the line of this message."""

    reason: str
    recipients: int


@dataclass(frozen=True, slots=True)
class ResetEnvelope:
    """Begin a new, empty Envelope."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """Begin a new, empty Session (after STARTTLS, RFC 3207 4.2)."""


@dataclass(frozen=True, slots=True)
class Count:
    """Something to count: an attribute of ``telemetry.Metrics`` and its labels, in order."""

    what: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Close:
    """Flush and close."""


Effect = (
    Send
    | CallHook
    | AuthAnswer
    | StartTls
    | Pause
    | Resume
    | BodyBegin
    | Body
    | BodyDiscard
    | MessageRefused
    | ResetEnvelope
    | NewSession
    | Count
    | Close
)


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake agreed on. ``version`` as ssl names it, for example TLSv1.3."""

    version: str
    cipher: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines per phase, in seconds (smtp-server 3.5)."""

    before_login_seconds: float = 300
    before_login_stressed_seconds: float = 60
    next_command_seconds: float = 300
    next_command_stressed_seconds: float = 10
    auth_answer_seconds: float = 60
    data_read_seconds: float = 180
    data_minimum_bytes_per_second: float = 8192
    data_rate_window_seconds: float = 30


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What one session is held to; taken at connect and never changed (smtp-server 3.1-3.6)."""

    hostname: str
    session_id: str
    tls_mode: TlsMode = TlsMode.STARTTLS
    tls_available: bool = True
    line_endings: LineEndings = LineEndings.NORMALIZE
    message_size_limit_bytes: int = 26_214_400
    max_recipients: int = 100
    max_messages: int = 1000
    max_bad_commands: int = 20
    max_bad_commands_before_login: int = 5
    command_line_limit_bytes: int = 2048
    auth_line_limit_bytes: int = 12_288
    header_section_limit_bytes: int = 1_048_576
    header_fields_limit: int = 2000
    received_fields_limit: int = 100
    pending_input_limit_bytes: int = 65_536
    smtputf8: bool = False
    clear_auth_allowed: bool = False
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    timeouts: Timeouts = field(default_factory=Timeouts)
