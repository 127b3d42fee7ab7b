"""The ledger against a plain model, and its rules one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from prometheus_client import CollectorRegistry

from smtp_gateway.ledger import Claim, Entry, InProcessLedger, Keep, State, entry_key
from smtp_gateway.telemetry import Metrics
from tests.support.fakes import GivenClock, until

ACCEPTED = Entry(State.ACCEPTED, submission_id="s", api_id="i")
REFUSED = Entry(State.REFUSED, refusal="ContentRefused")
UNKNOWN = Entry(State.UNKNOWN, message_id="<m>", first_attempt_wall=1.0, last_attempt_wall=2.0)
IN_FLIGHT = Entry(State.IN_FLIGHT)
DAY = 86_400.0


class Bench:
    """A ledger with its clock and metrics."""

    def __init__(self, max_entries: int = 100) -> None:
        self.clock = GivenClock()
        self.metrics = Metrics(CollectorRegistry())
        self.ledger = InProcessLedger(self.clock, self.metrics, max_entries=max_entries)

    async def keep(self, key: bytes, entry: Entry | None) -> None:
        """Claim and settle."""
        assert (await self.ledger.claim(key)).mine
        await self.ledger.settle(key, entry)

    def sample(self, name: str, **labels: str) -> float | None:
        """A metric's value."""
        return self.metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def bench() -> Bench:
    """An empty ledger."""
    return Bench()


async def test_first_claim_is_mine_and_the_second_is_told_it_runs(bench: Bench) -> None:
    """One call per key at a time."""
    assert await bench.ledger.claim(b"k") == Claim(mine=True, before=None)
    assert await bench.ledger.claim(b"k") == Claim(mine=False, before=IN_FLIGHT)


@pytest.mark.parametrize("entry", [ACCEPTED, REFUSED])
async def test_final_outcome_is_told_and_not_claimed(bench: Bench, entry: Entry) -> None:
    """What is final needs no call."""
    await bench.keep(b"k", entry)
    assert await bench.ledger.claim(b"k") == Claim(mine=False, before=entry)


async def test_unknown_is_claimed_with_what_is_known(bench: Bench) -> None:
    """The one who repeats owns the search; a second one waits for it."""
    await bench.keep(b"k", UNKNOWN)
    assert await bench.ledger.claim(b"k") == Claim(mine=True, before=UNKNOWN)
    assert await bench.ledger.claim(b"k") == Claim(mine=False, before=IN_FLIGHT)


async def test_certainly_not_accepted_leaves_nothing(bench: Bench) -> None:
    """A temporary failure before sending: the repeat starts from nothing."""
    await bench.keep(b"k", None)
    assert len(bench.ledger) == 0
    assert (await bench.ledger.claim(b"k")).mine


@pytest.mark.parametrize("entry", [ACCEPTED, REFUSED, UNKNOWN])
async def test_outcome_that_never_reached_the_client_lives_72_hours(
    bench: Bench, entry: Entry
) -> None:
    """To the second."""
    await bench.keep(b"k", entry)
    bench.clock.advance(3 * DAY - 1)
    assert (await bench.ledger.claim(b"k")).before == entry
    await bench.ledger.settle(b"k", entry if entry is UNKNOWN else None)
    bench.clock.advance(3 * DAY)
    assert (await bench.ledger.claim(b"k")).before is None


@pytest.mark.parametrize(
    ("keep", "seconds"), [(Keep.AFTER_REPLY, 900.0), (Keep.IDEMPOTENT, 86_400.0)]
)
async def test_confirmed_outcome_lives_as_long_as_asked(
    bench: Bench, keep: Keep, seconds: float
) -> None:
    """15 minutes or 24 hours from the reply, and a repeat does not prolong it."""
    await bench.keep(b"k", ACCEPTED)
    bench.clock.advance(50)
    await bench.ledger.confirm(b"k", keep)
    bench.clock.advance(seconds - 1)
    assert (await bench.ledger.claim(b"k")).before == ACCEPTED
    await bench.ledger.confirm(b"k", keep)
    bench.clock.advance(1)
    assert (await bench.ledger.claim(b"k")).before is None


async def test_dropped_outcome_is_gone_at_once(bench: Bench) -> None:
    """Two equal alerts without Message-ID are two mails."""
    await bench.keep(b"k", ACCEPTED)
    await bench.ledger.confirm(b"k", Keep.DROP)
    assert (await bench.ledger.claim(b"k")).before is None


async def test_confirming_leaves_open_matters_alone(bench: Bench) -> None:
    """A running call and an unconfirmed one are not touched by a reply."""
    await bench.ledger.claim(b"running")
    await bench.keep(b"unknown", UNKNOWN)
    for key in (b"running", b"unknown", b"absent"):
        await bench.ledger.confirm(key, Keep.DROP)
    assert bench.ledger.count(State.IN_FLIGHT) == 1
    assert bench.ledger.count(State.UNKNOWN) == 1


async def test_waiter_returns_when_the_call_settles(bench: Bench) -> None:
    """All who wait are told at once."""
    await bench.ledger.claim(b"k")
    loop = asyncio.get_running_loop()
    waiters = [loop.create_task(bench.ledger.wait(b"k", timeout_seconds=30)) for _ in range(2)]
    await asyncio.sleep(0)
    await bench.ledger.settle(b"k", ACCEPTED)
    await until(lambda: all(waiter.done() for waiter in waiters))
    assert [waiter.exception() for waiter in waiters] == [None, None]


async def test_waiter_returns_at_its_limit_and_at_once_without_a_call(bench: Bench) -> None:
    """A wait has an end."""
    await bench.ledger.wait(b"k", timeout_seconds=30)
    await bench.ledger.claim(b"k")
    await bench.ledger.wait(b"k", timeout_seconds=0.01)
    assert bench.ledger.count(State.IN_FLIGHT) == 1


async def test_full_ledger_lets_the_resolved_go_first_and_running_calls_never() -> None:
    """Confirmed, then idempotent, then unreported, then unknown; a running call stays."""
    bench = Bench(max_entries=5)
    await bench.ledger.claim(b"running")
    await bench.keep(b"unknown", UNKNOWN)
    await bench.keep(b"unreported", ACCEPTED)
    await bench.keep(b"idempotent", ACCEPTED)
    await bench.ledger.confirm(b"idempotent", Keep.IDEMPOTENT)
    await bench.keep(b"confirmed", ACCEPTED)
    await bench.ledger.confirm(b"confirmed", Keep.AFTER_REPLY)
    left = []
    for number in range(6):
        await bench.ledger.claim(b"new%d" % number)
        left.append([bench.ledger.count(state) for state in State])
    # in flight, accepted, refused, unknown
    assert left == [
        [2, 2, 0, 1],
        [3, 1, 0, 1],
        [4, 0, 0, 1],
        [5, 0, 0, 0],
        [6, 0, 0, 0],
        [7, 0, 0, 0],
    ]


async def test_gauges_and_hits_are_told(bench: Bench) -> None:
    """The metrics of smtp-server 6.1."""
    await bench.keep(b"a", ACCEPTED)
    await bench.keep(b"r", REFUSED)
    await bench.keep(b"u", UNKNOWN)
    await bench.ledger.claim(b"f")
    for key in (b"a", b"r", b"f", b"u"):
        await bench.ledger.claim(key)
    entries = {state.value: bench.sample("smtp_ledger_entries", state=state) for state in State}
    hits = {state.value: bench.sample("smtp_ledger_hits_total", kind=state) for state in State}
    assert entries == {"in_flight": 2.0, "accepted": 1.0, "refused": 1.0, "unknown": 0.0}
    assert hits == {"in_flight": 1.0, "accepted": 1.0, "refused": 1.0, "unknown": 1.0}


def test_key_depends_on_every_part_and_on_their_borders() -> None:
    """Other account, sender, recipient, content, secret, or a shifted border: another key."""
    usual: dict[str, Any] = {"account": "1", "mail_from": "a", "recipient": "b", "content": b"c"}
    keys = {
        entry_key(b"s", **{**usual, **change})
        for change in (
            {},
            {"account": "2"},
            {"mail_from": "x"},
            {"recipient": "x"},
            {"content": b"x"},
            {"mail_from": "ab", "recipient": ""},
            {"mail_from": "", "recipient": "ab"},
        )
    }
    keys.add(entry_key(b"t", **usual))
    assert len(keys) == 8
    assert entry_key(b"s", **usual) in keys


T = TypeVar("T")
KEYS = st.sampled_from([b"1", b"2", b"3"])


class LedgerModel(RuleBasedStateMachine):
    """Random claims, settlements, confirmations and time against a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench()
        self.model: dict[bytes, tuple[Entry, float]] = {}
        self.confirmed: set[bytes] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The in-process ledger never waits but in ``wait``, so one step ends it."""
        try:
            work.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
        raise AssertionError("it waited")

    def known(self, key: bytes) -> Entry | None:
        """What the model holds now."""
        entry, expires = self.model.get(key, (None, 0.0))
        return entry if entry is not None and expires > self.bench.clock.now else None

    @rule(key=KEYS)
    def claim(self, key: bytes) -> None:
        """Mine exactly when nothing or something unconfirmed is known."""
        known = self.known(key)
        mine = known is None or known.state is State.UNKNOWN
        assert self.run(self.bench.ledger.claim(key)) == Claim(mine=mine, before=known)
        if mine:
            self.model[key] = (IN_FLIGHT, float("inf"))
            self.confirmed.discard(key)

    @rule(key=KEYS, entry=st.sampled_from([ACCEPTED, REFUSED, UNKNOWN, None]))
    def settle(self, key: bytes, entry: Entry | None) -> None:
        """Only the owner of a running call settles."""
        if self.known(key) != IN_FLIGHT:
            return
        self.run(self.bench.ledger.settle(key, entry))
        if entry is None:
            del self.model[key]
        else:
            self.model[key] = (entry, self.bench.clock.now + 3 * DAY)

    @rule(key=KEYS, keep=st.sampled_from(Keep))
    def confirm(self, key: bytes, keep: Keep) -> None:
        """Final outcomes get their new life once; everything else stays."""
        self.run(self.bench.ledger.confirm(key, keep))
        known = self.known(key)
        if known is not None and known in (ACCEPTED, REFUSED) and key not in self.confirmed:
            self.confirmed.add(key)
            self.model[key] = (known, self.bench.clock.now + keep.value)

    @rule(seconds=st.sampled_from([1.0, 899.0, 900.0, DAY, 3 * DAY]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.bench.clock.advance(seconds)

    @invariant()
    def counts_are_not_below_what_is_known(self) -> None:
        """Expired entries may linger until the next claim; known ones are all there."""
        for state in State:
            alive = sum(
                known is not None and known.state is state for known in map(self.known, self.model)
            )
            assert self.bench.ledger.count(state) >= alive


TestLedgerModel = LedgerModel.TestCase
TestLedgerModel.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
