"""The election: never two holders, however slow, lossy or unlucky the way to the Lease is."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_operator.cluster.api import Lease
from smtp_operator.elector import Election, Elector, Step
from smtp_operator.errors import ClusterUnavailable, Conflict, NotFound
from tests.support.fleet_world import GivenClock, quiet_log

WRITE_SECONDS = 5.0


class FakeStore:
    """A Lease in memory, with the API server's precondition."""

    def __init__(self) -> None:
        self.lease: Lease | None = None
        self.version = 0
        self.silent = False
        self.lose_answers = False
        self.gone = False  # a write finds no Lease
        self.wake = asyncio.Event()
        self.open = asyncio.Event()  # writes come through
        self.open.set()
        self.begun = 0  # writes

    async def read(self) -> Lease | None:
        """See ``LeaseStore``."""
        if self.silent:
            raise ClusterUnavailable("no answer")
        return self.lease

    async def write(self, lease: Lease) -> Lease:
        """See ``LeaseStore``."""
        self.begun += 1
        await self.open.wait()
        if self.silent:
            raise ClusterUnavailable("no answer")
        if self.gone:
            raise NotFound("no such lease")
        written = self.put(lease)
        if self.lose_answers:
            raise ClusterUnavailable("the answer was lost")
        return written

    def put(self, lease: Lease) -> Lease:
        """The precondition, and a new version."""
        known = self.lease.resource_version if self.lease else ""
        if lease.resource_version != known:
            raise Conflict("another version")
        self.version += 1
        self.lease = replace(lease, resource_version=str(self.version))
        self.wake.set()
        return self.lease

    async def changed(self, resource_version: str) -> None:
        """See ``LeaseStore``."""
        while self.lease is not None and self.lease.resource_version == resource_version:
            self.wake.clear()
            await self.wake.wait()


class Standing:
    """One elector and what it told."""

    def __init__(self, store: FakeStore, clock: GivenClock, name: str) -> None:
        self.told: list[str] = []
        self.led = asyncio.Event()
        self.elector = Elector(
            store,
            name,
            clock,
            quiet_log(),
            on_leading=self._lead,
            on_lost=lambda: self.told.append("lost"),
        )

    def leads(self) -> bool:
        """Whether it may write now."""
        return self.elector.leading

    def _lead(self) -> None:
        self.told.append("leading")
        self.led.set()


def pair() -> tuple[FakeStore, GivenClock, Standing, Standing]:
    """Two electors over one Lease."""
    store, clock = FakeStore(), GivenClock()
    return store, clock, Standing(store, clock, "one"), Standing(store, clock, "two")


async def test_the_first_takes_it_and_the_second_waits() -> None:
    """One leads."""
    store, _, one, two = pair()
    assert await one.elector.turn()
    assert await two.elector.turn()
    assert (one.leads(), two.leads()) == (True, False)
    assert one.told == ["leading"]
    assert store.lease is not None
    assert (store.lease.holder, store.lease.transitions) == ("one", 0)


async def test_a_standby_takes_over_15_s_after_it_last_saw_a_change() -> None:
    """Not a moment earlier, and whatever times stand in the Lease."""
    store, clock, one, two = pair()
    await one.elector.turn()
    await two.elector.turn()
    clock.advance(14.9)
    await two.elector.turn()
    assert not two.leads()
    clock.advance(0.1)
    await two.elector.turn()
    assert two.leads()
    assert store.lease is not None
    assert (store.lease.holder, store.lease.transitions) == ("two", 1)


async def test_a_renewal_restarts_the_count_of_the_standby() -> None:
    """What counts is when the standby saw it."""
    _, clock, one, two = pair()
    await one.elector.turn()
    await two.elector.turn()
    for _ in range(10):
        clock.advance(2.0)
        await one.elector.turn()
        await two.elector.turn()
    assert one.leads()
    assert two.told == []


async def test_a_holder_that_cannot_renew_stops_after_10_s() -> None:
    """No write begins after that, and the process is told to end."""
    store, clock, one, _ = pair()
    await one.elector.turn()
    store.silent = True
    clock.advance(9.9)
    assert await one.elector.turn()
    assert one.leads()
    clock.advance(0.1)
    assert not one.leads()
    assert not await one.elector.turn()
    assert one.told == ["leading", "lost"]


async def test_a_stolen_lease_is_noticed_at_the_next_renewal() -> None:
    """Somebody wrote over it: we stop at once."""
    store, clock, one, _ = pair()
    await one.elector.turn()
    assert store.lease is not None
    store.put(replace(store.lease, holder="thief"))
    clock.advance(2.0)
    assert not await one.elector.turn()
    assert one.told == ["leading", "lost"]


async def test_a_deleted_lease_ends_its_holder_and_keeps_a_standby_waiting() -> None:
    """The holder does not know at once: until it must have noticed nobody else begins."""
    store, clock, one, two = pair()
    await one.elector.turn()
    await two.elector.turn()
    store.lease = None
    await two.elector.turn()
    clock.advance(2.0)
    assert one.leads()
    await two.elector.turn()
    assert not two.leads()
    store.gone = True
    assert not await one.elector.turn()
    assert one.told == ["leading", "lost"]
    clock.advance(13.0)
    store.gone = False
    await two.elector.turn()
    assert two.leads()


async def test_an_answer_that_was_lost_costs_nothing() -> None:
    """The write landed: the next turn finds our own name and goes on."""
    store, clock, one, _ = pair()
    store.lose_answers = True
    await one.elector.turn()
    assert not one.leads()
    store.lose_answers = False
    clock.advance(2.0)
    await one.elector.turn()
    await one.elector.turn()
    assert one.leads()


async def test_a_released_lease_is_taken_at_once() -> None:
    """A standby need not wait for it to run out."""
    store, _, one, two = pair()
    await one.elector.turn()
    await two.elector.turn()
    await one.elector.release()
    assert not one.leads()
    await two.elector.turn()
    assert two.leads()
    assert store.lease is not None
    assert store.lease.holder == "two"


async def test_a_release_during_a_renewal_frees_the_lease() -> None:
    """The renewal makes another version; naming the one before it would be a conflict."""
    store, _, one, _ = pair()
    await one.elector.turn()
    store.open.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(one.elector.turn())
        while store.begun < 2:  # noqa: ASYNC110  # turns of the loop, no time
            await asyncio.sleep(0)
        group.create_task(one.elector.release())
        await asyncio.sleep(0)
        store.open.set()
    assert store.lease is not None
    assert store.lease.holder == ""


async def test_who_has_let_go_takes_no_further_step() -> None:
    """Else a process that ends would take its own free Lease again."""
    store, _, one, _ = pair()
    await one.elector.turn()
    await one.elector.release()
    assert not await one.elector.turn()
    assert store.lease is not None
    assert store.lease.holder == ""


async def test_who_does_not_hold_it_releases_nothing() -> None:
    """A release by a former holder must not free another's Lease."""
    store, clock, one, two = pair()
    await one.elector.turn()
    await two.elector.turn()
    clock.advance(15.0)
    await two.elector.turn()
    await one.elector.release()
    assert store.lease is not None
    assert store.lease.holder == "two"


async def test_a_release_that_fails_only_costs_time() -> None:
    """It must not keep the process from ending."""
    store, _, one, _ = pair()
    await one.elector.turn()
    store.silent = True
    await one.elector.release()
    assert not one.leads()


async def test_a_waiting_standby_wakes_when_the_lease_changes() -> None:
    """It watches; it does not poll."""
    store, _, one, two = pair()
    await one.elector.turn()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(two.elector.run())
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits for a change
        await one.elector.release()
        await two.led.wait()
        running.cancel()
    assert two.leads()
    assert store.version == 3


@pytest.mark.parametrize(
    ("holder", "age", "step"),
    [("", 0.0, Step.TAKE), ("other", 0.0, Step.WAIT), ("other", 15.0, Step.TAKE),
     ("me", 0.0, Step.TAKE)],
)  # fmt: skip
def test_steps_of_one_that_does_not_lead(holder: str, age: float, step: Step) -> None:
    """Free, held, run out, or our own after a lost answer."""
    election = Election("me")
    election.see(Lease(holder, resource_version="1"), 100.0)
    assert election.step(100.0 + age) is step


MOVES = st.lists(
    st.tuples(
        st.integers(0, 2),  # who
        st.sampled_from(["read", "send", "land", "lose", "write", "pause", "release"]),
        st.floats(0.0, 6.0),  # how long it takes
    ),
    max_size=120,
)


@settings(max_examples=200, deadline=None)
@given(MOVES)
def test_never_two_holders(moves: list[tuple[int, str, float]]) -> None:
    """Whatever is slow or lost: no write of an old holder lands after a new one has begun.

    A write of work may begin while ``leading`` says so and lasts up to 5 s. ``landing`` holds until
    when such writes of each may still land.
    """
    store, now = FakeStore(), 0.0
    elections = [Election(name) for name in ("one", "two", "three")]
    sent: dict[int, tuple[Lease, float]] = {}
    landing = [0.0, 0.0, 0.0]
    for who, move, seconds in moves:
        election = elections[who]
        now += seconds
        if move == "read":
            election.see(store.lease, now)
        elif move == "send" and who not in sent:
            if election.step(now) in {Step.TAKE, Step.RENEW}:
                sent[who] = (election.next_record(GivenClock().utc()), now)
        elif move in {"land", "lose"} and who in sent:
            _land(store, election, *sent.pop(who), now, heard=move == "land")
        elif move == "write" and election.leading(now):
            landing[who] = now + WRITE_SECONDS
        elif move == "release":
            _release(store, election, now)
            landing[who] = now  # it finishes or cuts its writes first
        leaders = [i for i in range(3) if elections[i].leading(now)]
        assert len(leaders) <= 1
        if leaders:
            assert all(landing[i] <= now for i in range(3) if i != leaders[0])


def _land(
    store: FakeStore, election: Election, lease: Lease, sent_at: float, now: float, *, heard: bool
) -> None:
    if now - sent_at > WRITE_SECONDS:
        return  # the request has run out
    try:
        written = store.put(lease)
    except Conflict:
        return
    if heard:
        election.written(written, sent_at, now)


def _release(store: FakeStore, election: Election, now: float) -> None:
    record = election.released_record(GivenClock().utc())
    election.let_go()
    if record is not None:
        try:
            election.see(store.put(record), now)
        except Conflict:
            election.see(store.lease, now)
