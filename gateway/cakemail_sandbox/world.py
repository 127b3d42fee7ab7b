"""The state of one run, and the house that outlives it.

A reset replaces the whole ``World``: what was still going on in the old one ends there and cannot
leak into the next test. Requests hold on to the world in which they began.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from cakemail_sandbox.capture import Capture
from cakemail_sandbox.deviations import Behaviour
from cakemail_sandbox.faults import Faults
from cakemail_sandbox.logins import Logins
from cakemail_sandbox.seed import Account, Seed
from cakemail_sandbox.settings import SandboxSettings


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A mail as the API keeps it: what the look-up and the log show."""

    id: str
    account: Account
    status: str
    submitted_at: float
    request: dict[str, object]
    sender_name: str
    sender_email: str


class RateLimiter:
    """A token bucket. Fair and exact: what is over the rate is refused, nothing else."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._level: float | None = None
        self._at = 0.0

    def take(self, *, per_second: float, burst: int) -> int:
        """0 when the call may go on, otherwise the seconds until one may."""
        now = self._now()
        level = float(burst) if self._level is None else self._level
        level = min(float(burst), level + (now - self._at) * per_second)
        self._at = now
        if level >= 1:
            self._level = level - 1
            return 0
        self._level = level
        return max(1, math.ceil((1 - level) / per_second))


class World:
    """Everything that a reset forgets."""

    def __init__(self, seed: Seed, settings: SandboxSettings, now: Callable[[], float]) -> None:
        self.seed = seed
        self.now = now
        self.behaviour = Behaviour()
        self.faults = Faults()
        self.logins = Logins(seed, now)
        self.limiter = RateLimiter(now)
        self.capture = Capture(kept_requests=settings.kept_requests, kept_bytes=settings.kept_bytes)
        self.mails: dict[str, StoredMail] = {}
        self.sent_by_account: Counter[int] = Counter()
        self.endings: set[Callable[[], None]] = set()
        self._over = asyncio.Event()

    def end(self) -> None:
        """Let nothing of this run go on: waits end, hanging connections close."""
        self._over.set()
        for ending in tuple(self.endings):
            ending()

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, or end at once when this world does."""
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return


class ConnectionMeter:
    """TCP connections that carried requests to the API (not to the sandbox's own pages).

    It is how a test finds a client that opens a connection for each message.
    """

    def __init__(self) -> None:
        self.made = 0
        self.open: set[int] = set()
        self.carried: set[int] = set()
        self.most = 0

    def opened(self) -> int:
        """A connection was made; its number."""
        self.made += 1
        return self.made

    def used(self, number: int) -> None:
        """A request to the API arrived on it."""
        self.open.add(number)
        self.carried.add(number)
        self.most = max(self.most, len(self.open))

    def closed(self, number: int) -> None:
        """A connection has ended."""
        self.open.discard(number)

    def begin(self) -> None:
        """Count anew; connections that are open stay so."""
        self.carried = set()
        self.most = 0


class House:
    """One running sandbox: settings, seed, connections, and the present world."""

    def __init__(
        self, settings: SandboxSettings, seed: Seed, now: Callable[[], float] = time.time
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.now = now
        self.meter = ConnectionMeter()
        self.world = World(seed, settings, now)

    def reset(self, seed: Seed | None = None) -> None:
        """Begin anew, with the same seed or another."""
        self.world.end()
        self.seed = seed or self.seed
        self.world = World(self.seed, self.settings, self.now)
        self.meter.begin()
