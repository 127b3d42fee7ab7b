"""The whole program with the rights and the settings that its chart gives it, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.aio import client, config

from smtp_operator.app import Operator
from smtp_operator.cluster.client import ApiCluster
from smtp_operator.cluster.connection import Connection
from smtp_operator.errors import NotFound, Refused
from smtp_operator.settings import Settings, load
from smtp_operator.utils.clock import SystemClock
from tests.cluster.commands import CommandFailed, wait_until
from tests.smtp_operator.test_app import USER, connect, until
from tests.support.fleet_world import gateway, quiet_log
from tests.support.gateways import Gateways
from tests.support.installs import OPERATOR_CHART, Helm, container_of
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api", "controllers", "helm")

RELEASE = "rights-tried"


class Witness(Connection):
    """Remembers each refusal: the program itself survives some of them, such as of an Event."""

    def __init__(self, configuration: client.Configuration) -> None:
        super().__init__(configuration)
        self.refusals: list[str] = []
        self.writes: set[str] = set()

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """See ``Connection``."""
        try:
            answer = await super().call(method, path, **more)
        except Refused as refusal:
            self.refusals.append(f"{method} {path}: {refusal.detail}")
            raise
        if method != "GET":
            self.writes.add(method)
        return answer

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], **more: Any
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See ``Connection``."""
        try:
            async with super().stream(path, query, **more) as lines:
                yield lines
        except Refused as refusal:
            self.refusals.append(f"WATCH {path}: {refusal.detail}")
            raise


async def as_the_account(kubernetes: Kubernetes, namespace: str, folder: Path) -> Witness:
    """A connection with the service account's own token, and with nothing of the administrator."""
    token = kubernetes.kubectl("create", "token", RELEASE, f"--namespace={namespace}").strip()
    known = yaml.safe_load(kubernetes.kubeconfig.read_text(encoding="utf-8"))
    known["users"] = [{"name": user["name"], "user": {"token": token}} for user in known["users"]]
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(known), encoding="utf-8")
    configuration = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(file), client_configuration=configuration
    )
    return Witness(configuration)


def wait_for_rights(kubernetes: Kubernetes, namespace: str) -> None:
    """Of the election and of fleets: what authorizes requests hears of them a moment later."""
    account = f"--as=system:serviceaccount:{namespace}:{RELEASE}"

    def known() -> bool:
        try:
            for words in (("create", "leases.coordination.k8s.io"), ("patch", "deployments.apps")):
                kubernetes.kubectl(f"--namespace={namespace}", "auth", "can-i", *words, account)
        except CommandFailed:  # its answer is no
            return False
        return True

    wait_until("the account's rights are known", known, 60)


def settings_of(kubernetes: Kubernetes, namespace: str, port: int) -> Settings:
    """What a pod of the installed Deployment would read."""
    container = container_of(kubernetes.get(f"deployment/{RELEASE}", namespace))
    pod = {"POD_NAMESPACE": namespace, "POD_NAME": "operator-0"}
    given = {one["name"]: one.get("value") or pod[one["name"]] for one in container["env"]}
    here = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port)}
    return load(given | here)[0]


class User:
    """Who owns the fleet."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection, self._namespace = connection, namespace
        self._path = f"/apis/smtp.cakemail.com/v1alpha1/namespaces/{namespace}/smtpgateways"
        self._api = ApiCluster(connection, throttle=self._free, may_write=lambda: True)

    async def _free(self) -> None:
        """Users have no bucket."""

    async def create(self) -> None:
        """A gateway with the label that the operator selects by."""
        body = gateway()
        body["metadata"] |= {"namespace": self._namespace, "labels": {"tried": self._namespace}}
        await self._connection.call("POST", self._path, query=USER, body=body)

    async def patch(self, spec: Mapping[str, Any]) -> None:
        """An edit."""
        await self._connection.call(
            "PATCH", f"{self._path}/alpha", query=USER, body={"spec": dict(spec)},
            content_type="application/merge-patch+json",
        )  # fmt: skip

    async def has(self, kind: str) -> bool:
        """Whether the fleet has a child of this kind."""
        try:
            await self._api.get(kind, self._namespace, "alpha")
        except NotFound:
            return False
        return True

    async def issued(self) -> bool:
        """Whether the certificate is there, by the status."""
        found = await self._api.get("SmtpGateway", self._namespace, "alpha")
        conditions = found.get("status", {}).get("conditions", [])
        return any((c["type"], c["reason"]) == ("TLSReady", "Issued") for c in conditions)

    async def told(self) -> bool:
        """Whether an Event about the fleet is there."""
        path = f"/apis/events.k8s.io/v1/namespaces/{self._namespace}/events"
        found = await self._connection.call("GET", path)
        return any(
            event["reportingController"] == "smtp.cakemail.com/smtp-operator"
            for event in found["items"]
        )


@pytest.fixture
async def user(gateways: Gateways, kubernetes: Kubernetes, namespace: str) -> AsyncIterator[User]:
    """In a cluster that knows the kind."""
    assert gateways is not None
    connection = await connect(kubernetes)
    yield User(connection, namespace)
    await connection.close()


async def a_life(user: User) -> None:
    """Everything that the operator does for a fleet: create, read, change, delete, tell."""
    await user.create()
    await until(user.issued, "a settled fleet")
    await until(lambda: user.has("NetworkPolicy"), "a policy")
    scaled = {"autoscaling": {"minReplicas": 2, "maxReplicas": 4}}
    await user.patch({"networkPolicy": {"enabled": False}, **scaled})
    await until(lambda: user.has("HorizontalPodAutoscaler"), "an autoscaler")

    async def without_policy() -> bool:
        return not await user.has("NetworkPolicy")

    await until(without_policy, "the policy's end")
    await until(user.told, "an Event")


@pytest.mark.parametrize("named", [False, True], ids=["whole cluster", "one namespace"])
async def test_the_charts_rights_are_enough(
    named: bool,  # noqa: FBT001  # the two forms of the chart
    kubernetes: Kubernetes,
    namespace: str,
    user: User,
    tmp_path: Path,
    unused_tcp_port: int,
) -> None:
    """A fleet's whole life without one refusal; then the Lease is let go."""
    helm, where = Helm(kubernetes), f"--namespace={namespace}"
    values = {"watchNamespaces": [namespace]} if named else {"watchSelector": f"tried={namespace}"}
    helm("install", RELEASE, OPERATOR_CHART, where, values={"replicas": 0, **values})
    try:
        wait_for_rights(kubernetes, namespace)
        witness = await as_the_account(kubernetes, namespace, tmp_path)
        settings = settings_of(kubernetes, namespace, unused_tcp_port)
        operator = Operator(settings, witness, SystemClock(), quiet_log())
        async with asyncio.TaskGroup() as group:
            task = group.create_task(operator.run())
            try:
                await a_life(user)
            finally:
                operator.stop()
                code = await task
        lease = kubernetes.get(f"lease.coordination.k8s.io/{RELEASE}", namespace)
    finally:
        helm("uninstall", RELEASE, where, "--wait")

    assert settings.clusterwide is not named
    assert witness.refusals == []
    assert witness.writes == {"POST", "PUT", "PATCH", "DELETE"}
    assert code == 0
    assert lease["spec"].get("holderIdentity", "") == ""
