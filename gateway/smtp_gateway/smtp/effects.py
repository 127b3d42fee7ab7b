"""What the session machine asks of its edge, and what it must be told: the whole interface.

The machine is sans-I/O: bytes, results of hooks, time and signals go in through its methods, and
each method returns a list of the effects below, to be carried out in their order. The machine never
reads a clock: every method gets ``now``, seconds of the edge's monotonic clock.

    edge calls                            because
    machine.start(now)                    the connection was accepted (after TLS, if implicit)
    machine.feed(data, now)               decrypted bytes arrived; b"" is not fed
    machine.eof(now)                      the client will send no more
    machine.tls_started(info, now)        the handshake asked for by StartTls has ended well
    machine.challenge(text, now)          the hook asks the client (server.challenge_auth)
    machine.hook_done(result, now)        the hook returned
    machine.hook_failed(error, now)       the hook raised
    machine.tick(now)                     next_deadline has passed
    machine.drain(now)                    the server shuts down: 421 between transactions
    machine.shed(reply, now)              the edge cannot take more (no memory): refuse at the dot

While a hook is out nothing further is parsed; input waits in the machine (at most 64 KiB, then
``Pause``). One hook at a time. All ``Send`` effects of one call leave in one write.
``machine.next_deadline`` is the monotonic time of the next ``tick``, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
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


class HookName(Enum):
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
    NOOP and VRFY (argument), MAIL and RCPT (address, parameters), AUTH_* (list of mechanism and,
    when given, the decoded initial response); none for RSET, QUIT, DATA, STARTTLS.
    A hook that the handler does not define counts as done with None: the machine's own answer.
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
class ResetEnvelope:
    """Begin a new, empty Envelope."""


@dataclass(frozen=True, slots=True)
class NewSession:
    """Begin a new, empty Session (after STARTTLS, RFC 3207 4.2)."""


@dataclass(frozen=True, slots=True)
class Count:
    """Something to count: a name of ``telemetry`` and its closed label values."""

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
    | ResetEnvelope
    | NewSession
    | Count
    | Close
)


@dataclass(frozen=True, slots=True)
class TlsInfo:
    """What the handshake agreed on."""

    version: str
    cipher: str = ""
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines per phase, in seconds (smtp-server 3.5)."""

    before_login_seconds: float = 300
    before_login_stressed_seconds: float = 60
    next_command_seconds: float = 300
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
    timeouts: Timeouts = field(default_factory=Timeouts)
