"""The state of a run: rate limit and connections with a given clock."""

from __future__ import annotations

from cakemail_sandbox.world import ConnectionMeter, RateLimiter
from tests.cakemail_sandbox.test_logins import Clock


def test_a_rate_limit_is_exact() -> None:
    """Two a second with a burst of three: five within the first second, whatever the pattern."""
    clock = Clock()
    limiter = RateLimiter(clock)
    passed = 0
    for _ in range(100):
        passed += limiter.take(per_second=2, burst=3) == 0
        clock.seconds += 0.01

    assert passed == 4  # the burst, and the one that grew back in half a second

    clock.seconds += 0.01
    assert limiter.take(per_second=2, burst=3) == 0


def test_a_rate_limit_says_when_to_come_back() -> None:
    """In whole seconds, at least one."""
    clock = Clock()
    limiter = RateLimiter(clock)

    answers = [limiter.take(per_second=0.25, burst=1) for _ in range(2)]
    clock.seconds += 3.9
    nearly = limiter.take(per_second=0.25, burst=1)

    assert (answers, nearly) == ([0, 4], 1)


def test_connections_are_counted_when_they_carry_a_request() -> None:
    """One that was only opened counts for nothing."""
    meter = ConnectionMeter()
    first, second, idle = (meter.opened() for _ in range(3))
    meter.used(first)
    meter.used(second)
    meter.used(second)
    meter.closed(first)
    meter.closed(idle)

    assert (len(meter.open), meter.most, len(meter.carried)) == (1, 2, 2)


def test_connections_that_stay_open_count_again_in_the_next_run() -> None:
    """When they carry something there."""
    meter = ConnectionMeter()
    kept = meter.opened()
    meter.used(kept)
    meter.begin()
    before = (meter.most, len(meter.carried))
    meter.used(kept)

    assert (before, (meter.most, len(meter.carried))) == ((0, 0), (1, 1))
