"""When the breaker opens, lets a probe through and closes: with a given clock."""

from __future__ import annotations

import pytest

from smtp_gateway.api.breaker import Breaker, BreakerState
from tests.support.fakes import GivenClock


class Bench:
    """A breaker, its clock and the states it told."""

    def __init__(self) -> None:
        self.clock = GivenClock()
        self.states: list[BreakerState] = []
        self.breaker = Breaker(self.clock, on_change=self.states.append)

    def record(self, *, failures: int = 0, successes: int = 0) -> None:
        """So many calls end now."""
        for _ in range(successes):
            self.breaker.record(failed=False, began_monotonic=self.clock.now)
        for _ in range(failures):
            self.breaker.record(failed=True, began_monotonic=self.clock.now)

    def open(self) -> None:
        """Twenty failures."""
        self.record(failures=20)


@pytest.fixture
def bench() -> Bench:
    """A closed breaker."""
    return Bench()


def test_nineteen_failures_do_not_open_it_and_the_twentieth_does(bench: Bench) -> None:
    """At least 20 calls are needed, however bad they are."""
    bench.record(failures=19)
    assert bench.breaker.admits()
    bench.record(failures=1)
    assert not bench.breaker.admits()
    assert bench.states == [BreakerState.OPEN]


def test_half_of_the_calls_must_fail(bench: Bench) -> None:
    """Below 50 % it stays closed, at 50 % it opens."""
    bench.record(successes=21)
    bench.record(failures=20)
    assert bench.breaker.admits()
    bench.record(failures=1)
    assert not bench.breaker.admits()


def test_failures_older_than_ten_seconds_do_not_count(bench: Bench) -> None:
    """The window moves."""
    bench.record(failures=19)
    bench.clock.advance(10)
    bench.record(failures=19)
    assert bench.breaker.admits()


def test_failures_within_ten_seconds_add_up(bench: Bench) -> None:
    """Two failures a second are enough after ten seconds."""
    for _ in range(10):
        bench.record(failures=2)
        bench.clock.advance(0.99)
    assert not bench.breaker.admits()


def test_one_probe_after_five_seconds(bench: Bench) -> None:
    """The first transaction after the pause is let through, the next is not."""
    bench.open()
    bench.clock.advance(4.9)
    assert not bench.breaker.admits()
    bench.clock.advance(0.1)
    assert bench.breaker.admits()
    assert not bench.breaker.admits()
    assert bench.states == [BreakerState.OPEN, BreakerState.HALF_OPEN]


def test_good_probe_closes_it(bench: Bench) -> None:
    """And what failed before is forgotten."""
    bench.open()
    bench.clock.advance(5)
    bench.breaker.admits()
    bench.record(successes=1)
    bench.record(failures=19)
    assert bench.breaker.admits()
    assert bench.breaker.state is BreakerState.CLOSED


def test_bad_probes_double_the_pause_up_to_a_minute(bench: Bench) -> None:
    """5, 10, 20, 40, 60, 60 seconds; a good probe begins at 5 again."""
    bench.open()
    for pause in (5, 10, 20, 40, 60, 60):
        bench.clock.advance(pause - 0.1)
        assert not bench.breaker.admits()
        bench.clock.advance(0.1)
        assert bench.breaker.admits()
        bench.record(failures=1)
    bench.clock.advance(60)
    bench.breaker.admits()
    bench.record(successes=1)
    bench.open()
    bench.clock.advance(5)
    assert bench.breaker.admits()


def test_probe_that_never_calls_is_followed_by_another(bench: Bench) -> None:
    """A client that goes away after MAIL must not keep the breaker shut."""
    bench.open()
    bench.clock.advance(5)
    assert bench.breaker.admits()
    bench.clock.advance(5)
    assert bench.breaker.admits()


def test_late_results_of_earlier_calls_change_nothing(bench: Bench) -> None:
    """A call that began before the breaker opened says nothing about now."""
    began = bench.clock.now
    bench.open()
    bench.breaker.record(failed=False, began_monotonic=began)
    assert bench.states == [BreakerState.OPEN]
    bench.clock.advance(5)
    bench.breaker.admits()
    bench.breaker.record(failed=True, began_monotonic=began)
    assert bench.states == [BreakerState.OPEN, BreakerState.HALF_OPEN]


def test_admitted_transaction_may_call_unless_it_is_open(bench: Bench) -> None:
    """Closed and half open: yes. Open: not before the pause is over."""
    assert bench.breaker.permits_call()
    bench.open()
    assert not bench.breaker.permits_call()
    bench.clock.advance(5)
    assert bench.breaker.permits_call()
    assert bench.breaker.permits_call()
    assert bench.breaker.state is BreakerState.HALF_OPEN
