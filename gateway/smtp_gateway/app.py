"""Composition root: build, start, drain, stop, in the order in which they happen."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from smtp_gateway import __version__
from smtp_gateway.api.breaker import Breaker, BreakerState
from smtp_gateway.api.calls import Caller
from smtp_gateway.api.client import ApiClient, tls_context
from smtp_gateway.api.lookups import Lookups
from smtp_gateway.api.slots import Slots
from smtp_gateway.api.submitter import AiohttpSubmitter, open_session
from smtp_gateway.api.tokens import CredentialStore
from smtp_gateway.delivery import Delivery, DeliverySettings
from smtp_gateway.errors import ConfigurationError
from smtp_gateway.http.app import build_http
from smtp_gateway.http.health import Health
from smtp_gateway.http.server import HttpServer
from smtp_gateway.ledger import InProcessLedger
from smtp_gateway.live import LiveFile
from smtp_gateway.policy import Policy, PolicyHolder
from smtp_gateway.preparation import Preparer, worker_bytes
from smtp_gateway.recipients import Recipients
from smtp_gateway.settings import Settings, environment, load
from smtp_gateway.smtp.admission import Cgroup, MemoryBudget
from smtp_gateway.smtp.authenticator import Authenticator
from smtp_gateway.smtp.effects import LineEndings, SessionSettings, Timeouts, TlsMode
from smtp_gateway.smtp.handler import GatewayHandler
from smtp_gateway.smtp.limits import MailRate
from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.smtp.server import ServerLimits, SmtpServer
from smtp_gateway.telemetry import (
    Event,
    Log,
    LogLevel,
    Metrics,
    bridge_standard_logging,
    build_log,
)
from smtp_gateway.utils.clock import SystemClock
from smtp_gateway.utils.lag import LagProbe
from smtp_gateway.utils.memory import physical_bytes, resident_bytes, spare_collector
from smtp_gateway.utils.stack import stack_of
from smtp_gateway.utils.tasks import TaskOwner
from smtp_gateway.utils.tls import CertificateStore, CertificateUnusable, ServerCertificate

EXIT_CONFIGURATION = 2
STRESSED_LOGIN_SECONDS = 60.0
HASH_DIGITS = 12  # as many as a metric, a double, holds exactly
TLS_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
LISTENER_KINDS = ("starttls", "implicit")


@dataclass(frozen=True, slots=True)
class Base:
    """What every part needs."""

    settings: Settings
    policies: PolicyHolder
    metrics: Metrics
    log: Log
    clock: SystemClock
    tasks: TaskOwner


def build_base(settings: Settings, log: Log) -> Base:
    """The parts without behaviour."""
    return Base(
        settings=settings,
        policies=PolicyHolder(settings.policy()),
        metrics=Metrics(CollectorRegistry()),
        log=log,
        clock=SystemClock(),
        tasks=TaskOwner(partial(_task_failed, log)),
    )


def _task_failed(log: Log, name: str, error: BaseException) -> None:
    log.error(Event.TASK_FAILED, task=name, stack=stack_of(error))


def build_trust(settings: Settings) -> ssl.SSLContext:
    """Whose certificates the API may show.

    Raises:
        ConfigurationError: the file named in the settings cannot be used.
    """
    try:
        return tls_context(settings.cakemail_ca_path)
    except ssl.SSLError as error:
        raise ConfigurationError(["CAKEMAIL_CA_PATH: holds no certificate in PEM form"]) from error
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise ConfigurationError([f"CAKEMAIL_CA_PATH: cannot be read: {reason}"]) from error


class ApiSide:
    """Everything between an accepted message and the API; made inside the running loop."""

    def __init__(self, base: Base) -> None:
        settings, clock, metrics = base.settings, base.clock, base.metrics
        trust = build_trust(settings)
        url = settings.cakemail_api_url
        self.client = ApiClient(
            url,
            settings.auth_url,
            metrics,
            tls=trust,
            connect_seconds=settings.cakemail_connect_timeout,
            call_seconds=settings.cakemail_read_timeout,
            clock=clock,
        )
        self.tokens = CredentialStore(self.client, clock, metrics, base.tasks)
        self.tokens.believed_seconds = base.policies.current.login_cache_seconds
        self.breaker = Breaker(clock, on_change=partial(_breaker_changed, base))
        self.submitter = AiohttpSubmitter(
            open_session(connections=settings.cakemail_max_calls, tls=trust),
            url,
            connect_seconds=settings.cakemail_connect_timeout,
        )
        slots = Slots(settings.cakemail_max_calls, clock, on_wait=metrics.api_slot_wait.observe)
        metrics.api_slots_in_use.set_function(lambda: slots.in_use)
        caller = Caller(
            self.submitter,
            slots,
            self.breaker,
            metrics,
            base.log,
            clock,
            call_seconds=settings.cakemail_read_timeout,
        )
        lookups = Lookups(self.client, clock, base.tasks)
        ledger = InProcessLedger(clock, metrics)
        self.preparer = Preparer(message_id_domain=settings.smtp_hostname)
        # Of their own: calls may outlive their sessions, and a drain waits for them.
        self.calls = TaskOwner(partial(_task_failed, base.log))
        self.delivery = Delivery(
            preparer=self.preparer,
            lookups=lookups,
            recipients=Recipients(caller, ledger, lookups, metrics, clock),
            ledger=ledger,
            slots=slots,
            breaker=self.breaker,
            metrics=metrics,
            log=base.log,
            clock=clock,
            tasks=self.calls,
            settings=DeliverySettings(
                ledger_secret=secrets.token_bytes(32),
                deadline_seconds=settings.smtp_deadline,
            ),
        )

    async def aclose(self) -> None:
        """End calls, connections and worker processes."""
        await self.calls.cancel()
        await self.preparer.aclose()
        await self.submitter.aclose()
        await self.client.aclose()


def _breaker_changed(base: Base, state: BreakerState) -> None:
    base.metrics.breaker_state["email"].set(state)
    base.log.warning(Event.BREAKER_CHANGED, service="email", state=state.name.lower())


class SmtpSide:
    """Listeners, sessions, certificate, memory."""

    def __init__(self, base: Base, api: ApiSide) -> None:
        self._base = base
        settings, clock, metrics = base.settings, base.clock, base.metrics
        self.certificates = CertificateStore(
            settings.tls_cert_path,
            settings.tls_key_path,
            clock=clock,
            on_loaded=self._certificate_loaded,
            on_refused=self._certificate_refused,
            minimum=TLS_VERSIONS[settings.tls_min_version],
        )
        self.memory = build_memory(base)
        self.lockout = Lockout(clock, base.policies.current.lockout)
        self.lag = LagProbe(clock, metrics.event_loop_lag.set)
        self.server = SmtpServer(
            build_listeners(settings),
            build_handler(base, api, self.lockout),
            settings_for=self._session_settings,
            certificates=self.certificates,
            memory=self.memory,
            metrics=metrics,
            log=base.log,
            clock=clock,
            lag=self.lag,
            limits=server_limits(base.policies.current),
            shown=settings.log_client_address.shown,
        )

    def _session_settings(self, listener: Listener, session_id: str) -> SessionSettings:
        """What a session is held to, from the policy of this moment."""
        settings, policy = self._base.settings, self._base.policies.current
        idle = policy.idle_timeout_seconds
        return SessionSettings(
            hostname=settings.smtp_hostname,
            session_id=session_id,
            tls_mode=listener.tls_mode,
            line_endings=LineEndings(settings.smtp_line_endings),
            message_size_limit_bytes=policy.message_size_limit_bytes,
            max_recipients=policy.max_recipients,
            max_messages=policy.messages_per_connection,
            mechanisms=policy.mechanisms,
            timeouts=Timeouts(
                before_login_seconds=idle,
                before_login_stressed_seconds=min(STRESSED_LOGIN_SECONDS, idle),
                next_command_seconds=idle,
            ),
        )

    def _certificate_loaded(self, loaded: ServerCertificate) -> None:
        for kind in LISTENER_KINDS:
            self._base.metrics.certificate_expiry[kind].set(loaded.not_after)
        self._base.log.info(Event.CERTIFICATE_LOADED, not_after=loaded.not_after)

    def _certificate_refused(self, reason: str) -> None:
        self._base.metrics.certificate_reload_failures.inc()
        self._base.log.error(Event.CERTIFICATE_REFUSED, reason=reason)


def server_limits(policy: Policy) -> ServerLimits:
    """How many connections the policy allows."""
    return ServerLimits(
        connections=policy.max_connections,
        connections_per_address=policy.connections_per_address,
        connections_per_login=policy.connections_per_login,
    )


def build_listeners(settings: Settings) -> list[Listener]:
    """One listener per configured port."""
    modes = [(port, TlsMode.STARTTLS) for port in settings.smtp_ports]
    modes += [(port, TlsMode.IMPLICIT) for port in settings.tls_ports]
    return [
        Listener(
            settings.smtp_host,
            port,
            tls_mode=mode,
            proxy_networks=settings.smtp_proxy_peers if settings.proxied(port) else (),
        )
        for port, mode in modes
    ]


def build_memory(base: Base) -> MemoryBudget:
    """Room for messages: of the setting, else of the cgroup, else of the machine."""
    cgroup = Cgroup()
    limit = base.settings.smtp_memory_limit or cgroup.limit_bytes()
    return MemoryBudget(
        limit or physical_bytes(),
        # The worker is no part of any reservation: its largest message stays free for it.
        resting_bytes=resident_bytes() + worker_bytes(base.settings.message_size_limit),
        in_flight=base.metrics.bytes_in_flight,
        total=base.metrics.memory_budget,
        usage=resident_bytes if base.settings.smtp_memory_limit else cgroup.usage_bytes,
    )


def build_handler(base: Base, api: ApiSide, lockout: Lockout) -> GatewayHandler:
    """The hooks."""
    shown = base.settings.log_client_address.shown
    return GatewayHandler(
        authenticator=Authenticator(
            tokens=api.tokens,
            lockout=lockout,
            metrics=base.metrics,
            log=base.log,
            clock=base.clock,
            shown=shown,
        ),
        courier=api.delivery,
        policies=base.policies,
        rate=MailRate(base.clock),
        metrics=base.metrics,
        log=base.log,
        clock=base.clock,
        shown=shown,
    )


@dataclass(frozen=True, slots=True)
class Begin:
    """What a gateway is started with.

    Attributes:
        settings: read from ``variables``.
        variables: the environment; live settings go on top of it.
        log: where events go.
        level: of that log.
    """

    settings: Settings
    variables: Mapping[str, str]
    log: Log
    level: LogLevel


class Gateway:
    """The whole program in one loop."""

    def __init__(self, begin: Begin) -> None:
        settings = begin.settings
        self._begin = begin
        self._base = build_base(settings, begin.log)
        self._api = ApiSide(self._base)
        self._smtp = SmtpSide(self._base, self._api)
        self._http = HttpServer(
            build_http(self, self._base.metrics.registry), settings.http_host, settings.http_port
        )
        self._live: LiveFile | None = None
        if settings.smtp_live_path is not None:
            self._live = LiveFile(
                settings.smtp_live_path,
                begin.variables,
                accept=self._accept,
                on_refused=self._live_refused,
            )

    def health(self) -> Health:
        """See ``http.health.HealthSource``."""
        server = self._smtp.server
        return Health(
            listening=server.listening,
            draining=server.draining,
            certificate_usable=self._smtp.certificates.usable,
            memory_left=not self._smtp.memory.exhausted,
            details={
                "version": __version__,
                "api": self._api.breaker.state.name.lower(),
                "connections": server.connections,
                "certificate_not_after": self._certificate_end(),
                "live": "" if self._live is None else self._live.digest,
            },
        )

    def _certificate_end(self) -> float | None:
        current = self._smtp.certificates.current
        return None if current is None else current.not_after

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until ``stop`` is set, then drain.

        Raises:
            ConfigurationError: a port, the certificate or a file cannot be used.
        """
        try:
            async with self._serving_http():
                await self._start()
                await stop.wait()
                await self._drain()
        finally:
            await self._smtp.server.close()
            await self._base.tasks.cancel()
            await self._api.aclose()

    @asynccontextmanager
    async def _serving_http(self) -> AsyncIterator[None]:
        """Health and metrics before the first listener opens and until the last session ends."""
        settings = self._base.settings
        try:
            self._http.bind()
        except OSError as error:
            place = f"{settings.http_host or '*'}:{settings.http_port}"
            raise ConfigurationError(
                [f"cannot listen on {place}: {os.strerror(error.errno or 0)}"]
            ) from error
        serving = self._base.tasks.spawn(self._http.serve(), name="http")
        try:
            yield
        finally:
            self._http.stop()
            await serving

    async def _start(self) -> None:
        try:
            self._smtp.certificates.load()
        except CertificateUnusable as error:
            raise ConfigurationError([f"TLS_CERT_PATH, TLS_KEY_PATH: {error}"]) from error
        self._check_memory(self._base.policies.current)
        if self._live is not None:
            live = self._live
            live.load()
            self._base.metrics.live_hash.set_function(lambda: int(live.digest[:HASH_DIGITS], 16))
            self._base.tasks.launch(self._live.watch(), name="live settings")
        ports = await self._smtp.server.start()
        self._base.tasks.launch(self._smtp.certificates.watch(), name="certificates")
        self._base.tasks.launch(self._smtp.lag.run(), name="lag")
        self._base.log.info(Event.STARTED, version=__version__, ports=ports)

    def _accept(self, settings: Settings) -> None:
        """Live settings: from now on for new sessions and transactions, all at once."""
        policy = settings.policy()
        self._check_memory(policy)
        self._base.policies.current = policy
        self._smtp.server.limits = server_limits(policy)
        self._smtp.lockout.rules = policy.lockout
        self._api.tokens.believed_seconds = policy.login_cache_seconds
        self._begin.level.change(settings.log_level)
        self._base.log.info(Event.LIVE_LOADED)

    def _live_refused(self, problems: list[str]) -> None:
        self._base.metrics.live_reload_failures.inc()
        self._base.log.error(Event.LIVE_REFUSED, problems=problems)

    def _check_memory(self, policy: Policy) -> None:
        """A message of the announced size must fit, or its client would hear 452 for ever."""
        limit = policy.message_size_limit_bytes
        room = self._smtp.memory.largest_message_bytes
        if room < limit:
            raise ConfigurationError(
                [f"MESSAGE_SIZE_LIMIT: memory has room for {room} bytes, not for {limit}"]
            )

    async def _drain(self) -> None:
        settings, clock = self._base.settings, self._base.clock
        ends = clock.monotonic() + settings.smtp_grace
        self._base.log.info(Event.STOPPING, connections=self._smtp.server.connections)
        counts = await self._smtp.server.drain(
            pre_stop_seconds=settings.smtp_pre_stop,
            grace_seconds=settings.smtp_grace,
            submission_deadline_seconds=settings.smtp_deadline,
        )
        left = max(0.0, ends - clock.monotonic())
        unsettled = await self._api.calls.settle(timeout_seconds=left)
        self._base.log.info(
            Event.STOPPED,
            sessions=counts.sessions,
            cut=counts.cut,
            aborted=counts.aborted,
            unsettled=unsettled,
        )


async def serve(begin: Begin) -> None:
    """Run a gateway until SIGTERM or SIGINT; a second signal changes nothing (smtp-server 4.8)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(begin)
    spare_collector()
    await gateway.run(stop)


def new_loop() -> asyncio.AbstractEventLoop:
    """An uvloop where that is installed: 5-15 % of CPU, half the memory (performance 2.1)."""
    try:
        import uvloop  # noqa: PLC0415  # optional
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the gateway; returns the exit status: 0 stopped well, 2 wrong settings."""
    parser = argparse.ArgumentParser(prog="python -m smtp_gateway", description="SMTP to Cakemail.")
    parser.add_argument("--check", action="store_true", help="print the settings and exit")
    parser.add_argument("--version", action="version", version=__version__)
    chosen = parser.parse_args(arguments)
    try:
        variables = environment()
        settings, notes = load(variables)
        if chosen.check:
            sys.stdout.write("\n".join([*settings.lines(), *(f"# {note}" for note in notes), ""]))
            return 0
        level = LogLevel(settings.log_level)
        log = build_log(sys.stdout.buffer, level, settings.log_format)
        bridge_standard_logging(log)
        for note in notes:
            log.info(Event.SETTINGS_NOTED, note=note)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(serve(Begin(settings, variables, log, level)))
    except ConfigurationError as error:
        sys.stderr.write("\n".join([*error.problems, ""]))
        return EXIT_CONFIGURATION
    return 0
