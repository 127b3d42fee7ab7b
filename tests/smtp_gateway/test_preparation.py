"""Preparing a message: here when small, in a worker when large, never lost when that one dies."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from smtp_gateway.errors import CapacityExceeded, HeaderInvalid, InternalError
from smtp_gateway.policy import Policy
from smtp_gateway.preparation import (
    INLINE_BYTES,
    WAITING_PER_WORKER,
    Prepared,
    Preparer,
    worker_bytes,
)
from tests.support.delivery_bench import large_message, message
from tests.support.parsing_work import die, tell_modules, tell_process, wait_for_file

LARGE = INLINE_BYTES + 1


@asynccontextmanager
async def preparer(work: Callable[[bytes, Policy, str], Prepared]) -> AsyncIterator[Preparer]:
    """A preparer with this work, ended with the test."""
    made = Preparer(message_id_domain="gateway.test", work=work)
    yield made
    await made.aclose()


def padded(start: bytes) -> bytes:
    """A message that is too large for the loop."""
    return start + b"\n" + b"x" * LARGE


async def test_small_message_is_prepared_in_this_process() -> None:
    """Up to 256 KiB no other process is asked, or even started."""
    async with preparer(tell_process) as made:
        result = await made.prepare(b"x" * INLINE_BYTES, Policy())
    assert result.steering.sender_name == str(os.getpid())


async def test_large_message_is_prepared_in_a_worker_that_lives_on() -> None:
    """Above 256 KiB it is another process, the same one for the next message."""
    async with preparer(tell_process) as made:
        first = await made.prepare(padded(b""), Policy())
        second = await made.prepare(padded(b""), Policy())
    assert first.steering.sender_name == second.steering.sender_name != str(os.getpid())


async def test_worker_and_loop_give_the_same_result() -> None:
    """Where a message is prepared changes nothing in what is sent."""
    content = large_message(300_000)
    here = Preparer(message_id_domain="gateway.test", inline_bytes=10_000_000)
    there = Preparer(message_id_domain="gateway.test")
    expected = await here.prepare(content, Policy())
    found = await there.prepare(content, Policy())
    await there.aclose()
    assert (found.steering, found.payload) == (expected.steering, expected.payload)


async def test_refusal_of_a_worker_arrives_with_its_facts() -> None:
    """An error of the message crosses the processes whole."""
    content = message("X-List-Id: none", body="x" * LARGE)
    made = Preparer(message_id_domain="gateway.test")
    with pytest.raises(HeaderInvalid) as caught:
        await made.prepare(content, Policy())
    await made.aclose()
    assert caught.value.facts["header"] == "X-List-Id"


async def test_worker_imports_no_loop_and_no_http_client() -> None:
    """A worker costs the memory of parsing, not of the whole gateway."""
    async with preparer(tell_modules) as made:
        modules = (await made.prepare(padded(b""), Policy())).steering.sender_name.split()
    for heavy in ("aiohttp", "httpx", "fastapi", "structlog", "prometheus_client", "uvicorn"):
        assert heavy not in modules


async def test_dead_worker_costs_its_message_a_temporary_error_and_nothing_else() -> None:
    """The message is answered, and the next one finds a new worker."""
    async with preparer(die) as made:
        before = await made.prepare(padded(b"live"), Policy())
        with pytest.raises(InternalError):
            await made.prepare(padded(b"kill"), Policy())
        after = await made.prepare(padded(b"live"), Policy())
    assert before.steering.sender_name != after.steering.sender_name
    assert made.outside == 0


async def test_every_message_with_a_dead_worker_is_answered() -> None:
    """Those that waited behind the fatal one are told to come again: none hangs, none is lost."""
    async with preparer(die) as made:
        work = [made.prepare(padded(start), Policy()) for start in (b"kill", b"live", b"live")]
        results = await asyncio.gather(*work, return_exceptions=True)
        after = await made.prepare(padded(b"live"), Policy())
    assert isinstance(results[0], InternalError)
    assert all(isinstance(one, InternalError | Prepared) for one in results)
    assert after.steering.sender_name.isdecimal()


async def test_queue_of_large_messages_is_bounded(tmp_path: object) -> None:
    """Beyond the bound a message is refused before it takes anything."""
    gate = f"{tmp_path}/gate"
    async with preparer(wait_for_file) as made:
        loop = asyncio.get_running_loop()
        waiting = [
            loop.create_task(made.prepare(padded(gate.encode()), Policy()))
            for _ in range(WAITING_PER_WORKER)
        ]
        while made.outside < WAITING_PER_WORKER:  # noqa: ASYNC110  # turns of the loop, no time
            await asyncio.sleep(0)
        with pytest.raises(CapacityExceeded):
            await made.prepare(padded(gate.encode()), Policy())
        with open(gate, "wb"):  # noqa: ASYNC230, PTH123  # the test's own file
            pass
        results = await asyncio.gather(*waiting)
    assert [one.steering.sender_name for one in results] == ["done"] * WAITING_PER_WORKER


@pytest.mark.trap(40)
async def test_trap_40_the_loop_goes_on_while_a_large_message_is_read() -> None:
    """25 MB are read in another process; how long a turn may take is the benchmark's affair."""
    made = Preparer(message_id_domain="gateway.test")
    work = asyncio.get_running_loop().create_task(made.prepare(large_message(25_000_000), Policy()))
    turns = 0
    while not work.done():  # counts turns of the loop
        await asyncio.sleep(0)
        turns += 1
    prepared = await work
    await made.aclose()
    assert turns > 100
    assert sum(map(len, prepared.payload.attachments)) > 24_000_000


def test_a_worker_needs_room_for_its_largest_message() -> None:
    """No reservation counts it, so the budget leaves it free."""
    assert worker_bytes(25_000_000) == 136_000_000
