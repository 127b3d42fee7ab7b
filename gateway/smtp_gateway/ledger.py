"""What became of each recipient of each message, so that a repeat sends only what is missing.

A client repeats after a lost or temporary reply; the API has no idempotency key. Whatever may have
been accepted is therefore remembered here, under a keyed hash of account, reverse path, recipient
and content (smtp-server 4.3). Held are hashes and ids, never an address.

    claim          absent -> in flight            the caller sends
                   unknown -> in flight           the caller looks into the API's log first
    settle         in flight -> accepted, refused, unknown, or absent when certainly not accepted
    confirm        accepted, refused -> kept 15 minutes or dropped: the client has its 250

``Ledger`` is the interface; a store shared by replicas comes behind the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import partial
from typing import Protocol

from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import Clock

UNRESOLVED_SECONDS = 72 * 3600.0
MAX_ENTRIES = 100_000


class State(StrEnum):
    """Values are those of ``smtp_ledger_entries{state}``."""

    IN_FLIGHT = "in_flight"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one recipient of one message.

    Attributes:
        state: see ``State``.
        submission_id: the gateway's id of the message that got this outcome.
        api_id: UUID of the API, when accepted.
        refusal: class name of the error, when refused.
        message_id: ``Message-ID`` of the attempt, to find it in the API's log.
        first_attempt_wall: when the first unconfirmed attempt began, seconds since 1970.
        last_attempt_wall: when the last one did.
    """

    state: State
    submission_id: str = ""
    api_id: str = ""
    refusal: str = ""
    message_id: str = ""
    first_attempt_wall: float = 0.0
    last_attempt_wall: float = 0.0


class Keep(Enum):
    """How long a final outcome stays after the client has its reply; values in seconds."""

    DROP = 0.0
    AFTER_REPLY = 15 * 60.0
    IDEMPOTENT = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer to ``claim``.

    Attributes:
        mine: the caller owns the entry now and must ``settle`` it.
        before: what was known: None when nothing, else accepted, refused, unknown, or in flight
            (then another call runs and ``wait`` tells its end).
    """

    mine: bool
    before: Entry | None


class Ledger(Protocol):
    """What delivery needs. Every method ends soon but ``wait``."""

    async def claim(self, key: bytes) -> Claim:
        """Take the entry if nobody has it and nothing final is known."""
        ...

    async def wait(self, key: bytes, *, timeout_seconds: float) -> None:
        """Return when the running call of this key has settled, or at the limit."""
        ...

    async def settle(self, key: bytes, entry: Entry | None) -> None:
        """End a claim: with what is known now, or None when certainly not accepted."""
        ...

    async def confirm(self, key: bytes, keep: Keep) -> None:
        """The client got its final reply: what is known is kept that long, or dropped.

        What was confirmed before stays as it was: a repeat does not prolong it.
        """
        ...


def entry_key(
    secret: bytes, *, account: str, mail_from: str, recipient: str, content: bytes
) -> bytes:
    """HMAC over what makes a message to one recipient the same again (smtp-server 4.3).

    Args:
        secret: shared by replicas that share a store.
        account: the account that sends.
        mail_from: reverse path.
        recipient: one of the envelope's distinct ones.
        content: the message's digest, or the client's idempotency key with a mark of its own.
    """
    parts = (account.encode(), mail_from.encode(), recipient.encode(), content)
    # Lengths first: no two ways to split the same bytes give one key.
    lengths = b"".join(len(part).to_bytes(4, "big") for part in parts)
    return hmac.digest(secret, lengths + b"".join(parts), "sha256")


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry on its shelf; ``expires`` is monotonic."""

    entry: Entry
    expires: float


Shelf = OrderedDict[bytes, _Kept]
"""Entries of one length of life, so in the order of their expiry. Not a plain dict, whose first
key is slow to find once many first keys were removed."""


class InProcessLedger:
    """The ledger of one process.

    Args:
        clock: monotonic time.
        metrics: gauges of its entries, counters of its hits.
        max_entries: bound; what is unresolved leaves last, a running call never.
    """

    def __init__(self, clock: Clock, metrics: Metrics, *, max_entries: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._hits = metrics.ledger_hits
        self._max_entries = max_entries
        self._running: dict[bytes, asyncio.Event] = {}
        self._confirmed: dict[Keep, Shelf] = {
            Keep.AFTER_REPLY: OrderedDict(),
            Keep.IDEMPOTENT: OrderedDict(),
        }
        self._settled: Shelf = OrderedDict()
        self._unknown: Shelf = OrderedDict()
        self._shelves = (*self._confirmed.values(), self._settled, self._unknown)
        self._counts = dict.fromkeys(State, 0)
        for state in State:
            metrics.ledger_entries[state.value].set_function(partial(self.count, state))

    def __len__(self) -> int:
        """How many entries there are."""
        return sum(self._counts.values())

    def count(self, state: State) -> int:
        """How many entries are in this state."""
        return self._counts[state]

    async def claim(self, key: bytes) -> Claim:
        """See ``Ledger``."""
        self._expire()
        if key in self._running:
            self._hits[State.IN_FLIGHT.value].inc()
            return Claim(mine=False, before=Entry(State.IN_FLIGHT))
        before = self._find(key)
        if before is not None:
            self._hits[before.state.value].inc()
            if before.state is not State.UNKNOWN:
                return Claim(mine=False, before=before)
            self._remove(self._unknown, key)
        self._running[key] = asyncio.Event()
        self._counts[State.IN_FLIGHT] += 1
        self._evict()
        return Claim(mine=True, before=before)

    async def wait(self, key: bytes, *, timeout_seconds: float) -> None:
        """See ``Ledger``."""
        running = self._running.get(key)
        if running is None:
            return
        with contextlib.suppress(TimeoutError):  # the limit is one of the two ways to return
            async with asyncio.timeout(timeout_seconds):
                await running.wait()

    async def settle(self, key: bytes, entry: Entry | None) -> None:
        """See ``Ledger``."""
        running = self._running.pop(key, None)
        if running is not None:
            self._counts[State.IN_FLIGHT] -= 1
            running.set()
        if entry is not None:
            shelf = self._unknown if entry.state is State.UNKNOWN else self._settled
            self._put(shelf, key, entry, UNRESOLVED_SECONDS)

    async def confirm(self, key: bytes, keep: Keep) -> None:
        """See ``Ledger``."""
        self._expire()
        kept = self._settled.get(key)
        if kept is None:
            return
        self._remove(self._settled, key)
        if keep is not Keep.DROP:
            self._put(self._confirmed[keep], key, kept.entry, keep.value)

    def _find(self, key: bytes) -> Entry | None:
        for shelf in self._shelves:
            if (kept := shelf.get(key)) is not None:
                return kept.entry
        return None

    def _put(self, shelf: Shelf, key: bytes, entry: Entry, life_seconds: float) -> None:
        for other in self._shelves:
            self._remove(other, key)
        shelf[key] = _Kept(entry, self._clock.monotonic() + life_seconds)
        self._counts[entry.state] += 1

    def _remove(self, shelf: Shelf, key: bytes) -> None:
        kept = shelf.pop(key, None)
        if kept is not None:
            self._counts[kept.entry.state] -= 1

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for shelf in self._shelves:
            while shelf and shelf[oldest := next(iter(shelf))].expires <= now:
                self._remove(shelf, oldest)

    def _evict(self) -> None:
        for shelf in self._shelves:
            while shelf and len(self) > self._max_entries:
                self._remove(shelf, next(iter(shelf)))
