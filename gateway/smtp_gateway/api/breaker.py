"""The breaker of one API host (smtp-server 4.6): refuse at MAIL what would fail after the upload.

Pure: the clock is given. Fed by connect failures, time-outs and 5xx; a refusal of a message or a
429 is an answer of a living host. Open, it lets one transaction through after 5 s, doubling to 60.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from smtp_gateway.utils.clock import Clock


class BreakerState(IntEnum):
    """Values are those of ``smtp_circuit_breaker_state``."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When it opens and for how long (smtp-server 4.6)."""

    window_seconds: float = 10.0
    minimum_calls: int = 20
    failure_share: float = 0.5
    first_pause_seconds: float = 5.0
    longest_pause_seconds: float = 60.0


@dataclass(slots=True)
class _Second:
    """Calls that ended within one second of the window."""

    start: float
    calls: int = 0
    failures: int = 0


class Breaker:
    """One host's breaker.

    Args:
        clock: monotonic time.
        settings: thresholds.
        on_change: told each new state, for the metric and the log; must not raise.
    """

    def __init__(
        self,
        clock: Clock,
        settings: BreakerSettings | None = None,
        *,
        on_change: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._settings = settings or BreakerSettings()
        self._on_change = on_change
        self._state = BreakerState.CLOSED
        self._seconds: deque[_Second] = deque()
        self._pause_seconds = self._settings.first_pause_seconds
        self._quiet_until = 0.0
        self._half_open_since = 0.0

    @property
    def state(self) -> BreakerState:
        """The state as last decided."""
        return self._state

    def admits(self) -> bool:
        """Whether one more transaction may begin; lets a single probe through when it is time.

        A probe that never reaches the API (the client went away) is followed by the next one after
        the same pause, so the breaker cannot stay shut for lack of an answer.
        """
        if self._state is BreakerState.CLOSED:
            return True
        now = self._clock.monotonic()
        if now < self._quiet_until:
            return False
        self._quiet_until = now + self._pause_seconds
        if self._state is BreakerState.OPEN:
            self._half_open_since = now
        self._turn(BreakerState.HALF_OPEN)
        return True

    def permits_call(self) -> bool:
        """Whether a transaction that was admitted before may call now."""
        if self._state is not BreakerState.OPEN:
            return True
        return self._clock.monotonic() >= self._quiet_until and self.admits()

    def record(self, *, failed: bool, began_monotonic: float) -> None:
        """One call has ended; ``failed`` means connect failure, time-out or 5xx."""
        if self._state is BreakerState.HALF_OPEN:
            if began_monotonic >= self._half_open_since:
                self._after_probe(failed=failed)
        elif self._state is BreakerState.CLOSED:
            self._count(failed=failed)
        # A call that began before the breaker opened says nothing about now.

    def _after_probe(self, *, failed: bool) -> None:
        if failed:
            longest = self._settings.longest_pause_seconds
            self._open(min(self._pause_seconds * 2, longest))
            return
        self._pause_seconds = self._settings.first_pause_seconds
        self._seconds.clear()
        self._turn(BreakerState.CLOSED)

    def _count(self, *, failed: bool) -> None:
        now = self._clock.monotonic()
        if not self._seconds or now - self._seconds[-1].start >= 1.0:
            self._seconds.append(_Second(now))
            self._forget_before(now - self._settings.window_seconds)
        second = self._seconds[-1]
        second.calls += 1
        if failed:
            second.failures += 1
            self._judge(now)

    def _judge(self, now: float) -> None:
        self._forget_before(now - self._settings.window_seconds)
        calls = sum(second.calls for second in self._seconds)
        failures = sum(second.failures for second in self._seconds)
        if calls < self._settings.minimum_calls:
            return
        if failures >= calls * self._settings.failure_share:
            self._open(self._settings.first_pause_seconds)

    def _forget_before(self, moment: float) -> None:
        while self._seconds and self._seconds[0].start <= moment:
            self._seconds.popleft()

    def _open(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._quiet_until = self._clock.monotonic() + pause_seconds
        self._seconds.clear()
        self._turn(BreakerState.OPEN)

    def _turn(self, state: BreakerState) -> None:
        if state is not self._state:
            self._state = state
            self._on_change(state)
