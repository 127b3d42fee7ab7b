"""What is remembered and for how long, and calls that many wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from smtp_gateway.api.caches import Flights, Remembered
from smtp_gateway.errors import CredentialsInvalid, Unavailable
from smtp_gateway.utils.tasks import TaskOwner
from tests.support.fakes import GivenClock

Failures = list[tuple[str, str]]


def test_a_value_ends_exactly_at_its_life() -> None:
    """There until then, gone from then on."""
    clock = GivenClock()
    cache: Remembered[str, int] = Remembered(clock, capacity=10)
    cache.put("a", 1, life_seconds=60)
    clock.advance(59.9)
    assert cache.get("a") == 1
    clock.advance(0.1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_the_least_recently_used_leaves_first() -> None:
    """A value that is asked for stays."""
    cache: Remembered[str, int] = Remembered(GivenClock(), capacity=2)
    cache.put("a", 1, life_seconds=60)
    cache.put("b", 2, life_seconds=60)
    assert cache.get("a") == 1
    cache.put("c", 3, life_seconds=60)
    assert [cache.get("a"), cache.get("b"), cache.get("c")] == [1, None, 3]


def test_a_new_value_replaces_the_old_and_its_life() -> None:
    """The life counts from the last time it was put."""
    clock = GivenClock()
    cache: Remembered[str, int] = Remembered(clock, capacity=2)
    cache.put("a", 1, life_seconds=60)
    clock.advance(50)
    cache.put("a", 2, life_seconds=60)
    clock.advance(50)
    assert cache.get("a") == 2


def test_dropping_is_harmless_when_absent() -> None:
    """Whoever drops does not need to ask first."""
    cache: Remembered[str, int] = Remembered(GivenClock(), capacity=2)
    cache.put("a", 1, life_seconds=60)
    cache.drop("a")
    cache.drop("a")
    assert cache.get("a") is None


class Work:
    """A call that waits until it is let go, and counts."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.begun = 0
        self.started = asyncio.Event()
        self.let_go = asyncio.Event()
        self._failure = failure

    async def __call__(self) -> int:
        """Do it."""
        self.begun += 1
        self.started.set()
        await self.let_go.wait()
        if self._failure is not None:
            raise self._failure
        return 42


@pytest.fixture
async def failures() -> AsyncIterator[Failures]:
    """What the owner of the tasks was told."""
    yield []  # noqa: PT022  # one form for all asynchronous fixtures


@pytest.fixture
async def owner(failures: Failures) -> AsyncIterator[TaskOwner]:
    """An owner that is left without tasks."""
    made = TaskOwner(lambda name, failure: failures.append((name, repr(failure))))
    yield made
    await made.cancel()


async def test_a_hundred_callers_share_one_call(owner: TaskOwner) -> None:
    """Single flight."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work()
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(flights.join("k", work)) for _ in range(100)]
        await work.started.wait()
        work.let_go.set()
    assert [caller.result() for caller in callers] == [42] * 100
    assert work.begun == 1


async def test_other_keys_fly_beside(owner: TaskOwner) -> None:
    """Only the same key waits."""
    flights: Flights[str, int] = Flights(owner, "test")
    slow, quick = Work(), Work()
    quick.let_go.set()
    async with asyncio.TaskGroup() as group:
        group.create_task(flights.join("slow", slow))
        await slow.started.wait()
        assert await flights.join("quick", quick) == 42
        slow.let_go.set()


async def test_a_call_that_has_ended_is_not_shared(owner: TaskOwner) -> None:
    """Remembering is the cache's part."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work()
    work.let_go.set()
    await flights.join("k", work)
    await flights.join("k", work)
    assert work.begun == 2


async def test_a_cancelled_caller_takes_the_call_from_nobody(owner: TaskOwner) -> None:
    """Not even when it was the one who began it."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(flights.join("k", work))
        await work.started.wait()
        second = group.create_task(flights.join("k", work))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.let_go.set()
    assert second.result() == 42
    assert work.begun == 1


async def test_each_caller_gets_its_own_copy_of_a_failure(
    owner: TaskOwner, failures: Failures
) -> None:
    """One shared exception would collect every caller's frames; and it is no defect of a task."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work(CredentialsInvalid("why", reason="so"))
    work.let_go.set()
    results = await asyncio.gather(
        *(flights.join("k", work) for _ in range(3)), return_exceptions=True
    )
    assert [type(result) for result in results] == [CredentialsInvalid] * 3
    assert len({id(result) for result in results}) == 3
    assert [r.facts for r in results if isinstance(r, CredentialsInvalid)] == [{"reason": "so"}] * 3
    assert failures == []


async def test_the_next_call_after_a_failure_is_a_new_one(owner: TaskOwner) -> None:
    """A failure is not remembered here."""
    flights: Flights[str, int] = Flights(owner, "test")
    bad, good = Work(CredentialsInvalid()), Work()
    bad.let_go.set()
    good.let_go.set()
    with pytest.raises(CredentialsInvalid):
        await flights.join("k", bad)
    assert await flights.join("k", good) == 42


async def test_a_defect_reaches_callers_and_the_owner(owner: TaskOwner, failures: Failures) -> None:
    """It is nobody's expected answer, so it is reported once too."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work(ZeroDivisionError("defect"))
    work.let_go.set()
    with pytest.raises(ZeroDivisionError):
        await flights.join("k", work)
    assert failures == [("test", "ZeroDivisionError('defect')")]


async def test_closing_is_an_answer(owner: TaskOwner) -> None:
    """Who waits while the gateway ends is told, not cancelled."""
    flights: Flights[str, int] = Flights(owner, "test")
    work = Work()
    async with asyncio.TaskGroup() as group:
        caller = group.create_task(_outcome(flights, work))
        await work.started.wait()
        await owner.cancel()
    assert caller.result() is Unavailable


async def _outcome(flights: Flights[str, int], work: Work) -> type[BaseException]:
    with pytest.raises(Unavailable) as caught:
        await flights.join("k", work)
    return caught.type
