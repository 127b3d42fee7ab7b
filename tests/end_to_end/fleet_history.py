"""What a fleet's Deployment went through, by a watch, so that no moment is missed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from kubernetes.aio import client, config, watch

from tests.end_to_end.fleet import ManagedFleet


class History:
    """States in their order, each as long as nothing of interest changed."""

    def __init__(self) -> None:
        self.wanted: list[int] = []
        """``spec.replicas``."""
        self.ready: list[int] = []
        """``status.readyReplicas``."""
        self._news = asyncio.Condition()

    async def saw(self, deployment: dict[str, Any]) -> None:
        """Take a further state down."""
        states = (
            (self.wanted, deployment["spec"]["replicas"]),
            (self.ready, deployment["status"].get("readyReplicas", 0)),
        )
        for values, value in states:
            if values[-1:] != [value]:
                values.append(value)
        async with self._news:
            self._news.notify_all()

    async def until(self, condition: Callable[[History], bool], seconds: float) -> None:
        """Return when it holds.

        Raises:
            TimeoutError: it did not in time.
        """
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: condition(self))


@asynccontextmanager
async def followed(fleet: ManagedFleet) -> AsyncIterator[History]:
    """The history of the Deployment from now to the end of the block."""
    history = History()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_follow(fleet, history))
        await history.until(lambda seen: bool(seen.wanted), 60)
        yield history
        watching.cancel()


async def _follow(fleet: ManagedFleet, history: History) -> None:
    configuration = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(fleet.kubernetes.kubeconfig), client_configuration=configuration
    )
    async with client.ApiClient(configuration) as api:
        deployments = client.AppsV1Api(api).list_namespaced_deployment
        chosen = {"namespace": fleet.namespace, "field_selector": f"metadata.name={fleet.name}"}
        watching: Any = watch.Watch()  # type: ignore[no-untyped-call]  # again
        async for event in watching.stream(deployments, **chosen):
            await history.saw(event["raw_object"])
