"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from smtp_operator.utils.clock import SystemClock, rfc3339, rfc3339_micro


def test_times_are_utc_with_a_z() -> None:
    """Whole seconds in objects, microseconds in Leases and Events."""
    moment = datetime(2026, 11, 24, 9, 0, 1, 250_000, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-11-24T08:00:01Z"
    assert rfc3339_micro(moment) == "2026-11-24T08:00:01.250000Z"


def test_the_machines_clocks_go_forward() -> None:
    """One to measure with, one to tell people."""
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.utc().tzinfo is UTC
