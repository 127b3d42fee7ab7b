"""Time as a value that is handed in, so that no test waits and no decision reads a clock itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Two times: one to measure with, one to tell people."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        ...

    def utc(self) -> datetime:
        """The date and time of day."""
        ...


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def utc(self) -> datetime:
        """See ``Clock``."""
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """As Kubernetes writes a time: whole seconds, UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """As Kubernetes writes a MicroTime, in Leases and Events."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
