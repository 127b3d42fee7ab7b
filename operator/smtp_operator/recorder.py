"""Events for users: one a reason and object, counted on; few at a time.

The same again within the window adds to the series of the first instead of making another
(events.k8s.io/v1, KEP 383). An Event is a courtesy: one that cannot be written is counted and
forgotten, and never delays a fleet.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from smtp_operator.cluster.answers import TERMINATING
from smtp_operator.cluster.api import Cluster, Object
from smtp_operator.errors import NotFound, OperatorError, Refused
from smtp_operator.telemetry import Event, Log, Metrics
from smtp_operator.utils.clock import Clock, rfc3339_micro

CONTROLLER = "smtp.cakemail.com/smtp-operator"
WINDOW_SECONDS = 600.0
SERIES_SECONDS = 60.0  # a series is written at most so often
REMEMBERED = 4096
RATE = 5.0  # a second, over all objects
BURST = 25.0
NOTE_LENGTH = 1024  # the API server refuses longer ones


def _moment(clock: Clock) -> str:
    """Microseconds since 1970 in hexadecimal, of one width.

    ``kubectl describe`` shows Events of this API in the order of their names.
    """
    return f"{int(clock.utc().timestamp() * 1_000_000):014x}"


class Severity(StrEnum):
    """The API knows two."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(slots=True)
class _Series:
    name: str
    began: float
    told: float
    count: int = 1


class Recorder:
    """Writes Events about SmtpGateways.

    Args:
        cluster: where they go.
        instance: name of this process.
        metrics: what is sent, gathered, dropped.
        clock: for windows, rates and the Events' times.
        log: where failures are told.
    """

    def __init__(
        self, cluster: Cluster, instance: str, metrics: Metrics, clock: Clock, log: Log
    ) -> None:
        self._cluster = cluster
        self._instance = instance
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._series: OrderedDict[tuple[str, str], _Series] = OrderedDict()
        self._tokens, self._filled_at = BURST, clock.monotonic()

    async def record(
        self, regarding: Mapping[str, Any], severity: Severity, reason: str, note: str
    ) -> None:
        """Tell users something about an object (its ``apiVersion``, ``kind``, ``metadata``)."""
        now = self._clock.monotonic()
        key = (regarding["metadata"]["uid"], reason)
        series = self._series.get(key)
        try:
            if series is not None and now - series.began < WINDOW_SECONDS:
                await self._again(regarding["metadata"]["namespace"], series, now)
            else:
                await self._first(regarding, severity, reason, note, now)
        except NotFound:
            self._series.pop(key, None)  # it ran out, or its namespace is gone
        except OperatorError as error:
            self._fail(reason, error)

    def _fail(self, reason: str, error: OperatorError) -> None:
        self._metrics.events.labels("failed").inc()
        # In a namespace that is being deleted nothing can be made, and nobody reads it there.
        leaving = isinstance(error, Refused) and error.reason == TERMINATING
        tell = self._log.debug if leaving else self._log.info
        tell(Event.EVENT_FAILED, reason=reason, detail=error.detail)

    async def _first(
        self, regarding: Mapping[str, Any], severity: Severity, reason: str, note: str, now: float
    ) -> None:
        if not self._spend(now):
            self._metrics.events.labels("dropped").inc()
            return
        meta = regarding["metadata"]
        name = f"{meta['name']}.{_moment(self._clock)}{uuid.uuid4().hex[:4]}"
        await self._cluster.create_event(self._body(regarding, severity, reason, note, name))
        self._series[meta["uid"], reason] = _Series(name, now, now)
        self._series.move_to_end((meta["uid"], reason))
        while len(self._series) > REMEMBERED:
            self._series.popitem(last=False)
        self._metrics.events.labels("sent").inc()

    async def _again(self, namespace: str, series: _Series, now: float) -> None:
        series.count += 1
        self._metrics.events.labels("gathered").inc()
        if now - series.told < SERIES_SECONDS or not self._spend(now):
            return
        series.told = now
        body = {
            "series": {
                "count": series.count,
                "lastObservedTime": rfc3339_micro(self._clock.utc()),
            }
        }
        await self._cluster.patch_event(namespace, series.name, body)

    def _body(
        self, regarding: Mapping[str, Any], severity: Severity, reason: str, note: str, name: str
    ) -> Object:
        meta = regarding["metadata"]
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"namespace": meta["namespace"], "name": name},
            "eventTime": rfc3339_micro(self._clock.utc()),
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": reason,
            "type": str(severity),
            "note": note[:NOTE_LENGTH],
            "regarding": {
                "apiVersion": regarding["apiVersion"],
                "kind": regarding["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
        }

    def _spend(self, now: float) -> bool:
        self._tokens = min(BURST, self._tokens + (now - self._filled_at) * RATE)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
