"""The SMTP ports: who may connect, which sessions live, and how they end.

A connection is refused with a reply and never in silence, but where the PROXY protocol says so.
Draining takes one path whatever its cause (smtp-server 4.8): first readiness turns red while
connections are still taken, then the ports close, then each session hears 421 once it has no mail
under way; never in place of an answer to a final dot.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.smtp.admission import STRESS_SHARE, MemoryBudget
from smtp_gateway.smtp.edge import Edge, EdgeTimeouts
from smtp_gateway.smtp.effects import SessionSettings
from smtp_gateway.smtp.hooks import HookTable
from smtp_gateway.smtp.limits import network_of
from smtp_gateway.smtp.listener import BACKLOG, Listener
from smtp_gateway.smtp.replies import OVERLOADED, SHUTTING_DOWN, TOO_MANY_CONNECTIONS, Reply
from smtp_gateway.smtp.tally import Tally
from smtp_gateway.telemetry import Event, Log, Metrics
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.lag import LagProbe
from smtp_gateway.utils.tasks import TaskOwner
from smtp_gateway.utils.tls import CertificateStore

READ_BYTES: Final = 65_536
SWEEP_SECONDS: Final = 1.0
UPLOAD_MARGIN_SECONDS: Final = 5.0  # between cutting uploads and the last deadline of a submission
REFUSED_SHARE: Final = 0.1  # connections beyond the cap that are still told why
REFUSED_LEAST: Final = 10
K = TypeVar("K")

REFERENCE_LOGGERS: Final = ("mail.log", "mail.debug")  # aiosmtpd's own: they hold addresses


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many connections at once (smtp-server 3.4). 0: no limit of that kind."""

    connections: int = 1000
    connections_per_address: int = 0
    connections_per_login: int = 0


@dataclass(frozen=True, slots=True)
class DrainCounts:
    """How the sessions ended that were there when the ports closed.

    Attributes:
        sessions: how many there were.
        cut: still without a whole mail at the limit for uploads: told 421, nothing was taken.
        aborted: sessions, or hooks without one, still there at the end of the grace period.
    """

    sessions: int
    cut: int
    aborted: int


class SmtpServer:
    """All SMTP ports of the process.

    Args:
        listeners: the ports.
        handler: whatever keeps aiosmtpd's contract; hooks are looked up once.
        settings_for: what a session is held to, asked at each connect.
        certificates: loaded before ``start``, else no port opens.
        memory: room for messages.
        metrics: where connections and messages are counted.
        log: one line per session.
        clock: what time-outs are measured with.
        lag: the loop's delay; too much of it refuses connections.
        limits: how many connections at once.
        timeouts: deadlines of the connection itself.
        shown: a client's address as the log may have it.
        sweep_seconds: how often deadlines are looked at.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        handler: object,
        *,
        settings_for: Callable[[Listener, str], SessionSettings],
        certificates: CertificateStore,
        memory: MemoryBudget,
        metrics: Metrics,
        log: Log,
        clock: Clock,
        lag: LagProbe,
        limits: ServerLimits | None = None,
        timeouts: EdgeTimeouts | None = None,
        shown: Callable[[str], str] = str,
        sweep_seconds: float = SWEEP_SECONDS,
    ) -> None:
        self.listeners = tuple(listeners)
        self.hooks = HookTable(handler)
        self.settings_for = settings_for
        self.memory = memory
        self.metrics = metrics
        self.log = log
        self.clock = clock
        self.timeouts = timeouts or EdgeTimeouts()
        self.shown = shown
        self.tally = Tally(metrics)
        self.tasks = TaskOwner(self._task_failed)
        self.read_view = memoryview(bytearray(READ_BYTES))
        self.draining = False
        self.closed = False
        self.stressed = False
        self._certificates = certificates
        self._lag = lag
        self.limits = limits or ServerLimits()
        self._sweep_seconds = sweep_seconds
        self._sweeper: asyncio.TimerHandle | None = None
        self._servers: list[asyncio.Server] = []
        self._live: set[Edge] = set()
        self._refused: set[Edge] = set()
        self._by_address: Counter[str] = Counter()
        self._by_login: Counter[bytes] = Counter()
        self._logins: dict[Edge, bytes] = {}
        self._changed = asyncio.Event()
        self._drain: asyncio.Task[DrainCounts] | None = None

    # ---- start and stop ------------------------------------------------------------------------

    async def start(self) -> list[int]:
        """Open the ports; returns them, in the order of the listeners.

        Raises:
            ConfigurationError: no certificate can serve, or a port cannot be taken.
        """
        if not self._certificates.usable:
            raise ConfigurationError(["no usable certificate: no SMTP port opens without one"])
        for name in REFERENCE_LOGGERS:
            logging.getLogger(name).disabled = True
        sockets = self._bind()
        loop = asyncio.get_running_loop()
        for listener, sock in zip(self.listeners, sockets, strict=True):
            factory = partial(Edge, self, listener)
            # The loop calls listen() once more: without its own word it would be 100, and a burst
            # of clients would find connections reset by the kernel.
            server = await loop.create_server(factory, sock=sock, backlog=BACKLOG)
            self._servers.append(server)
        self._sweeper = loop.call_later(self._sweep_seconds, self._sweep)
        return [int(sock.getsockname()[1]) for sock in sockets]

    def _bind(self) -> list[socket.socket]:
        """All ports or none."""
        bound: list[socket.socket] = []
        for listener in self.listeners:
            try:
                bound.append(listener.bind())
            except OSError as error:
                for sock in bound:
                    sock.close()
                place = f"{listener.host or '*'}:{listener.port}"
                problem = f"cannot listen on {place}: {os.strerror(error.errno or 0)}"
                raise ConfigurationError([problem]) from error
        return bound

    @property
    def listening(self) -> bool:
        """Whether every port accepts."""
        return bool(self._servers) and all(server.is_serving() for server in self._servers)

    @property
    def connections(self) -> int:
        """Connections open now."""
        return len(self._live)

    async def drain(
        self,
        *,
        pre_stop_seconds: float,
        grace_seconds: float,
        submission_deadline_seconds: float,
    ) -> DrainCounts:
        """Shut down without losing a mail (smtp-server 4.8); a second call joins the first.

        Args:
            pre_stop_seconds: go on accepting for so long, until balancers know.
            grace_seconds: from now to the end, all included.
            submission_deadline_seconds: the longest answer to a final dot.
        """
        if self._drain is None:
            ends = self.clock.monotonic() + grace_seconds
            work = self._run_drain(
                pre_stop_seconds, ends - submission_deadline_seconds - UPLOAD_MARGIN_SECONDS, ends
            )
            self._drain = TaskOwner(self._task_failed).spawn(work, name="drain")
        return await asyncio.shield(self._drain)

    async def _run_drain(self, pre_stop: float, cut_at: float, ends: float) -> DrainCounts:
        self.draining = True
        self.metrics.draining.set(1)
        await asyncio.sleep(max(0.0, pre_stop))
        self._close_ports()
        sessions = len(self._live)
        self._tell(uploads=False)
        await self._until_empty(cut_at)
        cut = sum(edge.in_transaction and not edge.waiting for edge in self._live)
        self._tell(uploads=True)
        await self._until_empty(ends)
        # A hook whose client has left still has its outcome to learn.
        stopped = await self.tasks.settle(timeout_seconds=self._left(ends))
        aborted = max(len(self._live), stopped)
        await self.close()
        return DrainCounts(sessions, cut, aborted)

    def _tell(self, *, uploads: bool) -> None:
        for edge in tuple(self._live):
            edge.drain(uploads=uploads)

    async def _until_empty(self, until: float) -> None:
        """Wait until no session is left, at most until then."""
        try:
            async with asyncio.timeout(self._left(until)):
                while self._live:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _left(self, until: float) -> float:
        return max(0.0, until - self.clock.monotonic())

    def _close_ports(self) -> None:
        self.closed = True
        for server in self._servers:
            server.close()

    async def close(self) -> None:
        """End at once: ports, sessions, and hooks that still run."""
        self._close_ports()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for edge in tuple(self._live):
            edge.abort()
        await self.tasks.cancel()
        while self._live:  # each abort is reported in a later turn of the loop
            self._changed.clear()
            await self._changed.wait()

    # ---- connections (edge.Desk) ---------------------------------------------------------------

    def joined(self, edge: Edge) -> None:
        """See ``edge.Desk``."""
        self._live.add(edge)
        self.metrics.active_connections.inc()

    def left(self, edge: Edge) -> None:
        """See ``edge.Desk``."""
        if edge not in self._live:
            return
        self._live.discard(edge)
        self._refused.discard(edge)
        self.metrics.active_connections.dec()
        _release(self._by_address, network_of(edge.address))
        _release(self._by_login, self._logins.pop(edge, None))
        self._changed.set()

    def refusal(self, edge: Edge) -> Reply | None:
        """See ``edge.Desk``."""
        if edge.address:
            self._by_address[network_of(edge.address)] += 1
        found = self._reason(edge.address)
        if found is None:
            return None
        reason, reply = found
        self.metrics.admission_refusals[reason].inc()
        self._refused.add(edge)
        if len(self._refused) > max(REFUSED_LEAST, self.limits.connections * REFUSED_SHARE):
            edge.abort()  # telling more of them would be the overload itself
        return reply

    def _reason(self, address: str) -> tuple[str, Reply] | None:
        limits = self.limits
        served = len(self._live) - len(self._refused)
        per_address = limits.connections_per_address
        checks = (
            (limits.connections and served > limits.connections,
             "connections", TOO_MANY_CONNECTIONS),
            (per_address and address and self._by_address[network_of(address)] > per_address,
             "connections", TOO_MANY_CONNECTIONS),
            (self.memory.exhausted, "memory", OVERLOADED),
            (self._lag.overloaded, "lag", OVERLOADED),
            (self.closed, "draining", SHUTTING_DOWN),
        )  # fmt: skip
        return next(((reason, reply) for hit, reason, reply in checks if hit), None)

    def admits_login(self, edge: Edge, key: bytes) -> bool:
        """See ``edge.Desk``."""
        limit = self.limits.connections_per_login
        if limit and self._by_login[key] >= limit:
            self.metrics.admission_refusals["connections"].inc()
            return False
        self._by_login[key] += 1
        self._logins[edge] = key
        return True

    def tls_context(self) -> ssl.SSLContext:
        """See ``edge.Desk``."""
        context = self._certificates.context
        assert context is not None  # without one no port opens, and none is taken away
        return context

    # ---- time ----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """Once a second, for all connections: cheaper than a timer for each command."""
        self._sweeper = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)
        self.memory.measure()
        self._watch_stress()
        now = self.clock.monotonic()
        for edge in tuple(self._live):
            edge.sweep(now)

    def _watch_stress(self) -> None:
        cap = self.limits.connections
        stressed = self.memory.stressed or bool(cap and len(self._live) > cap * STRESS_SHARE)
        if stressed is not self.stressed:
            self.stressed = stressed
            for edge in tuple(self._live):
                edge.stress(on=stressed)

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.log.error(Event.TASK_FAILED, task=name, error=type(error).__name__)


def _release(counts: Counter[K], key: K | None) -> None:
    if not key:
        return
    counts[key] -= 1
    if counts[key] <= 0:
        del counts[key]
