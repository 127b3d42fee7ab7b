"""Every metric and every event name, in one place.

Label values come from closed lists (smtp-server 6.2): never an address, a user, an account or a
client. Children are made once, at start, so each series begins at zero and the hot path looks
nothing up: ``metrics.emails_received["accepted"].inc()``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, MutableMapping
from enum import StrEnum
from typing import Any, BinaryIO, Generic, Literal, Protocol, TypeVar, cast

import orjson
import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

from smtp_gateway.utils.stack import stack_of
from smtp_gateway.utils.streams import SteadyStream

M = TypeVar("M", Counter, Gauge, Histogram)

FAST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SLOW_SECONDS = (*FAST_SECONDS, 30, 60)
SESSION_SECONDS = (0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
SIZES_BYTES = (1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 26_214_400)


class Family(Generic[M]):
    """A metric with one label whose values are a closed list."""

    def __init__(self, metric: M, label: str, values: Iterable[str]) -> None:
        self._children: dict[str, M] = {v: metric.labels(**{label: v}) for v in values}

    def __getitem__(self, value: str) -> M:
        """The kept child; an unknown value is a defect and raises KeyError."""
        return self._children[value]


class Family2(Generic[M]):
    """A metric with two labels, each with a closed list."""

    def __init__(
        self, metric: M, labels: tuple[str, str], first: Iterable[str], second: Iterable[str]
    ) -> None:
        seconds = tuple(second)
        self._children: dict[tuple[str, str], M] = {
            (a, b): metric.labels(**{labels[0]: a, labels[1]: b}) for a in first for b in seconds
        }

    def __getitem__(self, values: tuple[str, str]) -> M:
        """The kept child; an unknown pair is a defect and raises KeyError."""
        return self._children[values]


COMMANDS = (
    "AUTH", "DATA", "EHLO", "EXPN", "HELO", "HELP", "MAIL", "NOOP", "QUIT", "RCPT", "RSET",
    "STARTTLS", "VRFY", "other",
)  # fmt: skip


class Metrics:
    """The gateway's metrics (names: smtp-server 6.1), registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Of no use to a dashboard, and a second series for each counter.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = registry
        self._sessions()
        self._messages()
        self._upstream()
        self._health()

    def _sessions(self) -> None:
        r = self.registry
        self.connections = Family(
            Counter("smtp_connections_total", "Connections.", ["status"], registry=r),
            "status", ("success", "failed"),
        )  # fmt: skip
        self.active_connections = Gauge(
            "smtp_active_connections", "Connections open now.", registry=r
        )
        self.connection_duration = Histogram(
            "smtp_connection_duration_seconds", "Life of a connection.",
            buckets=SESSION_SECONDS, registry=r,
        )  # fmt: skip
        self.auth_failures = Family(
            Counter("smtp_auth_failures_total", "Refused logins.", ["reason"], registry=r),
            "reason",
            ("invalid_credentials", "timeout", "api_error", "locked_out", "malformed",
             "tls_required"),
        )  # fmt: skip
        self.commands = Family2(
            Counter("smtp_commands_total", "Commands.", ["command", "status"], registry=r),
            ("command", "status"), COMMANDS, ("ok", "temporary", "permanent"),
        )  # fmt: skip
        self.tls_handshakes = Family2(
            Counter("smtp_tls_handshakes_total", "TLS handshakes that ended well.",
                    ["version", "resumed"], registry=r),
            ("version", "resumed"), ("TLSv1.2", "TLSv1.3", "other"), ("true", "false"),
        )  # fmt: skip
        self.line_ending_refusals = Family(
            Counter("smtp_line_ending_refusals_total", "Refused line ends.", ["kind"], registry=r),
            "kind", ("bare_cr", "bare_lf", "dot_line", "nul", "command"),
        )  # fmt: skip

    def _messages(self) -> None:
        r = self.registry
        self.emails_received = Family(
            Counter("smtp_emails_received_total", "Messages, at the reply to the final dot.",
                    ["status"], registry=r),
            "status", ("accepted", "rejected", "deferred", "aborted"),
        )  # fmt: skip
        self.emails_forwarded = Family(
            Counter("smtp_emails_forwarded_total", "Recipients, at the API's answer.",
                    ["status"], registry=r),
            "status", ("success", "failed", "unknown"),
        )  # fmt: skip
        self.processing_duration = Family(
            Histogram("smtp_processing_duration_seconds", "Time per stage; total: dot to reply.",
                      ["stage"], buckets=SLOW_SECONDS, registry=r),
            "stage", ("auth", "receive", "parse", "transform", "submit", "total"),
        )  # fmt: skip
        self.message_size = Histogram(
            "smtp_message_size_bytes", "Size of messages as received.",
            buckets=SIZES_BYTES, registry=r,
        )  # fmt: skip
        self.admission_refusals = Family(
            Counter("smtp_admission_refusals_total", "Refused before taking anything.",
                    ["reason"], registry=r),
            "reason",
            ("connections", "memory", "slots", "breaker", "throttled", "rate", "draining", "lag"),
        )  # fmt: skip
        self.bytes_in_flight = Gauge(
            "smtp_bytes_in_flight", "Bytes reserved for messages now.", registry=r
        )
        self.memory_budget = Gauge(
            "smtp_memory_budget_bytes", "Bytes messages may reserve.", registry=r
        )
        self.transactions_in_flight = Gauge(
            "smtp_transactions_in_flight", "Messages between the final dot and its reply.",
            registry=r,
        )  # fmt: skip
        self.headers_noted = Counter(
            "smtp_headers_noted_total", "Control headers that had no effect.", registry=r
        )

    def _upstream(self) -> None:
        r = self.registry
        self.api_errors = Family(
            Counter("smtp_api_errors_total", "Answers of the API that are no success.",
                    ["error_type"], registry=r),
            "error_type",
            ("validation", "auth", "rate_limit", "server_error", "network_error", "timeout",
             "unreadable"),
        )  # fmt: skip
        self.api_latency = Family2(
            Histogram("smtp_api_latency_seconds", "Time of one API call.",
                      ["endpoint", "status"], buckets=SLOW_SECONDS, registry=r),
            ("endpoint", "status"), ("auth", "email", "lookup"), ("success", "error"),
        )  # fmt: skip
        self.api_key_cache_size = Gauge(
            "smtp_api_key_cache_size", "Entries of the credential cache.", registry=r
        )
        self.api_slots_in_use = Gauge(
            "smtp_api_slots_in_use", "Submissions to the API in flight.", registry=r
        )
        self.api_slot_wait = Histogram(
            "smtp_api_slot_wait_seconds", "Wait for a place among the calls in flight.",
            buckets=FAST_SECONDS, registry=r,
        )  # fmt: skip
        self.breaker_state = Family(
            Gauge("smtp_circuit_breaker_state", "0 closed, 1 half open, 2 open.",
                  ["service"], registry=r),
            "service", ("email",),
        )  # fmt: skip
        self.ledger_entries = Family(
            Gauge("smtp_ledger_entries", "Entries of the submission ledger.",
                  ["state"], registry=r),
            "state", ("in_flight", "accepted", "refused", "unknown"),
        )  # fmt: skip
        self.ledger_hits = Family(
            Counter("smtp_ledger_hits_total", "Repeats recognised by the ledger.",
                    ["kind"], registry=r),
            "kind", ("in_flight", "accepted", "refused", "unknown"),
        )  # fmt: skip

    def _health(self) -> None:
        r = self.registry
        self.event_loop_lag = Gauge(
            "smtp_event_loop_lag_seconds", "Worst delay of the loop lately.", registry=r
        )
        self.certificate_expiry = Family(
            Gauge("smtp_certificate_expiry_timestamp_seconds", "End of the certificate's life.",
                  ["listener"], registry=r),
            "listener", ("starttls", "implicit"),
        )  # fmt: skip
        self.certificate_reload_failures = Counter(
            "smtp_certificate_reload_failures_total", "New pairs that were unusable.", registry=r
        )
        self.live_reload_failures = Counter(
            "smtp_live_reload_failures_total", "New live settings that were unusable.", registry=r
        )
        self.live_hash = Gauge(
            "smtp_live_hash", "First 48 bits of the SHA-256 of the live file in use.", registry=r
        )
        self.draining = Gauge("smtp_draining", "1 while shutting down.", registry=r)


class Event(StrEnum):
    """Names of log events: constant text; what varies stands in fields."""

    STARTED = "gateway started"
    STOPPING = "gateway stopping"
    STOPPED = "gateway stopped"
    SESSION = "session"
    MESSAGE = "message"
    RECIPIENT_REFUSED = "recipient refused"
    LOGIN_REFUSED = "login refused"
    COMMAND_REFUSED = "command refused"
    UPSTREAM_ALERT = "upstream alert"
    TASK_FAILED = "task failed"
    HOOK_FAILED = "handler failed"
    CERTIFICATE_LOADED = "certificate loaded"
    CERTIFICATE_REFUSED = "certificate refused"
    BREAKER_CHANGED = "breaker changed"
    LIVE_LOADED = "live settings loaded"
    LIVE_REFUSED = "live settings refused"
    SETTINGS_NOTED = "settings noted"
    LATE_OUTCOME = "late outcome"
    LIBRARY = "library message"
    LOG_INTERRUPTED = "log interrupted"


class Log(Protocol):
    """The part of a bound structlog logger that the gateway uses."""

    def bind(self, **fields: Any) -> Log: ...  # noqa: D102  # structlog's
    def debug(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's
    def info(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's
    def warning(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's
    def error(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's


LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}


class LogLevel:
    """The least level that is written; may change while the program runs."""

    def __init__(self, level: str) -> None:
        self.change(level)

    def change(self, level: str) -> None:
        """From now on; one of ``LEVELS``."""
        self._least = LEVELS[level]

    def __call__(
        self, _logger: object, name: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Drop a line below the level; structlog's form of a processor."""
        if LEVELS[name.upper()] < self._least:
            raise structlog.DropEvent
        return fields


_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


Form = Literal["json", "console"]


def build_log(stream: BinaryIO, level: LogLevel, form: Form = "json") -> Log:
    """Lines straight to ``stream``: JSON through orjson costs 7 us each, 20 by the stdlib bridge.

    A stream that fails is never an error of whoever logs.
    """
    render = RENDERERS[form]
    steady = SteadyStream(stream, lambda lines: _interrupted(lines, render))
    log: Log = structlog.wrap_logger(
        structlog.BytesLogger(cast("BinaryIO", steady)),
        processors=[
            level,
            structlog.processors.add_log_level,
            _STAMP,
            lambda _logger, _name, fields: render(fields),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["DEBUG"]),
    )
    return log


def _interrupted(lines: int, render: Renderer) -> bytes:
    """The line that says that others are missing, or came late."""
    fields = {"lines": lines, "event": Event.LOG_INTERRUPTED, "level": "warning"}
    return render(_STAMP(None, "warning", fields)) + b"\n"


def _json(fields: MutableMapping[str, Any]) -> bytes:
    return orjson.dumps(fields, default=repr)


# What clients sent is quoted always: a terminal must not obey it.
_FOR_PEOPLE = structlog.dev.ConsoleRenderer(colors=False, repr_native_str=True)


def _console(fields: MutableMapping[str, Any]) -> bytes:
    return _FOR_PEOPLE(None, "", fields).encode()


Renderer = Callable[[MutableMapping[str, Any]], bytes]
RENDERERS: dict[Form, Renderer] = {"json": _json, "console": _console}


class LogBridge(logging.Handler):
    """What libraries say through the standard library, as an event of ours.

    The sentence's template only, never its arguments, and of an exception the class and stack: a
    library knows nothing of what must stay out of a log.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler``."""
        say = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        error = record.exc_info[1] if record.exc_info else None
        say(
            Event.LIBRARY,
            logger=record.name,
            template=str(record.msg)[:200],
            stack=stack_of(error) if error else [],
        )


def bridge_standard_logging(log: Log) -> None:
    """Send warnings and errors of all libraries to ``log``."""
    logging.basicConfig(handlers=[LogBridge(log)], level=logging.WARNING, force=True)
