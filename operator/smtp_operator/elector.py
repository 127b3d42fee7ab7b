"""Who writes: one holder of a Lease, measured by a clock that never jumps.

A standby counts from when *it* saw the Lease change, never by the times written in it, so clocks
of machines may disagree. The holder stops ten seconds after it last *sent* a renewal that came
through; a standby waits fifteen since it saw it land, and a write lasts five at most. So no write
of an old holder lands after a new one has begun.

``Election`` is the pure part: what to do now, and whether we lead. ``Elector`` does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from enum import Enum

from smtp_operator.cluster.api import LEASE_DURATION, Lease, LeaseStore
from smtp_operator.errors import Conflict, NotFound, OperatorError
from smtp_operator.telemetry import Event, Log
from smtp_operator.utils.clock import Clock

LEASE_SECONDS = float(LEASE_DURATION)
RENEW_DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0
RELEASE_SECONDS = 5.0  # of a process that ends


class Step(Enum):
    """What the election wants done."""

    TAKE = "take"
    RENEW = "renew"
    WAIT = "wait"
    LOST = "lost"


class Election:
    """Rules of the election; the time is given with each question.

    Args:
        identity: ours, different in each process, also after a restart.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.lease: Lease | None = None
        self._seen_at: float | None = None
        self._orphaned = False  # it vanished while another held it, who will make it anew
        self._sent_at: float | None = None  # of the last renewal that came through

    def see(self, lease: Lease | None, now: float) -> None:
        """Note what was read; only a change of it restarts the count."""
        before = self.lease.resource_version if self.lease else ""
        after = lease.resource_version if lease else ""
        if self._seen_at is None or before != after:
            self._seen_at = now
            self._orphaned = lease is None and not self._free()
        self.lease = lease

    def written(self, lease: Lease, sent_at: float, now: float) -> None:
        """Our write came through."""
        self.see(lease, now)
        self._sent_at = sent_at

    def leading(self, now: float) -> bool:
        """Whether a request may begin now."""
        return self._sent_at is not None and now - self._sent_at < RENEW_DEADLINE_SECONDS

    def step(self, now: float) -> Step:
        """What to do now."""
        if self._sent_at is not None:
            overtaken = self.lease is None or self.lease.holder != self.identity
            return Step.RENEW if self.leading(now) and not overtaken else Step.LOST
        if self._free() and not self._orphaned:
            return Step.TAKE
        seen_at = now if self._seen_at is None else self._seen_at
        return Step.TAKE if now - seen_at >= LEASE_SECONDS else Step.WAIT

    def _free(self) -> bool:
        """Nobody else's. Our own name without a renewal: the answer to our write was lost."""
        return self.lease is None or self.lease.holder in {"", self.identity}

    def seconds_to_expiry(self, now: float) -> float:
        """How long a standby waits before the holder counts as dead."""
        return max(0.0, LEASE_SECONDS - (now - (self._seen_at or now)))

    def next_record(self, moment: datetime) -> Lease:
        """The record that takes or renews."""
        before = self.lease or Lease("")
        if self._sent_at is not None:
            return replace(before, renewed_at=moment)
        return Lease(
            holder=self.identity,
            transitions=before.transitions + (self.lease is not None),
            acquired_at=moment,
            renewed_at=moment,
            resource_version=before.resource_version,
        )

    def released_record(self, moment: datetime) -> Lease | None:
        """The record that lets go, None when we do not hold it."""
        if self._sent_at is None or self.lease is None or self.lease.holder != self.identity:
            return None
        return replace(self.lease, holder="", renewed_at=moment)

    def let_go(self) -> None:
        """Never lead again in this process."""
        self._sent_at = None


class Elector:
    """Takes part in the election until it is lost or released.

    Args:
        store: where the Lease lies.
        identity: see ``Election``.
        clock: monotonic for decisions, UTC for people.
        log: where changes are told.
        on_leading: called once, when we begin to lead.
        on_lost: called once, when we no longer lead; it ends the process.
    """

    def __init__(
        self,
        store: LeaseStore,
        identity: str,
        clock: Clock,
        log: Log,
        *,
        on_leading: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._store = store
        self._election = Election(identity)
        self._clock = clock
        self._log = log
        self._on_leading, self._on_lost = on_leading, on_lost
        self._led = False
        self._busy = asyncio.Lock()  # one step at a time: each write names the version before it
        self._released = False

    @property
    def leading(self) -> bool:
        """Whether a write may begin now."""
        return self._election.leading(self._clock.monotonic())

    async def run(self) -> None:
        """Take part; returns when leadership was had and lost."""
        while await self.turn():
            await self._pause()

    async def turn(self) -> bool:
        """One step; False once leadership was lost or let go."""
        async with self._busy:
            return not self._released and await self._step()

    async def _step(self) -> bool:
        step = self._election.step(self._clock.monotonic())
        if step is Step.WAIT:
            await self._look()
            step = self._election.step(self._clock.monotonic())
        if step in {Step.TAKE, Step.RENEW}:
            await self._write()
            step = self._election.step(self._clock.monotonic())
        if step is Step.LOST:
            self._lose()
            return False
        return True

    async def release(self) -> None:
        """Let go at once, so that a standby need not wait; a failure only costs time.

        A renewal under way is waited for: it makes the version that letting go has to name. No
        further step is taken, or this process would take its own free Lease again.
        """
        self._released = True
        try:
            async with asyncio.timeout(RELEASE_SECONDS), self._busy:
                await self._let_go()
        except TimeoutError:
            self._log.warning(Event.LEASE_REFUSED, detail="the API server does not answer")

    async def _let_go(self) -> None:
        record = self._election.released_record(self._clock.utc())
        self._election.let_go()
        if record is None:
            return
        try:
            await self._store.write(record)
        except OperatorError as error:
            self._log.warning(Event.LEASE_REFUSED, detail=error.detail)

    async def _look(self) -> None:
        try:
            self._election.see(await self._store.read(), self._clock.monotonic())
        except OperatorError as error:
            self._log.warning(Event.LEASE_REFUSED, detail=error.detail)

    async def _write(self) -> None:
        if self._election.lease is None:
            await self._look()
            if self._election.step(self._clock.monotonic()) is not Step.TAKE:
                return
        sent_at = self._clock.monotonic()
        try:
            written = await self._store.write(self._election.next_record(self._clock.utc()))
        except (Conflict, NotFound):
            # Somebody was faster, or an answer of ours was lost on its way; or it was deleted.
            await self._look()
        except OperatorError as error:
            self._log.warning(Event.LEASE_REFUSED, detail=error.detail)
        else:
            self._election.written(written, sent_at, self._clock.monotonic())
            self._lead()

    def _lead(self) -> None:
        if not self._led:
            self._led = True
            self._log.info(Event.LEADING)
            self._on_leading()

    def _lose(self) -> None:
        self._election.let_go()
        self._log.error(Event.LEADERSHIP_LOST)
        self._on_lost()

    async def _pause(self) -> None:
        """Between renewals two seconds; a standby wakes when the Lease changes or runs out."""
        now = self._clock.monotonic()
        if self._election.step(now) is not Step.WAIT:
            await asyncio.sleep(RETRY_SECONDS)
            return
        lease = self._election.lease
        version = lease.resource_version if lease else ""
        limit = self._election.seconds_to_expiry(now) + RETRY_SECONDS / 10
        try:
            async with asyncio.timeout(limit):
                await self._store.changed(version)
        except TimeoutError:
            return  # nobody renewed: the next turn takes it
        except OperatorError as error:
            self._log.warning(Event.LEASE_REFUSED, detail=error.detail)
            await asyncio.sleep(RETRY_SECONDS)
