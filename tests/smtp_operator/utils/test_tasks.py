"""Tasks with an owner."""

from __future__ import annotations

import asyncio

from smtp_operator.utils.tasks import TaskOwner


async def test_a_failure_is_reported_by_name() -> None:
    """Not silently kept until the task is collected."""
    failures: list[tuple[str, str]] = []
    owner = TaskOwner(lambda name, error: failures.append((name, str(error))))

    async def fail() -> None:
        raise ValueError("broken")

    owner.launch(fail(), name="watch")
    await owner.settle(5)
    assert failures == [("watch", "broken")]


async def test_cancelling_ends_all_and_is_no_failure() -> None:
    """And waits for their end."""
    failures: list[str] = []
    owner = TaskOwner(lambda name, _: failures.append(name))
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended")

    task = owner.spawn(wait(), name="a")
    await asyncio.sleep(0)
    assert len(owner) == 1
    await owner.settle(0)
    assert (len(owner), ended, failures, task.cancelled()) == (0, ["ended"], [], True)
