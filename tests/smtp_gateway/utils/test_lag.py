"""The loop's delay, in given time."""

from __future__ import annotations

import asyncio

import pytest

from smtp_gateway.utils.clock import SystemClock
from smtp_gateway.utils.lag import LagProbe
from tests.support.fakes import GivenClock


@pytest.fixture
def clock() -> GivenClock:
    """Time that moves when told."""
    return GivenClock(100.0)


def woken(clock: GivenClock, probe: LagProbe, late_seconds: float) -> None:
    """One wake-up that comes so much too late."""
    clock.advance(0.1 + late_seconds)
    probe.wake()


def test_is_overloaded_after_two_seconds_of_delay(clock: GivenClock) -> None:
    """Over 250 ms at every look for 2 s."""
    probe = LagProbe(clock, lambda _: None)
    for _ in range(5):
        woken(clock, probe, 0.3)
    assert not probe.overloaded
    woken(clock, probe, 0.3)
    assert probe.overloaded


def test_one_good_look_ends_it(clock: GivenClock) -> None:
    """A loop that turns in time is not overloaded."""
    probe = LagProbe(clock, lambda _: None)
    for _ in range(10):
        woken(clock, probe, 0.3)
    woken(clock, probe, 0.0)
    assert not probe.overloaded


def test_a_short_stall_refuses_nobody(clock: GivenClock) -> None:
    """One second is a stall, no overload."""
    probe = LagProbe(clock, lambda _: None)
    woken(clock, probe, 1.0)
    assert not probe.overloaded


def test_a_stall_that_still_runs_counts(clock: GivenClock) -> None:
    """The probe is not woken while the loop is held, but whoever asks then is told."""
    probe = LagProbe(clock, lambda _: None)
    clock.advance(2.2)
    assert probe.overloaded


def test_tells_the_worst_delay_about_once_a_second(clock: GivenClock) -> None:
    """The gauge must not hide a peak between two looks."""
    told: list[float] = []
    probe = LagProbe(clock, told.append)
    for late in (0.0, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        woken(clock, probe, late)
    assert [round(value, 3) for value in told] == [0.0, 0.2]


async def test_measures_the_running_loop() -> None:
    """Under a real loop it reports by itself."""
    told = asyncio.Event()
    probe = LagProbe(SystemClock(), lambda _: told.set(), interval_seconds=0.01)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(probe.run())
        await told.wait()
        running.cancel()
