"""How many submissions may be in flight, and whose turn it is (smtp-server 4.6).

Two gates, in this order. The *account's*: the API throttles accounts, so a 429 pauses one account
and halves its concurrency, and no other account notices. The *process's*: one first-in first-out
limit in front of the HTTP pool, whose own queue is unfair (performance 2.4). One account never gets
all places: a slow or throttled tenant must not be felt by the others.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass

from smtp_gateway.errors import Throttled, Unavailable
from smtp_gateway.utils.clock import Clock

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_TOLD_PAUSE_SECONDS = 3600.0
"""A pause the API asked for is believed up to an hour; then one call asks again."""

MAX_ACCOUNTS = 10_000
HOLD_WEIGHT = 0.05
"""Weight of the newest call in the mean holding time: about the last twenty count."""


class FifoLimit:
    """At most ``limit`` holders; the others wait in the order they came.

    A waiter that is cancelled leaves the queue; one that is cancelled in the moment it was given
    its place passes the place on.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def held(self) -> int:
        """Places taken now."""
        return self._held

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def queue_length(self) -> float:
        """How many holding times a newcomer would wait; 0 when a place is free."""
        if self._held < self.limit and not self._waiting:
            return 0.0
        return (len(self._waiting) + 1) / self.limit

    async def acquire(self, *, timeout_seconds: float) -> bool:
        """Take a place; False when none came free in time."""
        if self._held < self.limit and not self._waiting:
            self._held += 1
            return True
        return await self._queue(timeout_seconds)

    async def _queue(self, timeout_seconds: float) -> bool:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(timeout_seconds):
                await place
        except BaseException as error:
            self._leave(place)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def _leave(self, place: asyncio.Future[None]) -> None:
        if place.done() and not place.cancelled():
            self.release()
        elif place in self._waiting:
            self._waiting.remove(place)

    def release(self) -> None:
        """Give the place back."""
        self._held -= 1
        self.wake()

    def wake(self) -> None:
        """Let as many in as fit, oldest first."""
        while self._waiting and self._held < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self._held += 1
                place.set_result(None)


@dataclass(slots=True)
class _Account:
    """What one account's answers taught us.

    Attributes:
        gate: its own limit on calls in flight.
        paused_until: monotonic; no call before.
        pause_seconds: the next pause, if the API does not say how long.
        changed: when the limit last moved, monotonic.
        users: calls that hold or wait; an account in use is never forgotten.
    """

    gate: FifoLimit
    paused_until: float = 0.0
    pause_seconds: float = FIRST_PAUSE_SECONDS
    changed: float = 0.0
    users: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """A place in flight; give it back with ``Slots.release``."""

    key: Hashable
    account: _Account
    began: float


class Slots:
    """The two gates.

    Args:
        limit: submissions in flight, all accounts together.
        clock: monotonic time.
        on_wait: told the seconds each submission waited for its place.
        share: the part of all places that one account may hold.
        chance: a number in [0, 1), for the jitter of pauses nobody asked for.
        sleep: how to wait for a pause to pass.
    """

    def __init__(
        self,
        limit: int,
        clock: Clock,
        *,
        on_wait: Callable[[float], None] = lambda _: None,
        share: float = 0.75,
        chance: Callable[[], float] = random.random,  # noqa: S311  # jitter is no secret
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._all = FifoLimit(limit)
        self._clock = clock
        self._on_wait = on_wait
        self._account_limit = max(1, int(limit * share))
        self._chance = chance
        self._sleep = sleep
        self._accounts: OrderedDict[Hashable, _Account] = OrderedDict()
        self._hold_seconds = 0.0

    @property
    def in_use(self) -> int:
        """Submissions in flight now."""
        return self._all.held

    def expected_wait_seconds(self, key: Hashable) -> float:
        """How long a submission of this account that comes now would wait, estimated."""
        account = self._accounts.get(key)
        own = 0.0 if account is None else account.gate.queue_length()
        return max(own, self._all.queue_length()) * self._hold_seconds

    def pause_seconds(self, key: Hashable) -> float:
        """How long this account is still paused; 0 when it is not."""
        account = self._accounts.get(key)
        return 0.0 if account is None else max(0.0, account.paused_until - self._clock.monotonic())

    def account_limit(self, key: Hashable) -> int:
        """How many calls in flight this account may have now."""
        account = self._accounts.get(key)
        return self._account_limit if account is None else account.gate.limit

    async def acquire(self, key: Hashable, *, deadline: float) -> Lease:
        """Wait for a place.

        Args:
            key: the account that sends.
            deadline: monotonic; no place by then is an error.

        Raises:
            Throttled: the account is paused beyond the deadline. Fact: ``seconds``.
            Unavailable: no place came free in time.
        """
        began = self._clock.monotonic()
        account = self._enter(key)
        try:
            await self._pass_account(account, deadline)
        except BaseException:  # a cancelled caller gives its places back as well
            self._exit(key, account)
            raise
        try:
            await self._take(self._all, deadline)
        except BaseException:  # as above, the account's place too
            account.gate.release()
            self._exit(key, account)
            raise
        now = self._clock.monotonic()
        self._on_wait(now - began)
        return Lease(key, account, now)

    async def _pass_account(self, account: _Account, deadline: float) -> None:
        while True:
            await self._sit_out(account, deadline)
            await self._take(account.gate, deadline)
            if account.paused_until <= self._clock.monotonic():
                return
            account.gate.release()  # paused while waiting for the place

    async def _sit_out(self, account: _Account, deadline: float) -> None:
        while (now := self._clock.monotonic()) < account.paused_until:
            left = account.paused_until - now
            if account.paused_until >= deadline:
                raise Throttled("account is paused", seconds=math.ceil(left))
            await self._sleep(left)

    async def _take(self, gate: FifoLimit, deadline: float) -> None:
        left = deadline - self._clock.monotonic()
        if left <= 0 or not await gate.acquire(timeout_seconds=left):
            raise Unavailable("no place before the deadline")

    def release(self, lease: Lease) -> None:
        """Give the place back."""
        held = self._clock.monotonic() - lease.began
        self._hold_seconds += (held - self._hold_seconds) * (
            HOLD_WEIGHT if self._hold_seconds else 1.0
        )
        self._all.release()
        lease.account.gate.release()
        self._exit(lease.key, lease.account)

    def succeeded(self, lease: Lease) -> None:
        """The account was served: give back one place per good second."""
        account = lease.account
        account.pause_seconds = FIRST_PAUSE_SECONDS
        now = self._clock.monotonic()
        if account.gate.limit < self._account_limit and now - account.changed >= 1.0:
            account.gate.limit += 1
            account.changed = now
            account.gate.wake()

    def throttled(self, lease: Lease, *, seconds: float | None) -> None:
        """The account met a 429: pause it and halve its concurrency.

        Args:
            lease: the place of the call.
            seconds: what Retry-After asked for; None when it did not say.
        """
        account = lease.account
        now = self._clock.monotonic()
        if lease.began > account.changed:  # calls of the same burst halve once, not each
            account.gate.limit = max(1, min(account.gate.held, account.gate.limit) // 2)
            account.changed = now
        told = seconds if seconds is not None else self._next_pause(account)
        until = now + min(told, LONGEST_TOLD_PAUSE_SECONDS)
        account.paused_until = max(account.paused_until, until)

    def _next_pause(self, account: _Account) -> float:
        pause = account.pause_seconds
        account.pause_seconds = min(pause * 2, LONGEST_PAUSE_SECONDS)
        return pause * (0.5 + self._chance() / 2)

    def _enter(self, key: Hashable) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            self._make_room()
            account = self._accounts[key] = _Account(FifoLimit(self._account_limit))
        account.users += 1
        return account

    def _exit(self, key: Hashable, account: _Account) -> None:
        account.users -= 1
        if account.users or account.gate.limit < self._account_limit:
            return
        if account.paused_until <= self._clock.monotonic():
            self._accounts.pop(key, None)  # nothing learnt, nothing to keep

    def _make_room(self) -> None:
        if len(self._accounts) < MAX_ACCOUNTS:
            return
        idle = next((key for key, account in self._accounts.items() if not account.users), None)
        if idle is not None:
            del self._accounts[idle]
