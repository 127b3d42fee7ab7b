"""A message's bytes made ready to send: parsed, checked, serialised; large ones in a worker.

Parsing 25 MB holds the loop for half a second and a thread would not help, as the interpreter lock
keeps the loop waiting all the same (performance 7). So a large message goes to another process.
What the worker needs is imported here and nothing else of the gateway is: no HTTP, no metrics.

Measured beside 50 clients with small mail: no delay of the loop held more than 39 ms of the
process's CPU; the bound is 50 ms (performance 4, P4; figures: docs/performance.md).
"""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection

from smtp_gateway.api.payload import Payload, serialise
from smtp_gateway.email.message import Steering
from smtp_gateway.email.transformer import transform
from smtp_gateway.errors import CapacityExceeded, InternalError
from smtp_gateway.policy import Policy

INLINE_BYTES = 262_144  # smtp-server 4.7: above 256 KB off the loop
WORKER_SECONDS = 40
"""A worker busy with one message for longer is taken for hung and ends itself; less than the
message's deadline, far more than 25 MB needs."""

WORKER_NICENESS = 5
"""On one core the worker would take half of it from the loop that everybody waits for; now a
quarter (sched(7)): large mail waits longer, small mail does not."""

WORKER_RESTING_BYTES = 36_000_000  # an interpreter with the reading of mail, and its tracker
WORKER_COPIES = 4  # of the message it reads: raw, decoded, encoded, on its way

WAITING_PER_WORKER = 8
"""Large messages that may wait for a worker; beyond it the client is asked to come again."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message ready to be addressed.

    Attributes:
        steering: where and as whom it goes.
        payload: what all recipients share, as JSON.
        parse_seconds: time of reading and checking, where it was done.
        transform_seconds: time of serialising.
    """

    steering: Steering
    payload: Payload
    parse_seconds: float
    transform_seconds: float


def prepare(content: bytes, policy: Policy, message_id_domain: str) -> Prepared:
    """Read, check and serialise one message; runs in the loop or in a worker.

    Raises:
        MessageError: the message cannot be carried; nothing was looked up yet.
    """
    began = time.perf_counter()
    digest = hashlib.sha256(content).digest()
    submission = transform(content, policy, digest=digest, message_id_domain=message_id_domain)
    parsed = time.perf_counter()
    payload = serialise(submission)
    return Prepared(
        steering=submission.steering,
        payload=payload,
        parse_seconds=parsed - began,
        transform_seconds=time.perf_counter() - parsed,
    )


Work = Callable[[bytes, Policy, str], Prepared]


def worker_bytes(message_bytes: int) -> int:
    """What one worker may hold while it reads the largest message (docs/performance.md)."""
    return WORKER_RESTING_BYTES + WORKER_COPIES * message_bytes


class Preparer:
    """Prepares messages, small ones here, large ones in worker processes.

    Args:
        message_id_domain: right side of a Message-ID that has to be made.
        workers: processes for large messages.
        inline_bytes: largest message that is prepared in the loop.
        work: what is done with a message; must be a module's function, as it travels by name.
    """

    def __init__(
        self,
        *,
        message_id_domain: str,
        workers: int = 1,
        inline_bytes: int = INLINE_BYTES,
        work: Work = prepare,
    ) -> None:
        self._domain = message_id_domain
        self._workers = workers
        self._inline_bytes = inline_bytes
        self._work = work
        self._pool: ProcessPoolExecutor | None = None
        self._outside = 0

    @property
    def outside(self) -> int:
        """Large messages with the workers now, waiting ones included."""
        return self._outside

    async def prepare(
        self, content: bytes, policy: Policy, *, timeout_seconds: float | None = None
    ) -> Prepared:
        """Make one message ready.

        Args:
            content: as received.
            policy: defaults and limits.
            timeout_seconds: how long to wait for a worker; a message in the loop ends by itself.

        Raises:
            MessageError: the message cannot be carried.
            TimeoutError: no worker was ready in time.
            CapacityExceeded: too many large messages wait already.
            InternalError: the worker died with the message; it may be tried again.
        """
        if len(content) <= self._inline_bytes:
            return self._work(content, policy, self._domain)
        if self._outside >= self._workers * WAITING_PER_WORKER:
            raise CapacityExceeded("too many large messages wait for a worker")
        self._outside += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._in_worker(content, policy)
        finally:
            self._outside -= 1

    async def _in_worker(self, content: bytes, policy: Policy) -> Prepared:
        pool = self._running_pool()
        try:
            future = pool.submit(_work_guarded, self._work, content, policy, self._domain)
            return await asyncio.wrap_future(future)
        except (BrokenProcessPool, OSError) as error:  # an OSError is of the pipe to the worker
            self._discard(pool)
            raise InternalError("a parsing worker died") from error

    def _running_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                max_workers=self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin_worker,
            )
        return self._pool

    def _discard(self, pool: ProcessPoolExecutor) -> None:
        if self._pool is pool:
            self._pool = None
        _unblock_feeder(pool)
        pool.shutdown(wait=False)

    async def aclose(self) -> None:
        """End the workers, after the messages that are with them."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await asyncio.to_thread(pool.shutdown, wait=True)


def _unblock_feeder(pool: ProcessPoolExecutor) -> None:
    """Let the thread end that was writing a message to a worker which has died.

    Before CPython 3.11.5 the pool left the reading end of its pipe open here, so a message larger
    than the pipe kept that thread, and with it the process at its exit, for ever
    (python/cpython#94777). Later versions close it themselves, and a second close would hit
    whatever has the number by then.
    """
    queue = vars(pool)["_call_queue"]  # no public way leads there; None once it is shut down
    if sys.version_info < (3, 11, 5) and queue is not None:
        vars(queue)["_reader"].close()


def _work_guarded(work: Work, content: bytes, policy: Policy, domain: str) -> Prepared:
    """In the worker: the message, with an alarm clock beside it whose ring ends the process."""
    signal.alarm(WORKER_SECONDS)
    try:
        return work(content, policy, domain)
    finally:
        signal.alarm(0)


def _begin_worker() -> None:
    """In a new worker: leave Ctrl-C to the gateway, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(WORKER_NICENESS)
    gateway = multiprocessing.parent_process()
    if gateway is not None:
        threading.Thread(target=_end_with, args=(gateway.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])  # readable once the gateway is gone, killed ones included
    os._exit(1)
