"""One fleet and one operator with a faulty API server between them.

What a test compares in the end is the ``Picture``: all that the operator made and said, without
what differs from run to run. The picture of a run without faults is the one to come to.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from kubernetes.aio.client import Configuration

from smtp_operator.app import Operator
from smtp_operator.cluster.connection import Connection, Patience, follow_token
from smtp_operator.cluster.kinds import CHILD_KINDS, GATEWAY, KINDS, OPTIONAL_KINDS
from smtp_operator.reconcile import timeless
from smtp_operator.settings import load
from smtp_operator.telemetry import Log
from smtp_operator.utils.clock import SystemClock
from tests.smtp_operator.test_app import USER, connect
from tests.support.faulty_api import FaultyApi, faulty_api
from tests.support.kubernetes import Kubernetes

Picture = dict[str, Any]
KINDS_MADE = [kind for kind in CHILD_KINDS if kind not in OPTIONAL_KINDS]
MERGE = "application/merge-patch+json"
# A host name of its own, so that nothing depends on the namespace; pods that no node takes, so that
# no container is started and no count changes.
SPEC = {
    "tls": {"selfSigned": {}, "dnsNames": ["mail.example.com"]},
    "hostname": "mail.example.com",
    "scheduling": {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}},
}
EDIT = {"replicas": 3, "limits": {"maxRecipients": 50}}
QUOTA = "tried"
PATIENCE_SECONDS = 120  # kopf, begun anew for the sixth time, has waited 62 s
LABELLED = {"labelSelector": "app.kubernetes.io/managed-by=smtp-operator"}


def noting_log(lines: list[dict[str, Any]]) -> Log:
    """Keeps each line."""

    def keep(_: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        lines.append({"level": level, **event})
        raise structlog.DropEvent

    log: Log = structlog.wrap_logger(None, processors=[keep], wrapper_class=structlog.BoundLogger)
    return log


@dataclass
class User:
    """The fleet's owner, past the proxy.

    Attributes:
        call: any request as the administrator.
    """

    connection: Connection
    namespace: str

    def path(self, kind: str, name: str = "") -> str:
        """Of one object, or of all."""
        return KINDS[kind].path(self.namespace, name)

    async def create(self, spec: dict[str, Any] | None = None, name: str = "alpha") -> None:
        """A gateway."""
        meta = {"name": name, "namespace": self.namespace}
        body = {
            "apiVersion": KINDS[GATEWAY].api_version, "kind": GATEWAY, "metadata": meta,
            "spec": SPEC | (spec or {}),
        }  # fmt: skip
        await self.connection.call("POST", self.path(GATEWAY), query=USER, body=body)

    async def edit(self, change: dict[str, Any], kind: str = GATEWAY, name: str = "alpha") -> None:
        """As kubectl edit does."""
        await self.connection.call(
            "PATCH", self.path(kind, name), query=USER, body=change, content_type=MERGE
        )

    async def make(self, kind: str, name: str, **fields: Any) -> None:
        """An object that the operator knows nothing of."""
        body = {
            "apiVersion": KINDS[kind].api_version, "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace}, **fields,
        }  # fmt: skip
        await self.connection.call("POST", self.path(kind), query=USER, body=body)

    async def delete(self, kind: str = GATEWAY, name: str = "alpha") -> None:
        """As kubectl delete does."""
        await self.connection.call("DELETE", self.path(kind, name))

    async def get(self, kind: str, name: str = "alpha") -> dict[str, Any]:
        """One object."""
        return await self.connection.call("GET", self.path(kind, name))

    async def set_quota(self, hard: dict[str, str]) -> None:
        """As a platform team does; returns once it is in force."""
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas"
        body = {"metadata": {"name": QUOTA}, "spec": {"hard": hard}}
        await self.connection.call("POST", path, query=USER, body=body)

        async def counted() -> bool:
            found = await self.connection.call("GET", f"{path}/{QUOTA}")
            return bool(found.get("status", {}).get("hard") == hard)

        await until(counted)

    async def lift_quota(self) -> None:
        """Delete it."""
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas/{QUOTA}"
        await self.connection.call("DELETE", path)

    async def children(self) -> list[dict[str, Any]]:
        """All that bears the operator's label."""
        found = []
        for kind in KINDS_MADE:
            page = await self.connection.call("GET", self.path(kind), query=LABELLED)
            found += [item | {"kind": kind} for item in page["items"]]
        return found

    async def has(self, kind: str, name: str = "alpha") -> bool:
        """Whether there is such a child."""
        found = [(child["kind"], child["metadata"]["name"]) for child in await self.children()]
        return (kind, name) in found

    async def all_of(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        page = await self.connection.call("GET", self.path(kind))
        found: list[dict[str, Any]] = page["items"]
        return found

    async def gateways(self) -> list[dict[str, Any]]:
        """All of them."""
        return await self.all_of(GATEWAY)

    async def condition(self, kind: str) -> tuple[str, str, str]:
        """Status, reason and message."""
        for gateway in await self.gateways():
            for one in gateway.get("status", {}).get("conditions", []):
                if one["type"] == kind:
                    return one["status"], one["reason"], one["message"]
        return "", "", ""

    async def picture(self) -> Picture:
        """What there is, without what differs from run to run."""
        text = json.dumps(
            {
                "children": {
                    f"{child['kind']}/{child['metadata']['name']}": _steady(child)
                    for child in await self.children()
                },
                "gateways": {g["metadata"]["name"]: _said(g) for g in await self.gateways()},
            }
        )
        picture: Picture = json.loads(text.replace(self.namespace, "NAMESPACE"))
        return picture


def _steady(child: dict[str, Any]) -> Any:
    """Spec, data and who it belongs to; of a Secret only the names of what is in it."""
    meta = child["metadata"]
    passing = {"smtp.cakemail.com/applied-hash", "deployment.kubernetes.io/revision"}
    spec = dict(child.get("spec", {}))
    for name in ("clusterIP", "clusterIPs"):
        spec.pop(name, None)
    return {
        "labels": meta.get("labels"),
        "annotations": {k: v for k, v in meta.get("annotations", {}).items() if k not in passing},
        "owners": [owner["name"] for owner in meta.get("ownerReferences", [])],
        "spec": spec,
        "data": sorted(child["data"]) if child["kind"] == "Secret" else child.get("data"),
    }


def _said(gateway: dict[str, Any]) -> Any:
    """The status; generations as whether they are the last."""
    status = timeless(gateway.get("status", {}))
    status["observedGeneration"] = (
        status.get("observedGeneration") == gateway["metadata"]["generation"]
    )
    status["tls"] = {
        name: value
        for name, value in status.get("tls", {}).items()
        if name not in {"notAfter", "renewAt"}
    }
    status["conditions"] = {
        one["type"]: [one["status"], one["reason"], re.sub(r"\d{4}-\S+Z", "A DAY", one["message"])]
        for one in status.get("conditions", [])
    }
    return status


class World:
    """All of it. The operator is started again when it ends by itself, as a kubelet does.

    Attributes:
        ends: exit codes of operators that ended by themselves.
        lines: what they logged.
    """

    def __init__(
        self,
        api: FaultyApi,
        user: User,
        ports: Callable[[], int],
        patience: Patience,
        token_file: Path | None,
        own_namespace: str,
    ) -> None:
        self.api, self.user = api, user
        self._own_namespace = own_namespace
        self._ports, self._patience, self._token_file = ports, patience, token_file
        self.ends: list[int] = []
        self.lines: list[dict[str, Any]] = []
        self._stopping, self._provoked = False, 0
        self.operator = self._new()

    def _new(self) -> Operator:
        port = self._ports()
        settings, _ = load({
            "GATEWAY_IMAGE": "registry.test/gateway:1", "POD_NAMESPACE": self._own_namespace,
            "POD_NAME": f"operator-{port}", "WATCH_NAMESPACES": self.user.namespace,
            "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port),
        })  # fmt: skip
        configuration = Configuration(host=self.api.url)
        if self._token_file is not None:
            follow_token(configuration, self._token_file)
        connection = Connection(configuration, self._patience)
        return Operator(settings, connection, SystemClock(), noting_log(self.lines))

    async def keep_running(self) -> None:
        """Until ``stop``."""
        while True:
            code = await self.operator.run()
            if self._stopping:
                assert code == 0
                return
            self.ends.append(code)
            self.operator = self._new()

    def stop(self) -> None:
        """As at the end of a pod."""
        self._stopping = True
        self.operator.stop()

    def count(self, metric: str, **labels: str) -> float:
        """Of the operator that runs now."""
        return self.operator.metrics.registry.get_sample_value(metric, labels) or 0.0

    def gateways(self) -> float:
        """How many the operator knows."""
        states = ("ready", "not_ready", "paused")
        return sum(self.count("smtp_operator_gateways", state=state) for state in states)

    async def until(self, look: Callable[[], Any]) -> None:
        """Wait on a condition."""
        await until(look, self)

    async def begun(self) -> None:
        """Wait until the operator leads and has listed all: at its start it waits 5 s at a time."""

        def leads() -> bool:
            return bool(self.operator.details()["leading"]) and not self.operator.faults()

        await self.until(leads)

    async def lives(self) -> None:
        """Wait until the fleet of ``create`` has its last child."""
        await self.until(partial(self.user.has, "PodDisruptionBudget"))

    async def settles(self) -> None:
        """Wait until a look of the operator, which a harmless edit provokes, writes nothing."""
        for _ in range(20):
            before, writes = self._looks(), len(self.api.writes())
            self._provoked += 1
            await self.user.edit({"metadata": {"labels": {"look": str(self._provoked)}}})
            await self.until(partial(self._looked, before))
            if len(self.api.writes()) == writes:
                return
        raise AssertionError("the operator never comes to rest")

    async def comes_to(self, wanted: Picture) -> None:
        """Wait for a picture; then nothing more is written, and no defect has shown."""

        async def same() -> bool:
            return await self.user.picture() == wanted

        try:
            await self.until(same)
        except TimeoutError as error:
            found = await self.user.picture()
            raise AssertionError("\n".join(differences(found, wanted))) from error
        await self.settles()
        await self.settles()
        # The cluster's own controllers may be on their way still, with counts of pods.
        await self.until(same)
        assert self.count("smtp_operator_reconcile_total", result="failed") == 0

    def _looks(self) -> float:
        results = ("done", "after", "gone", "transient", "terminal", "failed")
        return sum(self.count("smtp_operator_reconcile_total", result=one) for one in results)

    async def _looked(self, before: float) -> bool:
        """Once more, and nobody waits for his turn."""
        waiting = sum(
            self.count("smtp_operator_queue_depth", priority=one)
            for one in ("edit", "new", "routine")
        )
        return self._looks() > before and waiting == 0


def differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    """Where two pictures differ, a line each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = sorted(found.keys() | wanted.keys())
        parts = [differences(found.get(n), wanted.get(n), f"{place}/{n}") for n in names]
        return [line for part in parts for line in part]
    return [] if found == wanted else [f"{place}: {found!r} instead of {wanted!r}"]


async def until(look: Callable[[], Any], world: World | None = None) -> None:
    """Wait on a condition, asked again and again; it may have to be awaited.

    Raises:
        TimeoutError: with the last lines that the operator logged.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await _answer(look):  # noqa: ASYNC110  # the cluster sets no Event of ours
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        lines = world.lines[-30:] if world else []
        raise TimeoutError("\n".join(map(str, lines))) from error


async def _answer(look: Callable[[], Any]) -> Any:
    answer = look()
    return await answer if inspect.isawaitable(answer) else answer


@asynccontextmanager
async def world_of(
    kubernetes: Kubernetes,
    namespace: str,
    ports: Callable[[], int],
    *,
    patience: Patience | None = None,
    token_file: Path | None = None,
    own_namespace: str = "",
    seed: int = 1,
) -> AsyncIterator[World]:
    """A running operator that serves one namespace through a proxy.

    Its Lease is in that namespace too, unless it has one of its own.
    """
    connection = await connect(kubernetes)
    try:
        async with faulty_api(kubernetes, seed) as api:
            user = User(connection, namespace)
            world = World(
                api, user, ports, patience or Patience(), token_file, own_namespace or namespace
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(world.keep_running())
                try:
                    yield world
                finally:
                    world.stop()
    finally:
        await connection.close()


async def undisturbed(kubernetes: Kubernetes, namespace: str, ports: Callable[[], int]) -> Picture:
    """What comes of a gateway, and of an edit, without any fault."""
    async with world_of(kubernetes, namespace, ports) as world:
        await world.user.create()

        await world.lives()
        await world.user.edit({"spec": EDIT})

        async def counted() -> bool:
            (gateway,) = await world.user.gateways()
            return bool(gateway["status"]["replicas"] == EDIT["replicas"])

        await world.until(counted)
        await world.settles()
        assert world.ends == []
        return await world.user.picture()
