"""Gateways by the thousand, and a witness of what becomes of them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kubernetes.aio import client, config

from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import GATEWAY, KINDS
from smtp_operator.errors import ClusterUnavailable
from smtp_operator.fleet.model import Key
from tests.cluster.addons.fake_nodes import LABEL, TOLERATION

NAMESPACES = 10
AT_ONCE = 8  # users at work at the same time
EDIT_SECONDS = 120
AGAIN_SECONDS = 0.2
MERGE = "application/merge-patch+json"


def keys(count: int) -> list[Key]:
    """Spread over a few namespaces."""
    return [Key(f"fleets-{n % NAMESPACES}", f"fleet-{n}") for n in range(count)]


def gateway(key: Key) -> dict[str, Any]:
    """One fleet of one pod, which a fake node takes."""
    return {
        "apiVersion": KINDS[GATEWAY].api_version,
        "kind": GATEWAY,
        "metadata": {"namespace": key.namespace, "name": key.name},
        "spec": {
            "replicas": 1,
            "tls": {"selfSigned": {}},
            "scheduling": {"nodeSelector": LABEL, "tolerations": [TOLERATION]},
        },
    }


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Connection]:
    """As the administrator."""
    configuration = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(kubeconfig), client_configuration=configuration
    )
    connection = Connection(configuration)
    try:
        yield connection
    finally:
        await connection.close()


class Edit(NamedTuple):
    """Seconds from sending a patch until it was answered, and until its effect was seen."""

    answered: float
    seen: float


class Witness:
    """Watches gateways and their live ConfigMaps, and notes when what is seen."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.told: dict[Key, float] = {}  # first status
        self.ready: dict[Key, float] = {}
        self._edited: dict[Key, asyncio.Future[float]] = {}
        self._seen: dict[Key, str] = {}  # versions of live ConfigMaps

    async def run(self) -> None:
        """Follow both kinds for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(GATEWAY, self._gateway))
            group.create_task(self._follow("ConfigMap", self._config_map))

    async def _follow(self, kind: str, hear: Callable[[dict[str, Any]], None]) -> None:
        """Again and again: a stream may break, and each begins with all that is there."""
        query = {"watch": "true", "timeoutSeconds": "3600", "allowWatchBookmarks": "true"}
        while True:
            try:
                async with self._connection.stream(KINDS[kind].path(""), query) as lines:
                    async for line in lines:
                        event = json.loads(line)
                        if event["type"] in {"ADDED", "MODIFIED"}:
                            hear(event["object"])
            except ClusterUnavailable as error:
                sys.stderr.write(f"witness of {kind}: {error.detail}\n")
            await asyncio.sleep(AGAIN_SECONDS)

    def _gateway(self, seen: dict[str, Any]) -> None:
        key = Key(seen["metadata"]["namespace"], seen["metadata"]["name"])
        conditions = seen.get("status", {}).get("conditions")
        if not conditions:
            return
        now = time.monotonic()
        self.told.setdefault(key, now)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            self.ready.setdefault(key, now)

    def _config_map(self, seen: dict[str, Any]) -> None:
        meta = seen["metadata"]
        key = Key(meta["namespace"], meta["name"].removesuffix("-live"))
        known, self._seen[key] = self._seen.get(key, ""), meta["resourceVersion"]
        if key not in self._edited or known == meta["resourceVersion"]:
            return  # nobody waits, or a new stream tells what is known
        waiter = self._edited.pop(key)
        if not waiter.done():
            waiter.set_result(time.monotonic())

    async def edit(self, key: Key, recipients: int) -> Edit:
        """Change a live limit, and wait for the child's change."""
        waiter = self._edited[key] = asyncio.get_running_loop().create_future()
        began = time.monotonic()
        await self._connection.call(
            "PATCH", KINDS[GATEWAY].path(*key), content_type=MERGE,
            body={"spec": {"limits": {"maxRecipients": recipients}}},
        )  # fmt: skip
        answered = time.monotonic()
        seen: float = await asyncio.wait_for(waiter, EDIT_SECONDS)
        return Edit(answered - began, seen - began)


async def create(connection: Connection, wanted: list[Key]) -> None:
    """What a user's tool does, a few at a time."""
    allowed = asyncio.Semaphore(AT_ONCE)

    async def one(key: Key) -> None:
        async with allowed:
            path = KINDS[GATEWAY].path(key.namespace)
            await connection.call("POST", path, body=gateway(key))

    async with asyncio.TaskGroup() as group:
        for key in wanted:
            group.create_task(one(key))
