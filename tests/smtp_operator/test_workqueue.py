"""The queue against a model: one entry a key, edits first, patience after failures."""

from __future__ import annotations

import asyncio

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from prometheus_client import CollectorRegistry

from smtp_operator.telemetry import Metrics
from smtp_operator.workqueue import URGENCY, Agenda, Priority, TokenBucket, Urgency, WorkQueue
from tests.support.fleet_world import GivenClock

KEYS = st.sampled_from(["a", "b", "c", "d"])
PRIORITIES = st.sampled_from(list(Priority))


class AgendaModel(RuleBasedStateMachine):
    """An agenda beside a plain description of what must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda[str] = Agenda()
        self.now = 0.0
        self.waiting: dict[str, Priority] = {}
        self.later: dict[str, float] = {}
        self.running: dict[str, Priority | None] = {}

    def _model_add(self, key: str, priority: Priority) -> None:
        if key in self.running:
            before = self.running[key]
            self.running[key] = priority if before is None else min(before, priority)
        else:
            self.waiting[key] = min(priority, self.waiting.get(key, Priority.ROUTINE))

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: Priority) -> None:
        """Anybody adds, at any time."""
        self.agenda.add(key, priority, self.now)
        self._model_add(key, priority)

    @rule(key=KEYS, seconds=st.floats(0.1, 50))
    def add_after(self, key: str, seconds: float) -> None:
        """Something is planned; the earlier plan stays."""
        due = self.now + seconds
        self.agenda.add_at(key, due, Priority.ROUTINE)
        self.later[key] = min(due, self.later.get(key, due))

    @rule(seconds=st.floats(0.1, 60))
    def time_passes(self, seconds: float) -> None:
        """Later."""
        self.now += seconds

    @rule()
    def take(self) -> None:
        """A worker takes a key: an edit if there is one, never one that runs."""
        for key, due in sorted(self.later.items(), key=lambda item: item[1]):
            if due <= self.now:
                del self.later[key]
                self._model_add(key, Priority.ROUTINE)
        taken = self.agenda.take(self.now)
        if taken is None:
            assert not self.waiting
            return
        assert taken.key in self.waiting
        assert taken.key not in self.running
        assert taken.priority == min(self.waiting.values())
        del self.waiting[taken.key]
        self.running[taken.key] = None

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        """A worker is through: what was added meanwhile is due, and nothing else."""
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.agenda.done(key, self.now)
        added = self.running.pop(key)
        if added is not None:
            self.waiting[key] = min(added, self.waiting.get(key, Priority.ROUTINE))

    @invariant()
    def depths_agree(self) -> None:
        """One entry a key, in the line of its priority, once what is ripe was taken in."""
        for priority in Priority:
            expected = sum(1 for p in self.waiting.values() if p is priority)
            assert self.agenda.depth(priority) == expected

    @invariant()
    def next_due_agrees(self) -> None:
        """The earliest plan is known."""
        due = self.agenda.next_due()
        assert due == (min(self.later.values()) if self.later else None)


AgendaModel.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAgendaModel = AgendaModel.TestCase


def test_backoff_doubles_from_5_ms_to_1000_s_and_is_forgotten() -> None:
    """Each failure in a row doubles the delay; success begins anew."""
    agenda: Agenda[str] = Agenda()
    delays = [agenda.retry("a", 0.0, Priority.EDIT) for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[17:] == [655.36, 1000.0, 1000.0]
    agenda.succeed("a")
    assert agenda.retry("a", 0.0, Priority.EDIT) == 0.005


def test_a_server_that_asks_for_patience_gets_it() -> None:
    """Retry-After is a lower bound of the delay."""
    agenda: Agenda[str] = Agenda()
    assert agenda.retry("a", 0.0, Priority.EDIT, at_least=7.0) == 7.0
    assert agenda.take(6.9) is None
    due = agenda.take(7.0)
    assert due is not None
    assert due.key == "a"


def test_a_forgotten_key_does_not_come_back() -> None:
    """The object is gone: no plan of its time survives."""
    agenda: Agenda[str] = Agenda()
    agenda.add_at("a", 5.0, Priority.ROUTINE)
    agenda.forget("a")
    assert agenda.next_due() is None
    assert agenda.take(6.0) is None


def test_a_worker_for_edits_takes_nothing_else() -> None:
    """So that it is free when an edit comes."""
    agenda: Agenda[str] = Agenda()
    agenda.add("a", Priority.ROUTINE, 0.0)
    assert agenda.take(1.0, lowest=Priority.EDIT) is None
    agenda.add("a", Priority.EDIT, 1.0)
    due = agenda.take(1.0, lowest=Priority.EDIT)
    assert due is not None
    assert due.since == 0.0  # it has waited since it was first added


def queue() -> tuple[WorkQueue[str], GivenClock, Metrics]:
    """A queue with a given clock."""
    clock, metrics = GivenClock(), Metrics(CollectorRegistry())
    return WorkQueue(clock, metrics, jitter=lambda: 1.0), clock, metrics


async def test_a_waiting_worker_wakes_when_a_key_is_added() -> None:
    """It does not look at the clock in turns."""
    work, _, metrics = queue()
    async with asyncio.TaskGroup() as group:
        taking = group.create_task(work.take())
        await asyncio.sleep(0)
        work.add("a")
    due = taking.result()
    assert due is not None
    assert due.key == "a"
    count = metrics.registry.get_sample_value(
        "smtp_operator_queue_wait_seconds_count", {"priority": "edit"}
    )
    assert count == 1


async def test_a_key_is_never_run_twice_at_once() -> None:
    """An add during a run waits for its end."""
    work, _, _ = queue()
    work.add("a")
    assert await work.take() is not None
    work.add("a")
    async with asyncio.TaskGroup() as group:
        second = group.create_task(work.take())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not second.done()
        work.done("a")
    assert second.result() is not None


async def test_a_planned_key_comes_when_its_time_has_come() -> None:
    """The worker waits just so long."""
    work, clock, _ = queue()
    work.add_after("a", 30.0)
    clock.advance(30.0)
    due = await work.take()
    assert due is not None
    assert (due.key, due.priority) == ("a", Priority.ROUTINE)


async def test_a_closed_queue_lets_workers_go() -> None:
    """Even when keys wait."""
    work, _, _ = queue()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(work.take())
        await asyncio.sleep(0)
        work.close()
    work.add("a")
    assert waiting.result() is None
    assert await work.take() is None


async def test_the_longest_wait_is_known() -> None:
    """For the alert on a stuck key."""
    work, clock, _ = queue()
    work.add("a", Priority.ROUTINE)
    clock.advance(4.0)
    work.add("b")
    assert work.oldest_seconds() == 4.0


async def test_a_key_that_fails_again_and_again_is_due_since_the_first_time() -> None:
    """In its back-off it stands in no line, and yet nobody has looked at it."""
    work, clock, _ = queue()
    work.add("a")
    for _ in range(3):
        assert await work.take() is not None
        delay = work.retry("a")
        work.done("a")
        clock.advance(delay)
    clock.advance(900.0)
    assert work.oldest_seconds() > 900.0
    assert await work.take() is not None
    work.succeed("a")
    work.done("a")
    assert work.oldest_seconds() == 0.0


async def test_a_key_whose_run_hangs_is_due() -> None:
    """No line shows it while a worker has it."""
    work, clock, _ = queue()
    work.add("a")
    assert await work.take() is not None
    clock.advance(900.0)
    assert work.oldest_seconds() == 900.0


async def test_a_good_look_does_not_count_for_what_was_added_during_it() -> None:
    """It may have read too early; its own wait begins there."""
    work, clock, _ = queue()
    work.add("a")
    assert await work.take() is not None
    clock.advance(3.0)
    work.add("a")
    clock.advance(2.0)
    work.succeed("a")
    work.done("a")
    assert work.oldest_seconds() == 2.0


async def test_the_next_look_is_no_debt_before_its_time() -> None:
    """A resync in ten minutes makes nobody wait."""
    work, clock, _ = queue()
    work.add("a")
    assert await work.take() is not None
    work.succeed("a")
    work.add_after("a", 600.0)
    work.done("a")
    clock.advance(599.0)
    assert work.oldest_seconds() == 0.0


async def test_the_bucket_gives_urgent_requests_the_next_token() -> None:
    """An edit overtakes what is new, and that the first look at everything."""
    clock = GivenClock()
    bucket = TokenBucket(clock, rate=10.0, burst=1)
    await bucket.take()
    order: list[str] = []

    async def request(name: str, urgency: Priority) -> None:
        URGENCY.set(Urgency(urgency))
        await bucket.take()
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(request("routine 1", Priority.ROUTINE))
        group.create_task(request("routine 2", Priority.ROUTINE))
        await asyncio.sleep(0)
        group.create_task(request("new", Priority.NEW))
        await asyncio.sleep(0)
        group.create_task(request("edit", Priority.EDIT))
        await asyncio.sleep(0)
        for _ in range(4):
            clock.advance(0.1)
            bucket.hand_out()
            await asyncio.sleep(0)
    assert order == ["edit", "new", "routine 1", "routine 2"]


async def test_a_run_that_an_edit_waits_for_overtakes_the_others_in_the_bucket() -> None:
    """Else the edit would wait as long as the least urgent request does."""
    work, clock, _ = queue()
    bucket = TokenBucket(clock, rate=10.0, burst=1)
    await bucket.take()
    order: list[str] = []

    async def look(name: str) -> None:
        work.add(name, Priority.ROUTINE)
        due = await work.take()
        assert due is not None
        URGENCY.set(due.urgency)
        await bucket.take()
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("first", "second", "edited"):
            group.create_task(look(name))
        await asyncio.sleep(0)
        work.add("edited", Priority.EDIT)
        work.add("edited", Priority.ROUTINE)
        for _ in range(3):
            clock.advance(0.1)
            bucket.hand_out()
            await asyncio.sleep(0)
    assert order == ["edited", "first", "second"]


async def test_the_bucket_holds_a_rate_after_its_burst() -> None:
    """100 at once after a rest, then 50 a second."""
    clock = GivenClock()
    bucket = TokenBucket(clock, rate=50.0, burst=100)
    for _ in range(100):
        await bucket.take()
    passed: list[int] = []

    async def request(number: int) -> None:
        await bucket.take()
        passed.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(60):
            group.create_task(request(number))
        await asyncio.sleep(0)
        assert passed == []
        clock.advance(1.001)
        bucket.hand_out()
        await asyncio.sleep(0)
        assert len(passed) == 50
        clock.advance(1.0)
        bucket.hand_out()


async def test_a_request_that_was_given_up_takes_no_token() -> None:
    """Its task was cancelled while it waited."""
    clock = GivenClock()
    bucket = TokenBucket(clock, rate=10.0, burst=1)
    await bucket.take()
    async with asyncio.TaskGroup() as group:
        given_up = group.create_task(bucket.take())
        patient = group.create_task(bucket.take())
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        clock.advance(0.1)
        bucket.hand_out()
        await asyncio.wait_for(patient, 1)
    assert given_up.cancelled()
