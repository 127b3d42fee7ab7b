"""Tasks with an owner: kept, reported, counted at the end."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from smtp_gateway.utils.tasks import TaskOwner

Failures = list[tuple[str, BaseException]]


class Clue(Exception):
    """A failure that a test can recognise."""


def owner() -> tuple[TaskOwner, Failures]:
    """An owner, and where it reports."""
    failures: Failures = []
    return TaskOwner(lambda name, error: failures.append((name, error))), failures


async def fail() -> NoReturn:
    """Work that breaks."""
    raise Clue


async def for_ever() -> None:
    """Work that never ends by itself."""
    await asyncio.Event().wait()


async def test_a_task_runs_and_its_result_can_be_awaited() -> None:
    """The spawned task is an ordinary one, under the name that was given."""
    tasks, failures = owner()

    async def answer() -> int:
        return 7

    task = tasks.spawn(answer(), name="answer")

    assert await task == 7
    assert task.get_name() == "answer"
    assert failures == []


async def test_a_finished_task_is_no_longer_held() -> None:
    """The owner holds what runs and nothing else."""
    tasks, _ = owner()
    gate = asyncio.Event()

    async def wait() -> None:
        await gate.wait()

    task = tasks.spawn(wait(), name="waits")
    assert len(tasks) == 1

    gate.set()
    await task
    assert await tasks.settle(timeout_seconds=1) == 0
    assert len(tasks) == 0


async def test_a_failure_is_reported_by_name() -> None:
    """Nobody awaits the task, and its exception is told all the same."""
    tasks, failures = owner()
    _ = tasks.spawn(fail(), name="breaks")
    await tasks.settle(timeout_seconds=1)

    ((name, error),) = failures
    assert name == "breaks"
    assert isinstance(error, Clue)


async def test_settle_cuts_what_outlasts_its_limit_and_counts_it() -> None:
    """Two tasks never end: they are cut, counted, and no failures."""
    tasks, failures = owner()
    _ = tasks.spawn(for_ever(), name="first")
    _ = tasks.spawn(for_ever(), name="second")

    assert await tasks.settle(timeout_seconds=0) == 2
    assert len(tasks) == 0
    assert failures == []


async def test_cancel_waits_until_a_task_has_cleaned_up() -> None:
    """When ``cancel`` returns, the task's own ending has run."""
    tasks, _ = owner()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def careful() -> None:
        begun.set()
        try:
            await for_ever()
        finally:
            ended.set()

    _ = tasks.spawn(careful(), name="careful")
    await begun.wait()

    assert await tasks.cancel() == 1
    assert ended.is_set()


async def test_nothing_to_settle_is_nothing_cut() -> None:
    """An owner without tasks ends at once."""
    tasks, _ = owner()

    assert await tasks.settle(timeout_seconds=0) == 0
    assert await tasks.cancel() == 0
