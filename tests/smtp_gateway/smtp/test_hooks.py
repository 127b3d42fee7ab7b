"""aiosmtpd's handler contract, called without a task where none is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest
from aiosmtpd.smtp import AuthResult

from smtp_gateway.smtp.effects import HookName
from smtp_gateway.smtp.hooks import HookTable, Suspended, call_starttls, step


async def at_once() -> str:
    """A hook that waits for nothing."""
    return "250 OK"


async def fails() -> str:
    """A hook that raises before it waits."""
    raise ValueError


def test_a_hook_that_waits_for_nothing_answers_in_one_step() -> None:
    """No loop and no task are needed."""
    assert step(at_once()) == "250 OK"


def test_a_hook_that_raises_raises_in_the_step() -> None:
    """The edge words the answer."""
    with pytest.raises(ValueError):  # noqa: PT011  # the class is all that matters
        step(fails())


async def carried_on(rest: Awaitable[object]) -> object:
    """Await the rest in a task, as the edge does."""
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:

        async def work() -> object:
            return await rest

        task = group.create_task(work())
    return task.result()


async def test_a_hook_that_waits_goes_on_in_a_task() -> None:
    """Several waits, time-outs among them, after the first step."""

    async def hook() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        try:
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            return "timed out"
        return "not"

    with pytest.raises(Suspended) as waiting:
        step(hook())
    assert await carried_on(waiting.value.rest) == "timed out"


async def test_a_failure_that_is_waited_for_reaches_the_hook() -> None:
    """The first wait may end in an exception, which is the hook's to handle."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def hook() -> str:
        try:
            await future
        except ValueError:
            await asyncio.sleep(0)
        return "handled"

    with pytest.raises(Suspended) as waiting:
        step(hook())
    future.set_exception(ValueError())
    assert await carried_on(waiting.value.rest) == "handled"


async def test_a_hook_may_end_on_the_failure_it_waited_for() -> None:
    """Handled and over, without another wait."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def hook() -> str:
        try:
            await future
        except ValueError:
            return "over"
        return "not"

    with pytest.raises(Suspended) as waiting:
        step(hook())
    future.set_exception(ValueError())
    assert await carried_on(waiting.value.rest) == "over"


class Handler:
    """Two hooks and an excuse."""

    async def handle_MAIL(self) -> str:  # noqa: N802  # the contract's name
        """Any."""
        return "250 OK"

    async def handle_exception(self, error: Exception) -> str:
        """Word the answer."""
        return f"451 {type(error).__name__}"


def test_finds_the_hooks_that_are_there() -> None:
    """Bound once; the others are absent."""
    table = HookTable(Handler())
    assert table.get(HookName.MAIL) is not None
    assert table.get(HookName.RCPT) is None
    assert table.proxy is None


async def test_the_handler_words_the_answer_to_its_failure() -> None:
    """As a reply, or for AUTH as a result that is no success."""
    table = HookTable(Handler())
    assert await table.excuse(HookName.DATA, ValueError()) == "451 ValueError"
    result = await table.excuse(HookName.AUTH_PLAIN, ValueError())
    assert isinstance(result, AuthResult)
    assert (result.success, result.handled, result.message) == (False, False, "451 ValueError")


@pytest.mark.parametrize(
    ("handler", "name"),
    [(object(), HookName.DATA), (Handler(), HookName.EHLO), (Handler(), HookName.STARTTLS)],
)
async def test_the_machine_answers_where_no_reply_of_the_handler_fits(
    handler: object, name: HookName
) -> None:
    """No excuse, or a hook whose result is no reply."""
    assert await HookTable(handler).excuse(name, ValueError()) is None


def test_starttls_is_called_and_never_awaited() -> None:
    """A truth, or a coroutine, which counts as true."""
    assert call_starttls(lambda: True)
    assert not call_starttls(lambda: None)
    assert call_starttls(fails)
