"""The same dialogues through this engine and through aiosmtpd's, with the same handler.

Codes, hook calls and envelopes must be equal. Where they are not on purpose, ``ACCEPTED`` holds
what each engine does, and why ours differs. Any other difference fails, and so does an accepted one
that is no longer there.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import TLSSetupException
from prometheus_client import CollectorRegistry

from smtp_gateway.policy import Policy, PolicyHolder
from smtp_gateway.smtp.authenticator import Authenticator
from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.handler import GatewayHandler
from smtp_gateway.smtp.limits import MailRate
from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import SystemClock
from tests.support.edge import HOST, Client, RecordingHandler, login, serving
from tests.support.fakes import FakeCourier, FakeLog, FakeTokens
from tests.support.gateway import Certificates

SIZE_LIMIT = 100_000
SILENCE_SECONDS = 3  # an engine that waits for more says nothing
TLS = "<tls>"  # a step of a dialogue: shake hands
GOOD, BAD = login("user"), "AHVzZXIAd3Jvbmc="
HELLO = ("EHLO client.test",)
LOGGED_IN = (*HELLO, f"AUTH PLAIN {GOOD}")
MAIL = (*LOGGED_IN, "MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>")


@dataclass
class Trace:
    """What one engine did with a dialogue."""

    codes: list[str] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    mails: list[tuple[Any, ...]] = field(default_factory=list)
    closed: bool = False


@dataclass(frozen=True)
class Difference:
    """An intended difference.

    Attributes:
        ours: our codes from the first that differs.
        theirs: their codes from there.
        reason: why ours is meant.
        besides: what differs beside the codes, of "calls" and "mails".
    """

    ours: str
    theirs: str
    reason: str
    besides: str = ""


# Each dialogue is a list of lines; a line that ends in "\n" is sent as it stands.
DIALOGUES: dict[str, tuple[str, ...]] = {
    "plain mail": (*MAIL, "DATA", "Subject: x\r\n\r\nhello\r\n.\r\n", "QUIT"),
    "stuffed dots": (*MAIL, "DATA", "..\r\n...x\r\n.y\r\n\r\n.\r\n", "QUIT"),
    "empty message": (*MAIL, "DATA", ".\r\n", "NOOP"),
    "eight-bit body": (*MAIL, "DATA", "caf\u00e9\r\n.\r\n"),
    "two messages": (
        *MAIL, "DATA", "one\r\n.\r\n",
        "MAIL FROM:<c@x.test>", "RCPT TO:<d@y.test>", "RCPT TO:<e@y.test>",
        "DATA", "two\r\n.\r\n",
    ),
    "null sender": (*LOGGED_IN, "MAIL FROM:<>", "RCPT TO:<b@y.test>", "DATA", "x\r\n.\r\n"),
    "quoted local part": (*LOGGED_IN, 'MAIL FROM:<"a b"@x.test>', "RSET"),
    "size and body": (*LOGGED_IN, "MAIL FROM:<a@x.test> SIZE=1000 BODY=8BITMIME", "RSET"),
    "lower case": (
        "ehlo client.test", f"auth PLAIN {GOOD}",
        "mail from:<a@x.test>", "rcpt to:<b@y.test>", "data", "x\r\n.\r\n", "quit",
    ),
    "a space after the colon": (*LOGGED_IN, "MAIL FROM: <a@x.test>", "RCPT TO: <b@y.test>", "RSET"),
    "no brackets": (*LOGGED_IN, "MAIL FROM:a@x.test", "RCPT TO:b@y.test", "RSET"),
    "reset between": (*MAIL, "RSET", "MAIL FROM:<c@x.test>", "RCPT TO:<d@y.test>", "RSET"),
    "second hello clears": (*MAIL, "EHLO again.test", "DATA"),
    "helo": ("HELO client.test", "NOOP", "QUIT"),
    "noop with argument": (*HELLO, "NOOP anything"),
    "login in two steps": (*HELLO, "AUTH PLAIN", GOOD, "NOOP"),
    "login by LOGIN": (*HELLO, "AUTH LOGIN", "dXNlcg==", "c2VjcmV0", "NOOP"),
    "login by LOGIN with user": (*HELLO, "AUTH LOGIN dXNlcg==", "c2VjcmV0", "NOOP"),
    "wrong password": (*HELLO, f"AUTH PLAIN {BAD}", f"AUTH PLAIN {GOOD}"),
    "wrong password by LOGIN": (*HELLO, "AUTH LOGIN", "dXNlcg==", "d3Jvbmc=", "NOOP"),
    "given up": (*HELLO, "AUTH LOGIN", "*", "NOOP"),
    "bad base64": (*HELLO, "AUTH PLAIN", "%%%", "NOOP"),
    "second login": (*LOGGED_IN, f"AUTH PLAIN {GOOD}"),
    "unknown mechanism": (*HELLO, "AUTH CRAM-MD5"),
    "login before hello": (f"AUTH PLAIN {GOOD}",),
    "mail before hello": ("MAIL FROM:<a@x.test>",),
    "mail before login": (*HELLO, "MAIL FROM:<a@x.test>"),
    "recipient before mail": (*LOGGED_IN, "RCPT TO:<b@y.test>"),
    "data before recipient": (*LOGGED_IN, "MAIL FROM:<a@x.test>", "DATA"),
    "nested mail": (*MAIL, "MAIL FROM:<c@x.test>"),
    "declared too large": (*LOGGED_IN, f"MAIL FROM:<a@x.test> SIZE={SIZE_LIMIT + 1}"),
    "too large": (*MAIL, "DATA", "\r\n" + ("x" * 900 + "\r\n") * 120 + ".\r\n", "NOOP"),
    "no sender": (*LOGGED_IN, "MAIL FROM:"),
    "unknown parameter": (*LOGGED_IN, "MAIL FROM:<a@x.test> FOO=bar"),
    "bad body": (*LOGGED_IN, "MAIL FROM:<a@x.test> BODY=9BIT"),
    "unknown command": (*HELLO, "HELLO"),
    "empty command": (*HELLO, ""),
    "expn": (*HELLO, "EXPN list"),
    "starttls": (*HELLO, "STARTTLS", TLS, *MAIL, "DATA", "x\r\n.\r\n", "QUIT"),
    "starttls forgets": (*LOGGED_IN, "STARTTLS", TLS, "MAIL FROM:<a@x.test>"),
    "starttls with argument": (*HELLO, "STARTTLS now"),
    "quit": ("QUIT",),
    "vrfy": (*LOGGED_IN, "VRFY <a@x.test>"),
    "source route": (*LOGGED_IN, "MAIL FROM:<@relay.test:a@x.test>"),
    # --- from here on the engines are meant to differ
    "bad sender": (*LOGGED_IN, "MAIL FROM:<a@@x.test>"),
    "second starttls": (*HELLO, "STARTTLS", TLS, *HELLO, "STARTTLS"),
    "lower-case mechanism": (*HELLO, f"AUTH plain {GOOD}"),
    "auth parameter": (*LOGGED_IN, "MAIL FROM:<a@x.test> AUTH=<>"),
    "delivery status parameters": (
        *LOGGED_IN, "MAIL FROM:<a@x.test> RET=HDRS ENVID=x", "RCPT TO:<b@y.test> NOTIFY=NEVER",
    ),
    "empty recipient": (*LOGGED_IN, "MAIL FROM:<a@x.test>", "RCPT TO:<>"),
    "local recipient": (*LOGGED_IN, "MAIL FROM:<a@x.test>", "RCPT TO:<root>"),
    "hello without a name": ("EHLO",),
    "quit with argument": (*HELLO, "QUIT now"),
    "rset with argument": (*HELLO, "RSET now"),
    "help": (*LOGGED_IN, "HELP"),
    "long line in a body": (*MAIL, "DATA", "\r\n" + "x" * 2000 + "\r\n.\r\n", "NOOP"),
    "long command": (*HELLO, "NOOP " + "x" * 600),
    "bare LF in a command": ("NOOP\nNOOP\r\n",),
    "bare LF in a body": (*MAIL, "DATA", "a: b\n\n..x\ny\r\n.\r\n"),
    "dot between bare LF": (*MAIL, "DATA", "x\n.\nMAIL FROM:<evil@x.test>\r\n.\r\n"),
    "bare CR in a body": (*MAIL, "DATA", "x\ry\r\n.\r\n"),
    "handler fails": (*MAIL, "DATA", "FAIL\r\n.\r\n", "RCPT TO:<c@y.test>"),
    "smtputf8": (*LOGGED_IN, "MAIL FROM:<a@x.test> SMTPUTF8"),
}  # fmt: skip

ACCEPTED: dict[str, Difference] = {
    "bad sender": Difference("501", "553", "RFC 6409 5.1: bad address syntax is 501"),
    "second starttls": Difference("503", "220", "RFC 3207 4.2: no TLS within TLS"),
    "lower-case mechanism": Difference(
        "235", "504", "RFC 4954 3: names in any case; .NET sends `login`", "calls"
    ),
    "auth parameter": Difference(
        "250", "555", "RFC 4954 5: a server that offers AUTH takes the parameter", "calls"
    ),
    "delivery status parameters": Difference(
        "250 250", "555 503", "PHPMailer and relays send them unasked", "calls"
    ),
    "empty recipient": Difference(
        "501", "250", "RFC 5321 4.1.2: a forward path is never empty", "calls"
    ),
    "local recipient": Difference(
        "501", "250", "RFC 6409 4.2: envelope domains are fully qualified", "calls"
    ),
    "hello without a name": Difference("250", "501", "real devices send none", "calls"),
    "quit with argument": Difference("221", "501", "leaving is always possible"),
    "rset with argument": Difference("250", "501", "resetting is always possible", "calls"),
    "help": Difference("214", "250", "RFC 5321 4.3.2: the code of HELP"),
    "long line in a body": Difference(
        "250 250",
        "500 250",
        "RFC 5321 4.5.3.1.6 is what a server must at least take",
        "calls mails",
    ),
    "long command": Difference(
        "250", "500", "2,048 octets: SIZE, AUTH and DSN parameters lengthen MAIL"
    ),
    "bare LF in a command": Difference("500", "250", "RFC 5321 2.3.8: a line ends in CRLF"),
    "bare LF in a body": Difference(
        "", "", "smtplib sends it throughout; nobody behind us may see it", "mails"
    ),
    "dot between bare LF": Difference(
        "554", "250", "whoever speaks SMTP next may take it for the end", "calls mails"
    ),
    "bare CR in a body": Difference(
        "554", "250", "parsers take it for a line end, so it forges header lines", "calls mails"
    ),
    "handler fails": Difference(
        "503", "250", "theirs adds the next recipients to those of the failed message", "calls"
    ),
    "smtputf8": Difference("555", "501", "RFC 5321 4.1.1.11: a parameter that is not offered"),
}


class Handler(RecordingHandler):
    """The recording handler, with a body that makes it fail."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  # the contract's name
        """Fail when the message says so."""
        if bytes(envelope.original_content).startswith(b"FAIL"):
            self.calls.append(("DATA",))
            raise ValueError
        return await super().handle_DATA(server, session, envelope)

    async def handle_exception(self, error: Exception) -> str:
        """Not noted: the stock server, left by its client amid a handshake, tells it or does not.

        It depends on who is faster.
        """
        if isinstance(error, TLSSetupException):
            return ""
        return await super().handle_exception(error)


async def play(port: int, certificates: Certificates, steps: tuple[str, ...]) -> Trace:
    """Speak one dialogue and note the codes."""
    trace = Trace()
    client = await Client.connect(port, certificates)
    try:
        trace.codes.append((await client.reply())[:3])
        for step in steps:
            await _take(client, step, trace)
            if trace.codes[-1] == "":
                trace.closed = True
                break
    finally:
        await client.gone()
    return trace


async def _take(client: Client, step: str, trace: Trace) -> None:
    if step == TLS:
        await client.start_tls()
        return
    line = step if step.endswith("\n") else step + "\r\n"
    try:
        await client.send(line.encode("latin-1"))
        async with asyncio.timeout(SILENCE_SECONDS):
            trace.codes.append((await client.reply())[:3])
    except ConnectionError:
        trace.codes.append("")
    except TimeoutError:
        trace.codes.append("silence")


def free_port() -> int:
    """A port that nobody listens on; the stock Controller cannot choose one itself."""
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def stock(handler: object, certificates: Certificates) -> Iterator[int]:
    """The reference server in its thread."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificates.chain_path, certificates.key_path)
    with warnings.catch_warnings():
        # "Requiring AUTH while not requiring TLS", said for each connection: it is meant here.
        warnings.simplefilter("ignore", UserWarning)
        controller = Controller(
            handler,
            hostname=HOST,
            port=free_port(),
            server_hostname="mx.test",
            tls_context=tls,
            auth_required=True,
            auth_require_tls=False,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=False,
        )
        controller.start()
        try:
            yield controller.port
        finally:
            controller.stop()


async def both(
    folder: Path, certificates: Certificates, steps: tuple[str, ...]
) -> tuple[Trace, Trace]:
    """Our trace and theirs, with the recording handler."""
    handlers = Handler(), Handler()
    traces = await both_with(handlers, folder, certificates, steps)
    for handler, trace in zip(handlers, traces, strict=True):
        trace.calls = handler.calls
        trace.mails = [(mail.sender, mail.recipients, mail.content) for mail in handler.mails]
    return traces


async def both_with(
    handlers: tuple[object, object],
    folder: Path,
    certificates: Certificates,
    steps: tuple[str, ...],
) -> tuple[Trace, Trace]:
    """The codes of both engines, each with its handler."""
    async with serving(
        folder,
        certificates,
        handler=handlers[0],
        listeners=(Listener(HOST, 0, TlsMode.OPTIONAL),),
        clear_auth_allowed=True,
        message_size_limit_bytes=SIZE_LIMIT,
    ) as rig:
        ours = await play(rig.ports[0], certificates, steps)
    with stock(handlers[1], certificates) as port:
        theirs = await play(port, certificates, steps)
    return ours, theirs


def differing(ours: Trace, theirs: Trace) -> tuple[str, str, str]:
    """Codes of both from the first that differs, and the other fields that do."""
    same = 0
    for mine, other in zip(ours.codes, theirs.codes, strict=False):
        if mine != other:
            break
        same += 1
    fields = [name for name in ("calls", "mails") if vars(ours)[name] != vars(theirs)[name]]
    return " ".join(ours.codes[same:]), " ".join(theirs.codes[same:]), " ".join(fields)


@pytest.mark.parametrize("name", [name for name in DIALOGUES if name not in ACCEPTED])
async def test_both_engines_do_the_same(
    tmp_path: Path, certificates: Certificates, name: str
) -> None:
    """Codes, hook calls and envelopes are equal."""
    ours, theirs = await both(tmp_path, certificates, DIALOGUES[name])
    assert ours == theirs


@pytest.mark.parametrize("name", ACCEPTED)
async def test_an_intended_difference_is_the_written_one(
    tmp_path: Path, certificates: Certificates, name: str
) -> None:
    """Neither more than was written down, nor less: a vanished one leaves the list."""
    accepted = ACCEPTED[name]
    ours, theirs = await both(tmp_path, certificates, DIALOGUES[name])
    assert differing(ours, theirs) == (accepted.ours, accepted.theirs, accepted.besides)


async def test_the_content_behind_a_bare_lf_is_ours_with_crlf(
    tmp_path: Path, certificates: Certificates
) -> None:
    """What the difference is: line ends rewritten, and the dot removed after LF too."""
    ours, theirs = await both(tmp_path, certificates, DIALOGUES["bare LF in a body"])
    assert ours.mails[0][2] == b"a: b\r\n\r\n.x\r\ny\r\n"
    assert theirs.mails[0][2] == b"a: b\n\n..x\ny\r\n"


class Gateway:
    """The gateway's own handler, with stand-ins for the API."""

    def __init__(self) -> None:
        clock, log, metrics = SystemClock(), FakeLog(), Metrics(CollectorRegistry())
        self.courier = FakeCourier()
        tokens = FakeTokens({("user", "secret")})
        self.handler = GatewayHandler(
            authenticator=Authenticator(
                tokens=tokens, lockout=Lockout(clock), metrics=metrics, log=log, clock=clock
            ),
            courier=self.courier,
            policies=PolicyHolder(Policy(message_size_limit_bytes=SIZE_LIMIT)),
            rate=MailRate(clock),
            metrics=metrics,
            log=log,
            clock=clock,
        )

    def letters(self) -> list[tuple[Any, ...]]:
        """What delivery was given."""
        return [(each.mail_from, each.recipients, each.content) for each, _ in self.courier.letters]


# This handler refuses the empty recipient itself, so both engines answer alike.
GATEWAY_DIALOGUES = [
    name for name in DIALOGUES if name not in ACCEPTED or name == "empty recipient"
]


@pytest.mark.parametrize("name", GATEWAY_DIALOGUES)
async def test_the_gateways_handler_does_the_same_under_both(
    tmp_path: Path, certificates: Certificates, name: str
) -> None:
    """The real handler: equal codes, and delivery is given the same letters."""
    ours, theirs = Gateway(), Gateway()
    traces = await both_with(
        (ours.handler, theirs.handler), tmp_path, certificates, DIALOGUES[name]
    )
    assert traces[0] == traces[1]
    assert ours.letters() == theirs.letters()
