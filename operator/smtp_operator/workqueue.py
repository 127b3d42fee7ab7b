"""What to look at next: one entry a key, users' edits first, patience after a failure.

``Agenda`` is the pure part: who is due, given the time. ``WorkQueue`` waits around it for the
workers. A key is never handed out twice at once: what is added while it runs makes it due again
when the run is done. ``TokenBucket`` holds all requests of the program to a rate, urgent ones
first, so that an edit does not wait behind a thousand gateways that are read at start. A run that
an edit of its own gateway waits for is as urgent as the edit.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from enum import IntEnum
from typing import Generic, NamedTuple, TypeVar

from smtp_operator.telemetry import QueueMetrics
from smtp_operator.utils.clock import Clock

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_SECONDS = 0.005
LONGEST_BACKOFF_SECONDS = 1000.0
MOST_DOUBLINGS = 18  # 5 ms * 2^18 is above the longest already


class Priority(IntEnum):
    """Lower goes first. A thousand fleets made at once do not keep an edit of another waiting."""

    EDIT = 0
    NEW = 1
    ROUTINE = 2

    @property
    def label(self) -> str:
        """As metrics name it."""
        return self.name.lower()


class Urgency:
    """Of one run: its own priority, or that of what has come to wait for its end."""

    def __init__(self, priority: Priority) -> None:
        self.priority = priority

    def rise(self, priority: Priority) -> None:
        """Become as urgent as that, and never less urgent again."""
        self.priority = min(self.priority, priority)


URGENCY: ContextVar[Urgency] = ContextVar("urgency")
"""Of what runs now; the bucket asks."""

EVER_URGENT = Urgency(Priority.EDIT)
"""Of what runs outside of a look."""


class Due(NamedTuple, Generic[K]):
    """One key handed to a worker."""

    key: K
    priority: Priority
    since: float
    urgency: Urgency


class _Run:
    """A key that a worker has, and what was added meanwhile: its priority, and since when."""

    def __init__(self, priority: Priority) -> None:
        self.urgency = Urgency(priority)
        self.added: tuple[Priority, float] | None = None

    def add(self, priority: Priority, now: float) -> None:
        self.urgency.rise(priority)
        before = self.added
        self.added = (priority, now) if before is None else (min(priority, before[0]), before[1])


class Agenda(Generic[K]):
    """Which keys wait, run, or come later. No clock, no waiting.

    Args:
        jitter: a factor around 1 for a delay, so that fleets that failed together do not come
            back together.
    """

    def __init__(self, jitter: Callable[[], float] = lambda: 1.0) -> None:
        self._jitter = jitter
        self._waiting: dict[Priority, OrderedDict[K, float]] = {p: OrderedDict() for p in Priority}
        self._running: dict[K, _Run] = {}
        self._later: dict[K, tuple[float, Priority]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._owed: dict[K, float] = {}  # since when a good look is; see ``oldest``

    def add(self, key: K, priority: Priority, now: float) -> None:
        """Make a key due at once; a second add only raises its priority."""
        self._owed.setdefault(key, now)
        if key in self._running:
            self._running[key].add(priority, now)
            return
        for other, line in self._waiting.items():
            if key in line:
                if priority < other:
                    self._waiting[priority][key] = line.pop(key)
                return
        self._waiting[priority][key] = now

    def add_at(self, key: K, due: float, priority: Priority) -> None:
        """Make a key due at a time; an earlier time that is already noted stays."""
        noted = self._later.get(key)
        if noted is not None and noted[0] <= due:
            self._later[key] = (noted[0], min(priority, noted[1]))
            return
        self._later[key] = (due, priority)
        heapq.heappush(self._heap, (due, next(self._order), key))

    def retry(self, key: K, now: float, priority: Priority, at_least: float = 0.0) -> float:
        """Make a key due after its back-off, and return that in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        doubled: float = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, MOST_DOUBLINGS)
        delay = max(min(doubled * self._jitter(), LONGEST_BACKOFF_SECONDS), at_least)
        self.add_at(key, now + delay, priority)
        return delay

    def succeed(self, key: K) -> None:
        """Forget earlier failures of a key; what was added during this run is still owed."""
        self._failures.pop(key, None)
        self._owed.pop(key, None)
        run = self._running.get(key)
        if run is not None and run.added is not None:
            self._owed[key] = run.added[1]

    def forget(self, key: K) -> None:
        """Forget failures and what was planned for later: the object is gone."""
        self._failures.pop(key, None)
        self._later.pop(key, None)

    def take(self, now: float, *, lowest: Priority = Priority.ROUTINE) -> Due[K] | None:
        """The next due key, marked as running; None when nothing of that priority is due."""
        self._ripen(now)
        for priority, line in self._waiting.items():
            if line and priority <= lowest:
                key, since = line.popitem(last=False)
                run = self._running[key] = _Run(priority)
                return Due(key, priority, since, run.urgency)
        return None

    def done(self, key: K, now: float) -> None:
        """The worker is through; what was added meanwhile is due now."""
        added = self._running.pop(key).added
        if added is not None:
            self.add(key, added[0], now)

    def next_due(self) -> float | None:
        """When the earliest later key comes due."""
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def depth(self, priority: Priority) -> int:
        """How many keys wait now."""
        return len(self._waiting[priority])

    def oldest(self) -> float | None:
        """Since when the key is due that has had no good look for longest.

        It may wait in line, hang in its run, or fail again and again: a user sees no difference.
        """
        return min(self._owed.values(), default=None)

    def failures(self, key: K) -> int:
        """How often in a row a key has failed."""
        return self._failures.get(key, 0)

    def _ripen(self, now: float) -> None:
        self._drop_stale()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            _, priority = self._later.pop(key)
            self.add(key, priority, due)
            self._drop_stale()

    def _drop_stale(self) -> None:
        """Entries whose time was moved forward, or whose key was forgotten."""
        while self._heap:
            due, _, key = self._heap[0]
            noted = self._later.get(key)
            if noted is not None and noted[0] == due:
                return
            heapq.heappop(self._heap)


def default_jitter() -> float:
    """Half to one and a half."""
    return random.uniform(0.5, 1.5)  # noqa: S311  # spreads load, guards nothing


class WorkQueue(Generic[K]):
    """The agenda, with workers that wait for it.

    Args:
        clock: what time is measured with.
        metrics: depth, waiting time.
        jitter: see ``Agenda``.
    """

    def __init__(
        self, clock: Clock, metrics: QueueMetrics, jitter: Callable[[], float] = default_jitter
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._agenda: Agenda[K] = Agenda(jitter)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def add(self, key: K, priority: Priority = Priority.EDIT) -> None:
        """Look at a key as soon as a worker is free."""
        self._agenda.add(key, priority, self._clock.monotonic())
        self._changed()

    def add_after(self, key: K, seconds: float, priority: Priority = Priority.ROUTINE) -> None:
        """Look at a key after so many seconds, or earlier if that was planned."""
        self._agenda.add_at(key, self._clock.monotonic() + seconds, priority)
        self._changed()

    def retry(self, key: K, priority: Priority = Priority.EDIT, *, at_least: float = 0.0) -> float:
        """Look again after the key's back-off, which is returned in seconds."""
        delay = self._agenda.retry(key, self._clock.monotonic(), priority, at_least)
        self._changed()
        return delay

    def succeed(self, key: K) -> None:
        """See ``Agenda``."""
        self._agenda.succeed(key)

    def forget(self, key: K) -> None:
        """See ``Agenda``."""
        self._agenda.forget(key)

    async def take(self, *, lowest: Priority = Priority.ROUTINE) -> Due[K] | None:
        """Wait for a key; None once the queue is closed. ``done`` must follow."""
        while not self._closed:
            due = self._agenda.take(self._clock.monotonic(), lowest=lowest)
            if due is not None:
                self._metrics.waited(due.priority.label, self._clock.monotonic() - due.since)
                self._measure()
                return due
            await self._wait()
        return None

    def done(self, key: K) -> None:
        """The worker is through with a key."""
        self._agenda.done(key, self._clock.monotonic())
        self._changed()

    def close(self) -> None:
        """Hand out nothing more; waiting workers get None."""
        self._closed = True
        self._changed()

    def oldest_seconds(self) -> float:
        """How long the key is due that has had no good look for longest."""
        since = self._agenda.oldest()
        return 0.0 if since is None else max(0.0, self._clock.monotonic() - since)

    def _changed(self) -> None:
        self._measure()
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        due = self._agenda.next_due()
        limit = None if due is None else max(0.0, due - self._clock.monotonic())
        await asyncio.wait((waiter,), timeout=limit)

    def _measure(self) -> None:
        for priority in Priority:
            self._metrics.depth(priority.label, self._agenda.depth(priority))


class TokenBucket:
    """Requests of the whole program: a rate, a burst, and urgent ones first.

    Args:
        clock: what time is measured with.
        rate: tokens a second.
        burst: tokens when rested.
    """

    def __init__(self, clock: Clock, *, rate: float, burst: int) -> None:
        self._clock = clock
        self._rate, self._burst = rate, float(burst)
        self._tokens, self._filled_at = float(burst), clock.monotonic()
        self._waiting: list[tuple[Urgency, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for a token."""
        if not self._waiting and self._spend():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((URGENCY.get(EVER_URGENT), waiter))
        self.hand_out()
        await waiter

    def _spend(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def hand_out(self) -> None:
        """Give tokens to those that wait, as far as they reach; the timer calls it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # Some task may have been cancelled while it waited.
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
        while self._waiting:
            if not self._spend():
                wait = (1.0 - self._tokens) / self._rate
                self._timer = asyncio.get_running_loop().call_later(wait, self.hand_out)
                return
            # Asked for only now: it may have risen meanwhile. The first of equals, as min has it.
            entry = min(self._waiting, key=lambda entry: entry[0].priority)
            self._waiting.remove(entry)
            entry[1].set_result(None)
