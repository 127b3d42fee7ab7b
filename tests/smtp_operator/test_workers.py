"""What follows a look: nothing, a later one, patience, or another try."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from smtp_operator.errors import ClusterUnavailable, Conflict, Refused
from smtp_operator.fleet.model import Key
from smtp_operator.reconcile import After, Done
from smtp_operator.telemetry import Log, Metrics
from smtp_operator.utils.tasks import TaskOwner
from smtp_operator.workers import Workers
from smtp_operator.workqueue import URGENCY, Priority, WorkQueue
from tests.support.fleet_world import KEY, GivenClock, quiet_log

Answer = Callable[[], Done | After]


class Scripted:
    """Answers as it is told."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.urgencies: list[Priority] = []
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def reconcile(self, key: Key, log: Log) -> Done | After:
        """See ``Looks``."""
        self.urgencies.append(URGENCY.get().priority)
        self.begun.set()
        await self.may_end.wait()
        return self.answer()


def raising(error: Exception) -> Answer:
    """An answer that is none."""

    def answer() -> Done | After:
        raise error

    return answer


class Shop:
    """Workers with all they need."""

    def __init__(self, answer: Answer) -> None:
        self.clock, self.metrics = GivenClock(), Metrics(CollectorRegistry())
        self.queue: WorkQueue[Key] = WorkQueue(self.clock, self.metrics, jitter=lambda: 1.0)
        self.looks = Scripted(answer)
        self.gone: list[Key] = []
        self.failed: list[str] = []
        self.owner = TaskOwner(lambda name, _: self.failed.append(name))
        self.workers = Workers(
            self.queue,
            self.looks,
            self.owner,
            self.metrics,
            self.clock,
            quiet_log(),
            number=2,
            look_again_seconds=600,
            on_gone=self.gone.append,
        )

    async def once(self, priority: Priority = Priority.EDIT) -> None:
        """One key, one look."""
        self.queue.add(KEY, priority)
        due = await self.queue.take()
        assert due is not None
        await self.workers.look(due)
        self.queue.done(KEY)

    def results(self) -> set[str]:
        """Which results were counted."""
        names = ("done", "after", "gone", "transient", "terminal", "failed")
        read = self.metrics.registry.get_sample_value
        return {n for n in names if read("smtp_operator_reconcile_total", {"result": n})}

    async def due_within(self, seconds: float) -> bool:
        """Whether the key comes back by then, and not at once."""
        self.queue.add(Key("x", "other"))
        first = await self.queue.take()
        assert first is not None
        assert first.key == Key("x", "other")
        self.clock.advance(seconds)
        self.queue.add_after(Key("x", "last"), 0)
        second = await self.queue.take()
        assert second is not None
        return second.key == KEY


@pytest.mark.parametrize(
    ("answer", "result", "seconds"),
    [
        (Done, "done", 720),
        (lambda: After(5), "after", 5),
        (raising(Conflict("x")), "transient", 0.005),
        (raising(ClusterUnavailable("x", 9)), "transient", 9),
        (raising(Refused("x", status=403)), "terminal", 60),
        (raising(ValueError("a defect")), "failed", 0.005),
    ],
)
async def test_each_outcome_leads_to_the_next_look(
    answer: Answer, result: str, seconds: float
) -> None:
    """Counted by its name, and due again when it should be."""
    shop = Shop(answer)
    await shop.once()
    assert shop.results() == {result}
    assert await shop.due_within(seconds)


async def test_a_gateway_that_is_gone_does_not_come_back() -> None:
    """Its key is forgotten everywhere."""
    shop = Shop(lambda: Done(gone=True))
    shop.queue.add_after(KEY, 10)
    await shop.once()
    assert shop.gone == [KEY]
    assert not await shop.due_within(1000)


async def test_requests_are_as_urgent_as_their_key() -> None:
    """Those of a resync are the least."""
    shop = Shop(Done)
    await shop.once(Priority.EDIT)
    await shop.once(Priority.ROUTINE)
    assert shop.looks.urgencies == [Priority.EDIT, Priority.ROUTINE]


async def test_stopping_waits_for_what_runs() -> None:
    """And takes nothing new."""
    shop = Shop(Done)
    shop.looks.may_end.clear()
    shop.workers.start()
    shop.queue.add(KEY)
    await shop.looks.begun.wait()
    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(shop.workers.stop(30))
        await asyncio.sleep(0)
        shop.queue.add(Key("x", "late"))
        shop.looks.may_end.set()
    assert stopping.result() == 0
    assert len(shop.looks.urgencies) == 1
    assert shop.failed == []


async def test_what_does_not_end_in_time_is_cut() -> None:
    """The Lease must be released while others wait."""
    shop = Shop(Done)
    shop.looks.may_end.clear()
    shop.workers.start()
    shop.queue.add(KEY)
    await shop.looks.begun.wait()
    assert await shop.workers.stop(0.01) == 1


async def test_a_due_key_is_a_tuple_with_its_priority() -> None:
    """The worker kept for edits must know what it took."""
    shop = Shop(Done)
    shop.queue.add(KEY, Priority.EDIT)
    due = await shop.queue.take(lowest=Priority.EDIT)
    assert due is not None
    assert (due.key, due.priority, due.since) == (KEY, Priority.EDIT, 1000.0)
