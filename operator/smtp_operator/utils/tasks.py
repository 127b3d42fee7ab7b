"""Tasks with an owner: each is kept, each failure is reported, each end is waited for.

A bare ``asyncio.create_task`` may be collected while it runs and hides its exception until then;
the linter bans it outside this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class TaskOwner:
    """Starts tasks that run as long as the program does, keeps them, and ends them.

    Args:
        on_failure: called with the task's name and exception when a task fails; a cancelled task
            is no failure. It must not raise.
    """

    def __init__(self, on_failure: Callable[[str, BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many tasks run now."""
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        """Start one task under this owner."""
        task = asyncio.create_task(work, name=name)  # noqa: TID251  # the one place that may
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def launch(self, work: Coroutine[Any, Any, object], *, name: str) -> None:
        """Start one task that nobody waits for; its failure is reported."""
        _ = self.spawn(work, name=name)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        failure = task.exception()
        if failure is not None:
            self._on_failure(task.get_name(), failure)

    async def settle(self, seconds: float) -> None:
        """Wait for all tasks so long, then cancel what is left."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        await self.cancel()

    async def cancel(self) -> None:
        """Cancel all tasks and wait until they have ended."""
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
