"""Workers: take a key, look at it, and see to what comes next.

One worker takes users' edits only, so that an edit never waits for the first look at a thousand
gateways. What fails for now comes back later; what fails for good waits for a change, and is tried
again now and then, as the reason may lie outside the object.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable
from typing import Protocol

import structlog

from smtp_operator.errors import ClusterUnavailable, OperatorError, Refused
from smtp_operator.fleet.model import Key
from smtp_operator.reconcile import After, Done
from smtp_operator.telemetry import Event, Log, Metrics
from smtp_operator.utils.clock import Clock
from smtp_operator.utils.tasks import TaskOwner
from smtp_operator.workqueue import URGENCY, Due, Priority, WorkQueue

REFUSED_SECONDS = 60.0


class Looks(Protocol):
    """Who looks at a key."""

    async def reconcile(self, key: Key, log: Log) -> Done | After:
        """See ``Reconciler``."""
        ...


class Workers:
    """Runs workers while the process leads.

    Args:
        queue: of keys.
        looks: what is done with a key.
        owner: of the tasks.
        metrics: results and times.
        clock: for times.
        log: bound anew for each run.
        number: of workers, at least 2.
        look_again_seconds: after which a key is due again, with jitter.
        on_gone: called with the key of a gateway that is gone.
    """

    def __init__(
        self,
        queue: WorkQueue[Key],
        looks: Looks,
        owner: TaskOwner,
        metrics: Metrics,
        clock: Clock,
        log: Log,
        *,
        number: int,
        look_again_seconds: float,
        on_gone: Callable[[Key], None],
    ) -> None:
        self._queue = queue
        self._looks = looks
        self._owner = owner
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._number = number
        self._look_again = look_again_seconds
        self._on_gone = on_gone
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take keys."""
        for number in range(self._number):
            lowest = Priority.EDIT if number == 0 else Priority.ROUTINE
            task = self._owner.spawn(self._work(lowest), name=f"worker {number}")
            self._tasks.append(task)

    async def stop(self, seconds: float) -> int:
        """Take no more keys, let running ones finish for so long; returns how many were cut."""
        self._queue.close()
        if not self._tasks:
            return 0
        _, late = await asyncio.wait(self._tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return len(late)

    async def _work(self, lowest: Priority) -> None:
        while (due := await self._queue.take(lowest=lowest)) is not None:
            try:
                await self.look(due)
            finally:
                self._queue.done(due.key)

    async def look(self, due: Due[Key]) -> None:
        """One run, and what comes next."""
        URGENCY.set(due.urgency)
        fields = {
            "run": uuid.uuid4().hex[:12],
            "namespace": due.key.namespace,
            "gateway": due.key.name,
        }
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**fields)
        began = self._clock.monotonic()
        result = await self._run(due)
        self._metrics.reconciles.labels(result).inc()
        self._metrics.reconcile_seconds.observe(self._clock.monotonic() - began)
        structlog.contextvars.clear_contextvars()

    async def _run(self, due: Due[Key]) -> str:
        """The result's name, as the metric has it."""
        key = due.key
        try:
            outcome = await self._looks.reconcile(key, self._log)
        except Refused as error:
            self._queue.succeed(key)
            self._queue.add_after(key, REFUSED_SECONDS)
            self._log.error(Event.RECONCILE_FAILED, detail=error.detail, reason=error.reason)
            return "terminal"
        except OperatorError as error:
            self._retry(due, error)
            return "transient"
        except Exception:  # noqa: BLE001  # see below
            # A defect of ours in one fleet's case must not take the others down with it.
            delay = self._queue.retry(key, Priority.ROUTINE)
            self._log.error(Event.RECONCILE_FAILED, seconds=delay, exc_info=True)
            return "failed"
        self._queue.succeed(key)
        return self._after(key, outcome)

    def _after(self, key: Key, outcome: Done | After) -> str:
        if isinstance(outcome, Done) and outcome.gone:
            self._queue.forget(key)
            self._on_gone(key)
            return "gone"
        jitter = random.uniform(0.8, 1.2)  # noqa: S311  # spreads load, guards nothing
        self._queue.add_after(key, self._look_again * jitter)
        if isinstance(outcome, After):
            self._queue.add_after(key, outcome.seconds)
            return "after"
        return "done"

    def _retry(self, due: Due[Key], error: OperatorError) -> None:
        asked = error.retry_after_seconds if isinstance(error, ClusterUnavailable) else None
        delay = self._queue.retry(due.key, due.priority, at_least=asked or 0.0)
        self._log.info(
            Event.RECONCILE_DELAYED,
            error=type(error).__name__,
            detail=error.detail,
            seconds=round(delay, 3),
        )
