"""How late the event loop runs: the one figure that says "too busy" before clients do.

A probe asks to be woken at fixed moments and notes how much later it was. While one callback holds
the loop the probe is not woken at all, so the delay that is still running counts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from smtp_gateway.utils.clock import Clock

INTERVAL_SECONDS = 0.1
HIGH_SECONDS = 0.25
SUSTAINED_SECONDS = 2.0
REPORT_SECONDS = 1.0


class LagProbe:
    """Measures the loop's delay.

    Args:
        clock: what delays are measured with.
        on_lag: called about once a second with the worst delay since the last call, in seconds.
        interval_seconds: how often the loop is asked.
    """

    def __init__(
        self,
        clock: Clock,
        on_lag: Callable[[float], None],
        *,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._clock = clock
        self._on_lag = on_lag
        self._interval = interval_seconds
        self._due = clock.monotonic() + interval_seconds
        self._high_since: float | None = None
        self._worst = 0.0
        self._report_at = self._due

    @property
    def overloaded(self) -> bool:
        """Whether the loop was over 250 ms late at every look for 2 s (smtp-server 4.7)."""
        now = self._clock.monotonic()
        since = self._high_since
        if since is None and now - self._due > HIGH_SECONDS:
            since = self._due
        return since is not None and now - since >= SUSTAINED_SECONDS

    def wake(self) -> None:
        """Note the delay of a wake-up that was due, and set the next one."""
        now = self._clock.monotonic()
        late = max(0.0, now - self._due)
        self._worst = max(self._worst, late)
        if late <= HIGH_SECONDS:
            self._high_since = None
        elif self._high_since is None:
            self._high_since = self._due
        if now >= self._report_at:
            self._on_lag(self._worst)
            self._worst = 0.0
            self._report_at = now + REPORT_SECONDS
        self._due = now + self._interval

    async def run(self) -> None:
        """Measure for ever; the owner cancels it."""
        self._due = self._clock.monotonic() + self._interval
        while True:
            await asyncio.sleep(self._interval)
            self.wake()
