"""Places in flight: fair, safe to cancel, and one account's pressure kept to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_gateway.api.slots import FifoLimit, Lease, Slots
from smtp_gateway.errors import Throttled, Unavailable
from tests.support.fakes import GivenClock, until

FAR = 2_000_000.0


class Bench:
    """Slots with a clock that moves by sleeping."""

    def __init__(self, limit: int = 4, share: float = 1.0) -> None:
        self.clock = GivenClock()
        self.waits: list[float] = []
        self.slots = Slots(
            limit,
            self.clock,
            on_wait=self.waits.append,
            share=share,
            chance=lambda: 0.0,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def take(self, key: str = "one", deadline: float = FAR) -> Lease:
        """One place."""
        return await self.slots.acquire(key, deadline=deadline)


Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@pytest.fixture
def spawn() -> Spawn:
    """Start a task of the test."""
    return lambda work: asyncio.get_running_loop().create_task(work)


async def test_places_are_given_in_the_order_of_coming(spawn: Spawn) -> None:
    """First in, first out, whatever the number of waiters."""
    limit = FifoLimit(1)
    await limit.acquire(timeout_seconds=9)
    order: list[int] = []

    async def wait(number: int) -> None:
        await limit.acquire(timeout_seconds=9)
        order.append(number)
        limit.release()

    tasks = [spawn(wait(number)) for number in range(5)]
    await until(lambda: limit.waiting == 5)
    limit.release()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert limit.held == 0


async def test_newcomer_does_not_overtake_a_waiter(spawn: Spawn) -> None:
    """A place that came free belongs to who waits, not to who asks next."""
    limit = FifoLimit(1)
    await limit.acquire(timeout_seconds=9)
    waiter = spawn(limit.acquire(timeout_seconds=9))
    await until(lambda: limit.waiting == 1)
    limit.release()
    assert await limit.acquire(timeout_seconds=0) is False
    assert await waiter is True
    assert limit.held == 1


async def test_cancelled_waiter_leaves_no_trace(spawn: Spawn) -> None:
    """A waiter that is cancelled gives its turn to the next."""
    limit = FifoLimit(1)
    await limit.acquire(timeout_seconds=9)
    first, second = spawn(limit.acquire(timeout_seconds=9)), spawn(limit.acquire(timeout_seconds=9))
    await until(lambda: limit.waiting == 2)
    first.cancel()
    await asyncio.wait({first})
    assert limit.waiting == 1
    limit.release()
    assert await second is True


async def test_waiter_cancelled_in_the_moment_of_its_turn_passes_it_on(spawn: Spawn) -> None:
    """The place was given and the task cancelled before it could run: nothing is lost."""
    limit = FifoLimit(1)
    await limit.acquire(timeout_seconds=9)
    first, second = spawn(limit.acquire(timeout_seconds=9)), spawn(limit.acquire(timeout_seconds=9))
    await until(lambda: limit.waiting == 2)
    limit.release()
    first.cancel()
    assert await second is True
    assert limit.held == 1


@given(actions=st.lists(st.integers(0, 5), max_size=40), limit=st.integers(1, 3))
def test_places_are_never_lost_and_never_exceeded(actions: list[int], limit: int) -> None:
    """Random takes, returns and cancellations: held is never above the limit, and ends at zero."""
    asyncio.run(_play(actions, limit))


async def _play(actions: list[int], limit: int) -> None:
    gate = FifoLimit(limit)
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[bool]] = []
    for action in actions:
        if action <= 2:
            tasks.append(loop.create_task(gate.acquire(timeout_seconds=9)))
        elif action == 3 and tasks:
            tasks.pop(len(tasks) // 2).cancel() if not tasks[len(tasks) // 2].done() else None
        elif action == 4:
            await asyncio.sleep(0)
        elif done := [task for task in tasks if task.done()]:
            tasks.remove(done[0])
            gate.release()
        assert 0 <= gate.held <= limit
    for _ in range(len(tasks) + 2):
        await asyncio.sleep(0)
    while tasks:
        task = tasks.pop(0)
        assert await task is True
        gate.release()
    assert (gate.held, gate.waiting) == (0, 0)


async def test_no_place_before_the_deadline_is_unavailable() -> None:
    """The wait ends with the message's deadline, and the queue is left."""
    bench = Bench(limit=1)
    lease = await bench.take()
    with pytest.raises(Unavailable):
        await bench.take(deadline=bench.clock.now + 0.01)
    with pytest.raises(Unavailable):
        await bench.take(deadline=bench.clock.now)
    bench.slots.release(lease)
    assert bench.slots.in_use == 0
    bench.slots.release(await bench.take())


async def test_expected_wait_follows_the_queue_and_the_length_of_calls(spawn: Spawn) -> None:
    """Free places: none. Two waiting at 4 s a call and one place: 12 s for the next."""
    bench = Bench(limit=1)
    assert bench.slots.expected_wait_seconds("one") == 0.0
    lease = await bench.take()
    bench.clock.advance(4)
    bench.slots.release(lease)
    lease = await bench.take()
    tasks = [spawn(bench.take()), spawn(bench.take())]
    await until(lambda: bench.slots.expected_wait_seconds("one") == 12.0)
    bench.slots.release(lease)
    for task in tasks:
        bench.slots.release(await task)
    assert len(bench.waits) == 4


async def test_429_halves_the_account_and_good_seconds_give_back() -> None:
    """Eight in flight and a 429: four. Then one more per second with a success."""
    bench = Bench(limit=8)
    leases = [await bench.take() for _ in range(8)]
    bench.slots.throttled(leases[0], seconds=0)
    bench.slots.throttled(leases[1], seconds=0)
    assert bench.slots.account_limit("one") == 4
    for expected in (4, 5, 6, 7, 8, 8):
        bench.slots.succeeded(leases[2])
        bench.slots.succeeded(leases[2])
        assert bench.slots.account_limit("one") == expected
        bench.clock.advance(1)
    for lease in leases:
        bench.slots.release(lease)


async def test_halved_account_waits_at_its_own_gate(spawn: Spawn) -> None:
    """With one place left to it, its second call waits although the process has places."""
    bench = Bench(limit=8)
    first = await bench.take()
    bench.slots.throttled(first, seconds=0)
    second = spawn(bench.take())
    other = await bench.take("two")
    await asyncio.sleep(0)
    assert not second.done()
    bench.slots.release(first)
    bench.slots.release(await second)
    bench.slots.release(other)


async def test_pause_is_sat_out_within_the_deadline() -> None:
    """A pause that ends in time is waited for; one that does not is told with its seconds."""
    bench = Bench()
    lease = await bench.take()
    bench.slots.throttled(lease, seconds=10)
    bench.slots.release(lease)
    assert bench.slots.pause_seconds("one") == 10.0
    with pytest.raises(Throttled) as caught:
        await bench.take(deadline=bench.clock.now + 10)
    assert caught.value.facts["seconds"] == 10
    began = bench.clock.now
    bench.slots.release(await bench.take(deadline=began + 10.1))
    assert bench.clock.now == began + 10
    assert bench.slots.pause_seconds("one") == 0.0


async def test_pauses_nobody_asked_for_double_with_jitter_until_a_success() -> None:
    """Half of 1, 2, 4 seconds at least; a success begins anew."""
    bench = Bench()
    lease = await bench.take()
    pauses = []
    for _ in range(3):
        bench.slots.throttled(lease, seconds=None)
        pauses.append(bench.slots.pause_seconds("one"))
        bench.clock.advance(pauses[-1])
    bench.slots.succeeded(lease)
    bench.slots.throttled(lease, seconds=None)
    assert [*pauses, bench.slots.pause_seconds("one")] == [0.5, 1.0, 2.0, 0.5]
    bench.slots.release(lease)


async def test_pause_of_hours_is_cut_to_one_hour() -> None:
    """Then one call asks again."""
    bench = Bench()
    lease = await bench.take()
    bench.slots.throttled(lease, seconds=80_000)
    assert bench.slots.pause_seconds("one") == 3600.0
    bench.slots.release(lease)


async def test_account_that_hangs_leaves_places_for_others(spawn: Spawn) -> None:
    """An account gets three of four places; its fourth call does not block the queue."""
    bench = Bench(limit=4, share=0.75)
    leases = [await bench.take() for _ in range(3)]
    fourth = spawn(bench.take())
    await asyncio.sleep(0)
    bench.slots.release(await bench.take("two"))
    assert not fourth.done()
    for lease in leases:
        bench.slots.release(lease)
    bench.slots.release(await fourth)
    assert bench.slots.in_use == 0
