"""One connection: socket, PROXY header, TLS and timers. It knows no SMTP.

Bytes go to the session behind it, which answers with more bytes and with orders. All that one read
brings forth leaves in one write.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from aiosmtpd.smtp import Envelope, Session

from smtp_gateway.smtp import effects as fx
from smtp_gateway.smtp import hooks as hk
from smtp_gateway.smtp.context import client_address
from smtp_gateway.smtp.exchange import Exchange, Hold, Surroundings, new_session
from smtp_gateway.smtp.proxy import ProxyHeader, ProxyHeaderInvalid, trusted
from smtp_gateway.smtp.replies import SHUTTING_DOWN, Reply
from smtp_gateway.smtp.tls_pipe import TlsPipe
from smtp_gateway.telemetry import Event
from smtp_gateway.utils.sockets import plain_peer

if TYPE_CHECKING:
    from smtp_gateway.smtp.listener import Listener

WRITE_BUFFER_BYTES: Final = 65_536  # above it reading stops: answers wait for the client
LINGER_BYTES: Final = 4_194_304  # read and dropped after our close, so that our reply is read
KNOWN_TLS: Final = frozenset({"TLSv1.2", "TLSv1.3"})
NOTHING_FOLLOWS: Final = frozenset({"quit", "eof"})  # the client sends no more: close at once


@dataclass(frozen=True, slots=True)
class EdgeTimeouts:
    """Deadlines that no session machine knows of, in seconds (smtp-server 3.5, 4.7)."""

    proxy_header_seconds: float = 5
    tls_handshake_seconds: float = 30
    write_stall_seconds: float = 60
    memory_wait_seconds: float = 30
    linger_seconds: float = 2


class Desk(Surroundings, Protocol):
    """The server, as one of its connections sees it."""

    timeouts: EdgeTimeouts
    read_view: memoryview
    closed: bool
    stressed: bool

    def joined(self, edge: Edge) -> None:
        """A connection was accepted."""
        ...

    def left(self, edge: Edge) -> None:
        """It is gone."""
        ...

    def refusal(self, edge: Edge) -> Reply | None:
        """Why this client, whose address is now known, is not served."""
        ...

    def admits_login(self, edge: Edge, key: bytes) -> bool:
        """Whether this credential may have one more connection."""
        ...

    def settings_for(self, listener: Listener, session_id: str) -> fx.SessionSettings:
        """What the session is held to."""
        ...

    def tls_context(self) -> ssl.SSLContext:
        """The certificate of this moment."""
        ...

    def shown(self, address: str) -> str:
        """A client's address as the log may have it."""
        ...


class Edge(asyncio.BufferedProtocol):
    """One connection, from accept to close."""

    def __init__(self, desk: Desk, listener: Listener) -> None:
        self._desk = desk
        self._listener = listener
        self.session_id = secrets.token_hex(8)
        self.session: Session  # until the greeting; then the exchange's
        self.envelope: Envelope
        self.hostname = ""
        self.address = ""
        self._transport: asyncio.Transport | None = None
        self._header: ProxyHeader | None = None
        self._refusal: Reply | None = None
        self._tls: TlsPipe | None = None
        self._tls_info: fx.TlsInfo | None = None
        self._talk: Exchange | None = None
        self._out: list[bytes] = []
        self._holds = Hold.NONE
        self._upgrade = self._closing = self._shut = self._read_on = False
        self._failure = ""
        self._began = self._since = desk.clock.monotonic()  # the connection; its present phase
        self._unsent, self._unsent_since = 0, 0.0
        self.bytes_in = self._bytes_out = self._dropped = 0

    # ---- the transport's calls -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        transport = cast("asyncio.Transport", transport)  # uvloop's has its methods, not its class
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        peer = plain_peer(transport.get_extra_info("peername"))
        self.session = new_session(asyncio.get_running_loop(), self.session_id, peer, None)
        self._desk.joined(self)
        networks = self._listener.proxy_networks
        if not networks:
            self._welcome()
        elif trusted(peer, networks):
            self._header = ProxyHeader()
        else:
            self._fail("untrusted proxy")  # unanswered: smtp-server 3.8
        self.after()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop's signature
        """One buffer for all connections: it is emptied before the loop turns to the next."""
        return self._desk.read_view

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        octets = self._desk.read_view[:nbytes]
        self.bytes_in += nbytes
        if self._shut or self._failure:
            self._drop(nbytes)
        elif self._header is not None:
            self._read_header(self._header, bytes(octets))
        else:
            self._receive(octets)
        self.after()

    def eof_received(self) -> bool:
        """Half a close: what was asked for is still answered (smtp-server 2.5)."""
        talk = self._talk
        if talk is None or self._shut or (self._tls is not None and not self._tls.ready):
            if not self._shut:
                self._failure = self._failure or "gone early"
            return False
        talk.ended()
        self.after()
        return True

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.hold(Hold.WRITE)

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self.let_go(Hold.WRITE)
        self.after()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # a reset is an end
        """The client is gone. References end here: memory must not wait for the collector."""
        self._transport = None
        self._shut = True
        if self._talk is not None:
            self._talk.lost()
        self._desk.left(self)
        self._report()
        self._talk = self._tls = self._header = None

    # ---- before the session: PROXY, TLS, refusals ----------------------------------------------

    def _read_header(self, header: ProxyHeader, octets: bytes) -> None:
        try:
            if not header.feed(octets):
                return
        except ProxyHeaderInvalid:
            self._fail("proxy header")
            return
        self._header = None
        self.session.proxy_data = header.data
        hook = self._desk.hooks.proxy
        if hook is None:
            self._announced(header.rest, admitted=True)
            return
        self.hold(Hold.MACHINE)
        self._desk.tasks.launch(self._ask_hook(hook, header), name="handle_PROXY")

    async def _ask_hook(self, hook: hk.Hook, header: ProxyHeader) -> None:
        self.envelope = Envelope()
        admitted = False
        try:
            facade = hk.ServerFacade(self)
            admitted = bool(await hook(facade, self.session, self.envelope, header.data))
        finally:  # a failure is reported by the owner of tasks, and admits nobody
            self._announced(header.rest, admitted=admitted)
            self.let_go(Hold.MACHINE)
            self.after()

    async def ask(self, challenge: str | bytes) -> object:  # noqa: ARG002  # hooks.Asker
        """See ``hooks.Asker``: before the greeting nothing may be said."""
        raise RuntimeError("no challenge before the greeting")

    def say(self, line: str | bytes) -> None:  # noqa: ARG002  # hooks.Asker
        """See ``hooks.Asker``: before the greeting nothing may be said."""
        raise RuntimeError("no reply before the greeting")

    def _announced(self, rest: bytes, *, admitted: bool) -> None:
        if not admitted:
            self._fail("proxy hook")
        elif self._transport is not None:
            self._welcome()
            if rest and not self._closing:
                self._receive(memoryview(rest))

    def _welcome(self) -> None:
        self.address = client_address(self.session)
        self._refusal = self._desk.refusal(self)
        if self._listener.tls_mode is fx.TlsMode.IMPLICIT:
            self._begin_tls()
        else:
            self._greet(None)

    def _begin_tls(self) -> None:
        self._tls = TlsPipe(self._desk.tls_context())
        self._since = self._desk.clock.monotonic()

    def _secured(self, info: fx.TlsInfo) -> None:
        self._tls_info = info
        version = info.version if info.version in KNOWN_TLS else "other"
        self._desk.metrics.tls_handshakes[version, str(info.resumed).lower()].inc()
        if self._talk is None:
            self._greet(info)
        else:
            self._talk.secured(info)

    def _greet(self, info: fx.TlsInfo | None) -> None:
        talk = self._talk = Exchange(
            self._desk,
            self,
            self._desk.settings_for(self._listener, self.session_id),
            peer=self.session.peer,
            proxy_data=self.session.proxy_data,
            tls=info,
        )
        refusal = self._refusal or (SHUTTING_DOWN if self._desk.closed else None)
        if refusal is not None:
            self._refusal = refusal
            talk.apply(talk.machine.refuse(refusal, talk.now()))
            return
        talk.apply(talk.machine.start(talk.now()))
        if self._desk.stressed:
            talk.apply(talk.machine.stress(True, talk.now()))

    def _fail(self, reason: str) -> None:
        self._failure = reason
        if self._transport is not None:
            self._transport.close()

    # ---- bytes ---------------------------------------------------------------------------------

    def _receive(self, octets: memoryview) -> None:
        talk = self._talk
        if self._tls is not None:
            self._tls.receive(octets)
            self._pump(self._tls)
        elif talk is not None:
            talk.apply(talk.machine.feed(bytes(octets), talk.now()))

    def _pump(self, tls: TlsPipe) -> None:
        """Decrypt what came and feed it; all records of one read together."""
        if not tls.ready and not self._shake_hands(tls):
            return
        talk = self._talk
        if self._holds or self._closing or talk is None:
            return
        data = tls.read()
        if data:
            talk.apply(talk.machine.feed(data, talk.now()))
        if tls.ended:
            talk.ended()

    def _shake_hands(self, tls: TlsPipe) -> bool:
        try:
            info = tls.handshake()
        except ssl.SSLError:
            self._put(tls.take())  # the alert
            self._fail("tls handshake")
            return False
        if info is not None:
            self._secured(info)
        return info is not None

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        tls = self._tls
        if tls is not None:
            if data:
                tls.write(data)
            if self._closing and tls.ready and not self._shut:
                tls.close()  # in the same write as the last reply
            data = tls.take()
        self._put(data)

    def _put(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._bytes_out += len(data)
            self._transport.write(data)

    def _drop(self, nbytes: int) -> None:
        self._dropped += nbytes
        if self._dropped > LINGER_BYTES and self._transport is not None:
            self._transport.abort()

    # ---- orders of the session (exchange.Wire) ---------------------------------------------

    def send(self, data: bytes) -> None:
        """See ``exchange.Wire``."""
        self._out.append(data)

    def hold(self, reason: Hold) -> None:
        """See ``exchange.Wire``."""
        if not self._holds and self._transport is not None:
            self._transport.pause_reading()
        self._holds |= reason

    def let_go(self, reason: Hold) -> None:
        """See ``exchange.Wire``."""
        if not self._holds & reason:
            return
        self._holds &= ~reason
        if not self._holds and self._transport is not None:
            self._transport.resume_reading()
            self._read_on = True  # decrypted input may wait in the TLS object

    def upgrade(self) -> None:
        """See ``exchange.Wire``."""
        self._upgrade = True

    def close(self) -> None:
        """See ``exchange.Wire``."""
        self._closing = True

    def admits_login(self, key: bytes) -> bool:
        """See ``exchange.Wire``."""
        return self._desk.admits_login(self, key)

    def after(self) -> None:
        """End of one turn: read on where that is possible again, write once, upgrade, close."""
        while self._read_on and not self._holds:
            self._read_on = False
            if self._tls is not None:
                self._pump(self._tls)
        if self._out or self._tls is not None:
            self._flush()
        if self._upgrade:
            self._upgrade = False
            self._begin_tls()
        if self._closing and not self._shut:
            self._shut_down()

    def _shut_down(self) -> None:
        """Close so that the last reply is read: a socket closed with input unread sends a reset."""
        self._shut = True
        transport, talk = self._transport, self._talk
        if transport is None:
            return
        if talk is None or talk.machine.ended_by in NOTHING_FOLLOWS:
            transport.close()
            return
        self._since = self._desk.clock.monotonic()
        transport.write_eof()
        if self._holds:
            self._holds = Hold.NONE
            transport.resume_reading()

    # ---- time and the server's signals ---------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Called once a second: enforce the deadlines that have passed."""
        transport, talk = self._transport, self._talk
        if transport is None:
            return
        if self._stalled(transport, now) or self._overdue(now):
            transport.abort()
        elif talk is not None and not self._shut:
            talk.sweep(now, self._desk.timeouts.memory_wait_seconds)
            self.after()

    def _stalled(self, transport: asyncio.Transport, now: float) -> bool:
        """Whether the client has taken none of what waits for it for a whole minute."""
        unsent = transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent or not self._unsent:
            self._unsent_since = now
        self._unsent = unsent
        return bool(unsent) and now - self._unsent_since >= self._desk.timeouts.write_stall_seconds

    def _overdue(self, now: float) -> bool:
        """Whether a phase that the machine does not see has lasted too long."""
        limits = self._desk.timeouts
        if self._shut:
            return now - self._since >= limits.linger_seconds and not self._unsent
        if self._header is not None:
            allowed, reason = limits.proxy_header_seconds, "proxy header"
        elif self._tls is not None and not self._tls.ready:
            allowed, reason = limits.tls_handshake_seconds, "tls handshake"
        else:
            return False
        late = now - self._since >= allowed
        if late:
            self._failure = reason
        return late

    def stress(self, *, on: bool) -> None:
        """The server is short of something: less patience before a login; or no longer."""
        talk = self._talk
        if talk is not None and not self._shut:
            talk.apply(talk.machine.stress(on, talk.now()))
            self.after()

    def drain(self, *, uploads: bool) -> None:
        """The server shuts down: 421 between transactions, with ``uploads`` within one too."""
        talk = self._talk
        if talk is not None and not self._shut:
            talk.apply(talk.machine.drain(talk.now(), uploads=uploads))
            self.after()

    def abort(self) -> None:
        """End now, whatever goes on; a hook that runs is not ended by this."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def held(self) -> bool:
        """Whether reading has stopped."""
        return self._holds is not Hold.NONE

    @property
    def waiting(self) -> bool:
        """Whether a hook is out."""
        return self._talk is not None and self._talk.machine.hook_out

    @property
    def in_transaction(self) -> bool:
        """Whether a mail was begun."""
        return self._talk is not None and self._talk.machine.in_transaction

    # ---- the end -------------------------------------------------------------------------------

    def _report(self) -> None:
        info: fx.TlsInfo | None = self._tls_info
        machine: Any = self._talk.machine if self._talk is not None else None
        seconds = self._desk.clock.monotonic() - self._began
        failed = bool(self._failure) or self._refusal is not None
        self._desk.metrics.connection_duration.observe(seconds)
        self._desk.metrics.connections["failed" if failed else "success"].inc()
        self._desk.log.info(
            Event.SESSION,
            session=self.session_id,
            client=self._desk.shown(self.address or client_address(self.session)),
            listener=self._listener.name,
            tls=info.version if info is not None else "",
            mechanism=machine.mechanism if machine else "",
            messages=machine.messages if machine else 0,
            refusals=machine.refusals if machine else 0,
            last_refusal=machine.last_refusal if machine else "",
            bytes_in=self.bytes_in,
            bytes_out=self._bytes_out,
            seconds=round(seconds, 3),
            ended_by=self._failure or (machine.ended_by if machine else "") or "client",
        )
