"""The SMTP server in the test's own loop, with a handler that records, and a raw client.

The client speaks octets, so a test decides where reads and TLS records fall. Waits have a limit.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import MISSING, AuthResult, LoginPassword
from prometheus_client import CollectorRegistry

from smtp_gateway.smtp.admission import MemoryBudget
from smtp_gateway.smtp.edge import Edge, EdgeTimeouts
from smtp_gateway.smtp.effects import SessionSettings, Timeouts
from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.server import ServerLimits, SmtpServer
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import Clock, SystemClock
from smtp_gateway.utils.lag import LagProbe
from smtp_gateway.utils.tls import CertificateStore
from tests.support.gateway import Certificates

PATIENCE_SECONDS = 10
HOST = "127.0.0.1"


def login(user: str) -> str:
    """An initial response of PLAIN that the recording handler takes."""
    return base64.b64encode(f"\0{user}\0secret".encode()).decode()


LOGIN = login("user")


@dataclass
class Mail:
    """One message as ``handle_DATA`` saw it."""

    sender: str | None
    recipients: list[str]
    content: bytes
    login: object


class RecordingHandler:
    """aiosmtpd's contract; it notes every call, and DATA may be told to wait or to fail.

    Attributes:
        calls: hook names in order, with what identifies the call.
        mails: messages taken.
        sessions: the session object of each EHLO.
        release: DATA waits for it; set from the start unless ``held``.
        entered: set when DATA has begun.
        ended: set when DATA has ended, whether the client is there or not.
        failure: raised by DATA.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.mails: list[Mail] = []
        self.sessions: list[Any] = []
        self.proxies: list[Any] = []
        self.release = asyncio.Event()
        if not held:
            self.release.set()
        self.entered = asyncio.Event()
        self.ended = asyncio.Event()
        self.failure: Exception | None = None

    async def handle_EHLO(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any, name: str, lines: list[str]
    ) -> list[str]:
        """See the contract."""
        self.calls.append(("EHLO", name))
        self.sessions.append(session)
        session.host_name = name
        return lines

    async def handle_HELO(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any, name: str
    ) -> str:
        """See the contract."""
        self.calls.append(("HELO", name))
        session.host_name = name
        return f"250 {server.hostname}"

    async def handle_RSET(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        """See the contract."""
        self.calls.append(("RSET",))
        return "250 OK"

    async def handle_MAIL(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """See the contract."""
        self.calls.append(("MAIL", address))
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """See the contract."""
        self.calls.append(("RCPT", address))
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802  # the contract's name
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        """See the contract."""
        self.calls.append(("DATA",))
        self.entered.set()
        try:
            await self.release.wait()
            if self.failure is not None:
                raise self.failure
            content = bytes(envelope.original_content)
            self.mails.append(
                Mail(envelope.mail_from, list(envelope.rcpt_tos), content, session.auth_data)
            )
        finally:
            self.ended.set()
        return f"250 Ok {len(self.mails)}"

    async def auth_PLAIN(  # noqa: N802  # the contract's name
        self, server: Any, args: list[str]
    ) -> AuthResult:
        """See the contract."""
        answer = base64.b64decode(args[1]) if len(args) > 1 else await server.challenge_auth("")
        if answer is MISSING:
            return AuthResult(success=False)
        _, user, password = answer.split(b"\0")
        return self._judge(server, user, password)

    async def auth_LOGIN(  # noqa: N802  # the contract's name
        self, server: Any, args: list[str]
    ) -> AuthResult:
        """See the contract."""
        user = (
            base64.b64decode(args[1]) if len(args) > 1 else await server.challenge_auth("Username:")
        )
        if user is MISSING:
            return AuthResult(success=False)
        password = await server.challenge_auth("Password:")
        if password is MISSING:
            return AuthResult(success=False)
        return self._judge(server, user, password)

    def _judge(self, server: Any, user: bytes, password: bytes) -> AuthResult:
        self.calls.append(("AUTH", user.decode()))
        if password != b"secret":
            return AuthResult(success=False, handled=False)
        server.session.login_key = user
        return AuthResult(success=True, auth_data=LoginPassword(user, password))

    async def handle_exception(self, error: Exception) -> str:
        """See the contract."""
        self.calls.append(("exception", type(error).__name__))
        return "451 4.3.0 Internal error"


@dataclass
class Lines:
    """A log that keeps its lines."""

    kept: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def bind(self, **fields: Any) -> Lines:
        """See ``Log``."""
        return self

    def _keep(self, event: str, **fields: Any) -> None:
        self.kept.append((event, fields))

    debug = info = warning = error = _keep

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of each line of that event."""
        return [fields for name, fields in self.kept if name == event]


class SweptClock:
    """A clock that moves when told, and tells when the server has looked at it since.

    Sweeps come in real time, what they judge by is this time: no test waits for a deadline.
    """

    def __init__(self) -> None:
        self._now = 1_000_000.0
        self._looked = asyncio.Event()

    def monotonic(self) -> float:
        """See ``Clock``."""
        self._looked.set()
        return self._now

    def wall(self) -> float:
        """See ``Clock``."""
        return SystemClock().wall()

    async def advance(self, seconds: float) -> None:
        """Let time pass, and two sweeps see it."""
        self._now += seconds
        for _ in range(2):
            self._looked.clear()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._looked.wait()


@dataclass
class Rig:
    """A running server and what a test may want to look at."""

    server: SmtpServer
    handler: Any
    metrics: Metrics
    memory: MemoryBudget
    log: Lines
    store: CertificateStore
    certificates: Certificates
    refused: list[str]
    ports: list[int]
    clients: list[Client] = field(default_factory=list)

    def value(self, name: str, **labels: str) -> float:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def edges(self) -> list[Edge]:
        """The connections open now."""
        return list(self.server._live)  # noqa: SLF001  # no other part may see them

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until something holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not holds():  # noqa: ASYNC110  # what is waited for may be any fact, not an event
                await asyncio.sleep(0.001)

    async def connect(self, index: int = 0, host: str = HOST) -> Client:
        """A client of one port, before anything was said."""
        client = await Client.connect(self.ports[index], self.certificates, host)
        self.clients.append(client)
        return client

    async def greeted(self, index: int = 0) -> Client:
        """A client that has read 220."""
        client = await self.connect(index)
        assert (await client.reply()).startswith("220 ")
        return client

    async def secured(self) -> Client:
        """A client behind STARTTLS, after its second EHLO."""
        client = await self.greeted()
        await client.ask("EHLO client.test")
        assert (await client.ask("STARTTLS")).startswith("220 ")
        await client.start_tls()
        await client.ask("EHLO client.test")
        return client

    async def logged_in(self, user: str = "user") -> Client:
        """A client that may send."""
        client = await self.secured()
        assert (await client.ask(f"AUTH PLAIN {login(user)}")).startswith("235 ")
        return client

    async def in_data(self, user: str = "user", *, size: int | None = None) -> Client:
        """A client that has read 354."""
        client = await self.logged_in(user)
        size_parameter = "" if size is None else f" SIZE={size}"
        assert (await client.ask(f"MAIL FROM:<a@x.test>{size_parameter}")).startswith("250 ")
        assert (await client.ask("RCPT TO:<b@y.test>")).startswith("250 ")
        assert (await client.ask("DATA")).startswith("354 ")
        return client

    async def in_hook(self, user: str = "user") -> Client:
        """A client whose message the handler has and holds."""
        client = await self.in_data(user)
        await client.send(b"x\r\n.\r\n")
        await self.handler.entered.wait()
        return client


@asynccontextmanager
async def serving(
    folder: Path,
    certificates: Certificates,
    *,
    handler: Any = None,
    listeners: tuple[Listener, ...] = (Listener(HOST, 0),),
    memory_bytes: int = 1 << 30,
    limits: ServerLimits | None = None,
    edge_timeouts: EdgeTimeouts | None = None,
    timeouts: Timeouts | None = None,
    sweep_seconds: float = 0.02,
    lag: LagProbe | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A server with the given settings, closed at the end."""
    metrics, log = Metrics(CollectorRegistry()), Lines()
    clock = clock or SystemClock()
    refused: list[str] = []
    store = CertificateStore(
        certificates.chain_path,
        certificates.key_path,
        clock=clock,
        on_loaded=lambda _: None,
        on_refused=refused.append,
    )
    store.load()
    memory = MemoryBudget(
        memory_bytes * 4 // 3,  # of which three quarters are the budget
        resting_bytes=0,
        in_flight=metrics.bytes_in_flight,
        total=metrics.memory_budget,
    )
    base = SessionSettings("mx.test", "", timeouts=timeouts or Timeouts(), **settings)
    handler = handler if handler is not None else RecordingHandler()
    server = SmtpServer(
        listeners,
        handler,
        settings_for=lambda listener, session_id: replace(
            base, session_id=session_id, tls_mode=listener.tls_mode
        ),
        certificates=store,
        memory=memory,
        metrics=metrics,
        log=log,
        clock=clock,
        lag=lag or LagProbe(clock, lambda _: None),
        limits=limits,
        timeouts=edge_timeouts or EdgeTimeouts(linger_seconds=0.1),
        sweep_seconds=sweep_seconds,
    )
    ports = await server.start()
    rig = Rig(server, handler, metrics, memory, log, store, certificates, refused, ports)
    try:
        yield rig
    finally:
        await server.close()
        for client in rig.clients:
            await client.gone()


class Client:
    """Raw SMTP over one socket. TLS runs in memory, so its records are the test's to cut."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        certificates: Certificates,
    ) -> None:
        self.reader, self.writer = reader, writer
        self._certificates = certificates
        self._buffer = b""
        self.tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    @classmethod
    async def connect(cls, port: int, certificates: Certificates, host: str = HOST) -> Client:
        """Connect; nothing is read."""
        reader, writer = await asyncio.open_connection(host, port)
        return cls(reader, writer, certificates)

    async def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """Shake hands as a client that checks the certificate."""
        if context is None:
            context = ssl.create_default_context(cafile=str(self._certificates.ca_path))
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.writer.write(self._outgoing.read())
                self._incoming.write(await self._read_socket())
        self.writer.write(self._outgoing.read())

    async def _read_socket(self) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            octets = await self.reader.read(65_536)
        if not octets:
            raise ConnectionResetError("the server has closed")
        return octets

    def sealed(self, data: bytes) -> bytes:
        """Data as it goes over the socket: in TLS, one record for each call."""
        if self.tls is None:
            return data
        self.tls.write(data)
        return self._outgoing.read()

    async def send(self, *pieces: bytes) -> None:
        """Each piece a record of its own (in TLS), all in one write."""
        self.writer.write(b"".join(self.sealed(piece) for piece in pieces))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.writer.drain()

    async def ask(self, line: str) -> str:
        """One command, one reply."""
        await self.send(line.encode() + b"\r\n")
        return await self.reply()

    async def reply(self) -> str:
        """One whole reply, lines joined by CRLF; "" when the server has closed."""
        lines: list[str] = []
        while True:
            line = await self._line()
            if not line:
                return "\r\n".join(lines)
            lines.append(line)
            if line[3:4] != "-":
                return "\r\n".join(lines)

    async def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            piece = await self.octets()
            if not piece:
                assert not self._buffer, f"half a line: {self._buffer!r}"
                return ""
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("ascii")

    async def octets(self) -> bytes:
        """Decrypted octets; b"" at the end."""
        while True:
            if self.tls is not None:
                try:
                    return self.tls.read(65_536)
                except ssl.SSLZeroReturnError:
                    return b""
                except ssl.SSLWantReadError:
                    pass
            async with asyncio.timeout(PATIENCE_SECONDS):
                octets = await self.reader.read(65_536)
            if self.tls is None or not octets:
                return octets
            self._incoming.write(octets)

    async def closed(self) -> bool:
        """Whether nothing more comes, the connection being closed in order."""
        return await self.reply() == ""

    async def rest(self) -> list[str]:
        """All replies until the server closes."""
        replies = []
        while reply := await self.reply():
            replies.append(reply)
        return replies

    def reset(self) -> None:
        """Vanish with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)  # on, 0 s
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.close()

    def half_close(self) -> None:
        """Send no more, and go on reading."""
        self.writer.write_eof()

    def close(self) -> None:
        """Leave without QUIT."""
        self.writer.close()

    async def gone(self) -> None:
        """Close, and wait until the socket is."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()
