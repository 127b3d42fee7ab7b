"""Every metric and every event name, in one place; one form for all log lines.

Label values come from closed lists. A gateway's name is a label only on the few series that alerts
need (``smtp_operator_paused``, ``_certificate_not_after_seconds``, ``_rollout_state``); they are
dropped when the gateway is gone. kopf and the client library log through the standard library, so
structlog goes through it too, and one formatter writes both.
"""

from __future__ import annotations

import logging
import sys
from enum import StrEnum
from typing import Any, Protocol, TextIO

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
RESULTS = ("done", "after", "gone", "transient", "terminal", "failed")
APPLY_RESULTS = ("applied", "conflict", "refused", "unavailable", "deleted", "amended")
GATEWAY_STATES = ("ready", "not_ready", "paused")
ROLLOUT_STATES = ("Idle", "Waiting", "Progressing", "Held", "Failed")
HALTS = ("Held", "Unseen", "Failed", "Ill")  # of ``rollout.Halt``
PRIORITIES = ("edit", "new", "routine")


class QueueMetrics(Protocol):
    """What the queue tells of itself."""

    def depth(self, priority: str, keys: int) -> None:
        """So many keys wait."""
        ...

    def waited(self, priority: str, seconds: float) -> None:
        """A key was handed out after so long."""
        ...


class Metrics:
    """The operator's metrics, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # Of no use to a dashboard, and a second series for each counter.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's own gap
        self.registry = registry
        self._core()
        self._cluster()
        self._gateways()

    def _core(self) -> None:
        r = self.registry
        self.reconciles = Counter(
            "smtp_operator_reconcile_total", "Looks at one gateway.", ["result"], registry=r
        )
        for result in RESULTS:
            self.reconciles.labels(result)
        self.reconcile_seconds = Histogram(
            "smtp_operator_reconcile_seconds", "Time of one look.", buckets=SECONDS, registry=r
        )
        self.queue_depth = Gauge(
            "smtp_operator_queue_depth", "Keys that wait now.", ["priority"], registry=r
        )
        self.queue_wait = Histogram(
            "smtp_operator_queue_wait_seconds", "From due to taken.", ["priority"],
            buckets=SECONDS, registry=r,
        )  # fmt: skip
        for priority in PRIORITIES:
            self.queue_depth.labels(priority)
            self.queue_wait.labels(priority)
        self.key_oldest = Gauge(
            "smtp_operator_key_oldest_seconds",
            "Since the key was due that has had no good look for longest.",
            registry=r,
        )
        self.leader = Gauge("smtp_operator_leader", "1 while this process leads.", registry=r)
        self.loop_lag = Gauge(
            "smtp_operator_loop_lag_seconds", "Worst delay of the loop lately.", registry=r
        )
        self.build_info = Gauge(
            "smtp_operator_build_info", "Always 1.", ["version", "gateway_image"], registry=r
        )

    def _cluster(self) -> None:
        r = self.registry
        self.applies = Counter(
            "smtp_operator_apply_total", "Writes to children and status.", ["kind", "result"],
            registry=r,
        )  # fmt: skip
        self.apply_seconds = Histogram(
            "smtp_operator_apply_seconds", "Time of one write.", ["kind"],
            buckets=SECONDS, registry=r,
        )  # fmt: skip
        self.watch_age = Gauge(
            "smtp_operator_watch_age_seconds", "Since the watch last heard anything.", ["kind"],
            registry=r,
        )  # fmt: skip
        self.events = Counter(
            "smtp_operator_events_total", "Events for users.", ["result"], registry=r
        )
        for result in ("sent", "gathered", "dropped", "failed"):
            self.events.labels(result)

    def _gateways(self) -> None:
        r = self.registry
        self.gateways = Gauge("smtp_operator_gateways", "Gateways by state.", ["state"], registry=r)
        for state in GATEWAY_STATES:
            self.gateways.labels(state)
        self.paused = Gauge(
            "smtp_operator_paused", "1 for a paused gateway.", ["namespace", "name"], registry=r
        )
        self.certificate_not_after = Gauge(
            "smtp_operator_certificate_not_after_seconds", "End of the certificate, Unix time.",
            ["namespace", "name"], registry=r,
        )  # fmt: skip
        self.rollout_state = Gauge(
            "smtp_operator_rollout_state", "1 for the state that a rollout is in.",
            ["namespace", "name", "state"], registry=r,
        )  # fmt: skip
        self.rollout_halted = Gauge(
            "smtp_operator_rollout_halted", "1 for what keeps operator upgrades from going on.",
            ["reason"], registry=r,
        )  # fmt: skip
        for reason in HALTS:
            self.rollout_halted.labels(reason)

    def depth(self, priority: str, keys: int) -> None:
        """See ``QueueMetrics``."""
        self.queue_depth.labels(priority).set(keys)

    def waited(self, priority: str, seconds: float) -> None:
        """See ``QueueMetrics``."""
        self.queue_wait.labels(priority).observe(max(0.0, seconds))

    def certificate_ends(self, namespace: str, name: str, seconds: float | None) -> None:
        """At which Unix time; None drops the series of a certificate that is gone."""
        if seconds is None:
            _drop(self.certificate_not_after, namespace, name)
        else:
            self.certificate_not_after.labels(namespace, name).set(seconds)

    def forget(self, namespace: str, name: str) -> None:
        """Drop the series of a gateway that is gone."""
        for family in (self.paused, self.certificate_not_after):
            _drop(family, namespace, name)
        for state in ROLLOUT_STATES:
            _drop(self.rollout_state, namespace, name, state)


def _drop(family: Gauge, *labels: str) -> None:
    """Without a word when it is not there, as after a start."""
    if labels in family._metrics:  # noqa: SLF001  # the library logs a warning for an absent one
        family.remove(*labels)


class Event(StrEnum):
    """Names of log events: constant text; what varies stands in fields."""

    STARTED = "operator started"
    STOPPING = "operator stopping"
    STOPPED = "operator stopped"
    LEADING = "leading"
    LEADERSHIP_LOST = "leadership lost"
    LEASE_REFUSED = "lease not renewed"
    RECONCILED = "reconciled"
    RECONCILE_DELAYED = "reconcile delayed"
    RECONCILE_FAILED = "reconcile failed"
    GATEWAY_GONE = "gateway gone"
    APPLIED = "child applied"
    DELETED = "child deleted"
    STATUS_WRITTEN = "status written"
    HANDED_OVER = "replicas handed over"
    DRIFT = "drift repaired"
    CLUSTER_SILENT = "cluster does not answer"
    STRANGER = "name taken by a stranger"
    WATCH_ENDED = "watch ended"
    FEED_ENDED = "kopf begun anew"
    LISTED_ANEW = "watch listed anew"
    NOT_LISTED = "optional kinds not listed"
    EVENT_FAILED = "event not recorded"
    TASK_FAILED = "task failed"
    SETTINGS_NOTED = "settings noted"


class Log(Protocol):
    """The part of a bound structlog logger that the operator uses."""

    def bind(self, **fields: Any) -> Log: ...  # noqa: D102  # structlog's own
    def debug(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's own
    def info(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's own
    def warning(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's own
    def error(self, event: str, **fields: Any) -> None: ...  # noqa: D102  # structlog's own


LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}

_SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def build_log(level: str, form: str = "json", stream: TextIO = sys.stderr) -> Log:
    """Set up logging for the whole process; returns the operator's own logger.

    Args:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
        form: ``json`` or ``console``.
        stream: where lines go.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(form))
    logging.basicConfig(handlers=[handler], level=LEVELS[level], force=True)
    # One line for each request would name Secrets at DEBUG; kopf tells each event it hears.
    for chatty in ("aiohttp.access", "kubernetes", "urllib3", "kopf.objects"):
        logging.getLogger(chatty).setLevel(max(LEVELS[level], logging.WARNING))
    logger = logging.getLogger("smtp_operator")
    log: Log = structlog.wrap_logger(
        logger,
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return log


def _formatter(form: str) -> logging.Formatter:
    renderer: Any = structlog.processors.JSONRenderer()
    if form == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=False)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            renderer,
        ],
    )
