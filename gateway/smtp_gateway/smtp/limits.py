"""Counters per client address, with the clock handed in.

Each counter checks and counts in one step: a check that awaits before it counts lets two hundred
parallel clients through a limit of ten. Memory is bounded by the number of addresses kept; the
least recently seen one leaves first.
"""

from __future__ import annotations

import ipaddress
import math
from array import array
from collections import OrderedDict
from functools import lru_cache
from typing import Final, Generic, TypeVar

from smtp_gateway.errors import RateLimited
from smtp_gateway.utils.clock import Clock

T = TypeVar("T")

WINDOW_SECONDS: Final = 60  # the setting is "mails a minute"
TICKS_PER_SECOND: Final = 4  # how fine time is told; a mail leaves the window at most 1/4 s late
# One cell more than the window holds, so that no span of 60 s ever sees more than the limit.
CELLS: Final = WINDOW_SECONDS * TICKS_PER_SECOND + 1
MAX_ADDRESSES: Final = 10_000  # about 1 KiB each


@lru_cache(maxsize=4_096)
def network_of(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 /64, which one host has to itself.

    An IPv4 address in IPv6 clothes is the IPv4 address. What is no address counts as itself.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False))


class Recent(Generic[T]):
    """A dictionary that keeps the ``capacity`` most recently used entries."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[object, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: object) -> T | None:
        """The entry, which is now the most recently used one; or None."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: object, entry: T) -> T:
        """Keep an entry; the one unused for longest leaves when there is no room."""
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self.capacity:
            self._entries.popitem(last=False)
        return entry


class _Window:
    """How many in the last minute: a ring of counts, one a tick."""

    __slots__ = ("_cells", "_tick", "total")

    def __init__(self, tick: int) -> None:
        self._cells = array("I", [0]) * CELLS
        self._tick = tick
        self.total = 0

    def advance(self, tick: int) -> None:
        """Forget what has left the window; after a pause of a window that is everything."""
        for passed in range(max(self._tick, tick - CELLS) + 1, tick + 1):
            self.total -= self._cells[passed % CELLS]
            self._cells[passed % CELLS] = 0
        self._tick = max(self._tick, tick)

    def count(self) -> None:
        """One more, now."""
        self._cells[self._tick % CELLS] += 1
        self.total += 1

    def ticks_until_next(self) -> int:
        """When the oldest one leaves."""
        oldest = next(t for t in range(CELLS) if self._cells[(self._tick + 1 + t) % CELLS])
        return oldest + 1


class MailRate:
    """Mails a minute from one client address, over a sliding minute.

    Args:
        clock: where the time comes from.
        capacity: how many addresses are remembered.
    """

    def __init__(self, clock: Clock, *, capacity: int = MAX_ADDRESSES) -> None:
        self._clock = clock
        self._windows: Recent[_Window] = Recent(capacity)

    def take(self, address: str, limit: int) -> None:
        """Count one mail from ``address``, or refuse it uncounted; 0 means no limit.

        Raises:
            RateLimited: ``limit`` mails came within the last minute; tells the seconds to wait.
        """
        if limit <= 0:
            return
        tick = math.floor(self._clock.monotonic() * TICKS_PER_SECOND)
        key = network_of(address)
        window = self._windows.get(key) or self._windows.put(key, _Window(tick))
        window.advance(tick)
        if window.total >= limit:
            raise RateLimited(seconds=math.ceil(window.ticks_until_next() / TICKS_PER_SECOND))
        window.count()
