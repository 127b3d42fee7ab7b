"""What is remembered, for how long, and never twice fetched at once.

``Remembered`` forgets by age and by count: a client that invents names must not fill memory.
``Flights`` joins callers that want the same thing: a hundred sessions that log in with one
credential make one call. The call belongs to nobody in particular, so a caller that is cancelled
or gives up takes it from no one else.
"""

from __future__ import annotations

import asyncio
import copy
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from smtp_gateway.errors import GatewayError, Unavailable
from smtp_gateway.utils.clock import Clock
from smtp_gateway.utils.tasks import TaskOwner

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values with an end, the least recently used leaving first when there are too many.

    Args:
        clock: tells when a value has ended.
        capacity: the most values kept.
    """

    def __init__(self, clock: Clock, *, capacity: int) -> None:
        self._clock = clock
        self._capacity = capacity
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        """How many are kept, ended ones that nobody asked for since included."""
        return len(self._values)

    def get(self, key: K) -> V | None:
        """The value, or None when absent or ended."""
        found = self._values.get(key)
        if found is None:
            return None
        if found[0] <= self._clock.monotonic():
            del self._values[key]
            return None
        self._values.move_to_end(key)
        return found[1]

    def put(self, key: K, value: V, *, life_seconds: float) -> None:
        """Keep a value from now on."""
        self._values[key] = (self._clock.monotonic() + life_seconds, value)
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            self._values.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget one; absent is fine."""
        self._values.pop(key, None)


@dataclass(frozen=True, slots=True)
class _Failed:
    """An expected failure, carried as a value: only defects fail a task."""

    error: GatewayError


class Flights(Generic[K, V]):
    """One call per key at a time; whoever comes meanwhile waits for the same answer.

    Args:
        tasks: owner of the calls; a defect in one is reported there.
        name: of the tasks, for that report.
    """

    def __init__(self, tasks: TaskOwner, name: str) -> None:
        self._tasks = tasks
        self._name = name
        self._aloft: dict[K, asyncio.Task[V | _Failed]] = {}

    async def join(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The answer of the call under way for ``key``, or of a new one.

        Raises:
            GatewayError: what the call raised; each caller gets its own copy.
            Unavailable: the gateway is closing.
        """
        flight = self._aloft.get(key)
        if flight is None:
            flight = self._tasks.spawn(self._fly(key, work), name=self._name)
            self._aloft[key] = flight
        # Not awaited directly: that would hand a waiter's cancellation on to the call.
        await asyncio.wait((flight,))
        if flight.cancelled():
            raise Unavailable("closing")
        landed = flight.result()
        if isinstance(landed, _Failed):
            raise copy.copy(landed.error)  # one shared exception would collect tracebacks
        return landed

    async def _fly(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V | _Failed:
        try:
            return await work()
        except GatewayError as error:
            return _Failed(copy.copy(error))
        finally:
            del self._aloft[key]
