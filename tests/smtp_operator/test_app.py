"""The whole program against a real API server: kopf, watches, Lease, workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from kubernetes.aio import client, config

from smtp_operator.app import Operator
from smtp_operator.cluster.api import Object
from smtp_operator.cluster.client import ApiCluster
from smtp_operator.cluster.connection import Connection
from smtp_operator.errors import NotFound
from smtp_operator.settings import load
from smtp_operator.utils.clock import SystemClock
from tests.support.fleet_world import gateway, quiet_log
from tests.support.gateways import Gateways
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api")


async def connect(kubernetes: Kubernetes) -> Connection:
    """As the administrator."""
    configuration = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(kubernetes.kubeconfig), client_configuration=configuration
    )
    return Connection(configuration)


@asynccontextmanager
async def running(
    kubernetes: Kubernetes, namespace: str, port: int, **variables: str
) -> AsyncIterator[Operator]:
    """An operator of one namespace."""
    settings, _ = load(
        {
            "GATEWAY_IMAGE": "registry.test/gateway:1",
            "POD_NAMESPACE": namespace,
            "POD_NAME": f"operator-{port}",
            "WATCH_NAMESPACES": namespace,
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(port),
        }
        | variables
    )
    operator = Operator(settings, await connect(kubernetes), SystemClock(), quiet_log())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(operator.run())
        try:
            yield operator
        finally:
            operator.stop()
            code = await task
        assert code == 0


@pytest.fixture
async def user(kubernetes: Kubernetes) -> AsyncIterator[Connection]:
    """What a user does, past the operator."""
    connection = await connect(kubernetes)
    yield connection
    await connection.close()


async def until(look: Callable[[], Any], what: str) -> Any:
    """Wait on a condition; the test's own time-out bounds it."""
    async with asyncio.timeout(120):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.05)
    raise AssertionError(what)


USER = {"fieldManager": "kubectl"}


class Fleet:
    """One gateway, seen by its user."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace
        self._path = f"/apis/smtp.cakemail.com/v1alpha1/namespaces/{namespace}/smtpgateways"
        self.api = ApiCluster(connection, throttle=self._free, may_write=lambda: True)

    async def _free(self) -> None:
        """Users have no bucket."""

    async def create(self) -> None:
        """As kubectl create does."""
        body = gateway()
        body["metadata"]["namespace"] = self._namespace
        # Without a name of its own the API server would take it from our User-Agent.
        await self._connection.call("POST", self._path, query=USER, body=body)

    async def patch(self, spec: dict[str, Any]) -> None:
        """As kubectl patch does."""
        await self._connection.call(
            "PATCH", f"{self._path}/alpha", query=USER, body={"spec": spec},
            content_type="application/merge-patch+json",
        )  # fmt: skip

    async def delete(self) -> None:
        """As kubectl delete does."""
        await self._connection.call("DELETE", f"{self._path}/alpha")

    async def get(self, kind: str, name: str = "alpha") -> Object | None:
        """One object, None when it is not there."""
        try:
            return await self.api.get(kind, self._namespace, name)
        except NotFound:
            return None

    async def replicas(self) -> int | None:
        """Of the Deployment."""
        found = await self.get("Deployment")
        return found["spec"]["replicas"] if found else None

    async def reason(self, kind: str) -> str:
        """Of a condition."""
        found = await self.get("SmtpGateway") or {}
        conditions = found.get("status", {}).get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == kind), "")


async def ready(port: int, *, leading: bool) -> bool:
    """Whether the operator says that it is ready, and leads or stands by."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/readyz") as answer,
        ):
            body = await answer.json()
    except aiohttp.ClientError:
        return False
    return answer.status == 200 and body["details"]["leading"] is leading


@pytest.fixture
def fleet(gateways: Gateways, user: Connection, namespace: str) -> Fleet:
    """A namespace without a gateway in a cluster that knows the kind."""
    assert gateways is not None
    return Fleet(user, namespace)


async def test_from_yaml_to_children_and_back(
    kubernetes: Kubernetes, fleet: Fleet, namespace: str, unused_tcp_port: int
) -> None:
    """Made, edited, repaired; only status of the user's object is ours."""
    async with running(kubernetes, namespace, unused_tcp_port):
        await fleet.create()
        await until(lambda: fleet.get("PodDisruptionBudget"), "the last child")
        await until(lambda: fleet.reason("TLSReady"), "a status")
        await fleet.patch({"replicas": 3})

        async def three() -> bool:
            return await fleet.replicas() == 3

        await until(three, "the edit")
        await fleet.api.apply(
            {
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "alpha", "namespace": namespace}, "spec": {"replicas": 8},
            },
            manager="by-hand",
        )  # fmt: skip
        await until(three, "the repair")
        found = await fleet.get("SmtpGateway")
        assert found is not None
        assert "finalizers" not in found["metadata"]
        assert "annotations" not in found["metadata"]
        managers = {
            (e["manager"], e.get("subresource", "")) for e in found["metadata"]["managedFields"]
        }
        assert ("smtp-operator-status", "status") in managers
        assert "smtp-operator" not in {manager for manager, _ in managers}
        before = found["metadata"]["resourceVersion"]
        await fleet.delete()

        async def gone() -> bool:
            return await fleet.get("SmtpGateway") is None

        await until(gone, "no finalizer holds it")
        assert before


async def test_a_restart_writes_nothing(
    kubernetes: Kubernetes, fleet: Fleet, namespace: str, unused_tcp_port: int
) -> None:
    """Every child keeps its version."""
    kinds = ("Deployment", "Service", "Secret", "NetworkPolicy", "PodDisruptionBudget")

    async def versions() -> list[str]:
        names = {"Secret": "alpha-tls"}
        found = [await fleet.get(kind, names.get(kind, "alpha")) for kind in kinds]
        return [str(o["metadata"]["generation"] if "generation" in o["metadata"]
                    else o["metadata"]["resourceVersion"]) for o in found if o]  # fmt: skip

    async with running(kubernetes, namespace, unused_tcp_port) as first:
        await fleet.create()

        async def issued() -> bool:
            return await fleet.reason("TLSReady") == "Issued"

        await until(issued, "a settled fleet")
        assert first.metrics.registry.get_sample_value("smtp_operator_leader") is not None
    before = await versions()
    assert len(before) == len(kinds)
    async with running(kubernetes, namespace, unused_tcp_port) as second:

        async def looked() -> bool:
            read = second.metrics.registry.get_sample_value
            results = ("done", "after")
            return bool(sum(read("smtp_operator_reconcile_total", {"result": r}) or 0
                            for r in results))  # fmt: skip

        await until(looked, "a look")
        written = [
            sample
            for family in second.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "smtp_operator_apply_total"
            and sample.labels["kind"] != "SmtpGateway"  # its pods may come meanwhile: a status
        ]
        assert written == []
    assert await versions() == before


async def test_the_standby_takes_over(
    kubernetes: Kubernetes, fleet: Fleet, namespace: str, unused_tcp_port_factory: Callable[[], int]
) -> None:
    """Two are ready, one leads; when it stops, it lets the Lease go, and the other acts at once."""
    one, two = unused_tcp_port_factory(), unused_tcp_port_factory()
    async with running(kubernetes, namespace, one) as leader:
        await until(lambda: ready(one, leading=True), "a leader")
        async with running(kubernetes, namespace, two):
            await until(lambda: ready(two, leading=False), "a standby")
            await fleet.create()
            await until(lambda: fleet.get("Deployment"), "a fleet")
            leader.stop()
            began = SystemClock().monotonic()
            await fleet.patch({"replicas": 4})

            async def four() -> bool:
                return await fleet.replicas() == 4

            await until(four, "the edit")
            # Meant to be under 2; a Lease that was not let go would take 13 at the least.
            assert SystemClock().monotonic() - began < 12
            await until(lambda: ready(two, leading=True), "another leader")
