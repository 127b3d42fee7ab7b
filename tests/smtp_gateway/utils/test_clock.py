"""The machine's clocks behind the interface that everything else is given."""

from __future__ import annotations

import time

from smtp_gateway.utils.clock import SystemClock


def test_monotonic_is_the_machines_and_never_goes_back() -> None:
    """It lies between two readings of the standard library's clock."""
    before = time.monotonic()
    read = SystemClock().monotonic()

    assert before <= read <= time.monotonic()


def test_wall_is_seconds_since_1970() -> None:
    """It lies between two readings of the standard library's wall clock."""
    before = time.time()
    read = SystemClock().wall()

    assert before <= read <= time.time()
