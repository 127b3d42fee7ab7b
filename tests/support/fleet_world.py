"""One operator over a cluster double: no kopf, no sockets, no waiting."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from smtp_operator.apply import Applier
from smtp_operator.cluster.api import Object
from smtp_operator.cluster.children import Children
from smtp_operator.echoes import Echoes
from smtp_operator.errors import OperatorError
from smtp_operator.fleet.model import Key
from smtp_operator.observe import Observer
from smtp_operator.reconcile import After, Done, Interests, Reconciler
from smtp_operator.recorder import Recorder
from smtp_operator.rollout import Pacing
from smtp_operator.switchboard import Switchboard
from smtp_operator.telemetry import Log, Metrics
from smtp_operator.workqueue import WorkQueue
from tests.support.cluster_double import ClusterDouble

KEY = Key("mail", "alpha")
IMAGE = "registry.test/gateway:1"


class GivenClock:
    """Stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.start = datetime(2026, 11, 24, 8, tzinfo=UTC)

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self.now

    def utc(self) -> datetime:
        """See ``Clock``."""
        return self.start + timedelta(seconds=self.now - 1000.0)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def quiet_log() -> Log:
    """Drops every line."""
    log: Log = structlog.wrap_logger(None, processors=[_drop], wrapper_class=structlog.BoundLogger)
    return log


def _drop(*_: Any) -> Any:
    raise structlog.DropEvent


class Process:
    """What dies with a process: memories. The cluster outlives it."""

    def __init__(
        self,
        cluster: ClusterDouble,
        clock: GivenClock,
        *,
        image: str = IMAGE,
        secrets_watched: bool = True,
        pacing: Pacing | None = None,
    ) -> None:
        self.cluster, self.clock = cluster, clock
        self.metrics = Metrics(CollectorRegistry())
        self.children, self.interests, echoes = Children(), Interests(), Echoes()
        self.queue: WorkQueue[Key] = WorkQueue(clock, self.metrics)
        self.pacing = pacing or Pacing(budget_percent=100, soak_seconds=0)
        self.woken: list[Key] = []
        observer = Observer(
            cluster, self.children, default_image=image, secrets_watched=secrets_watched
        )
        self.reconciler = Reconciler(
            cluster,
            observer=observer,
            applier=Applier(cluster, self.children, observer, self.metrics, clock, echoes),
            recorder=Recorder(cluster, "pod-1", self.metrics, clock, quiet_log()),
            pacing=self.pacing,
            interests=self.interests,
            metrics=self.metrics,
            clock=clock,
            wake=self.woken.append,
            echoes=echoes,
        )
        self.switchboard = Switchboard(
            self.queue, self.children, self.interests, clock, self.reconciler.is_own_write, echoes
        )
        self.switchboard.lead()

    def hear(self, told: str, kind: str, metadata: Object) -> None:
        """An event arrives."""
        if kind == "SmtpGateway":
            if told == "DELETED":
                self.switchboard.gateway_deleted(metadata["metadata"])
            else:
                self.switchboard.gateway_seen(metadata["metadata"], listed=False)
        elif told == "DELETED":
            self.switchboard.vanished(kind, metadata)
        else:
            self.switchboard.changed(kind, metadata)

    async def list_children(self) -> None:
        """What the watches do at start."""
        from smtp_operator.cluster.kinds import CHILD_KINDS  # noqa: PLC0415  # long table

        for kind in CHILD_KINDS:
            found = await self.cluster.list_metadata(kind, "", labels={})
            self.switchboard.listed(kind, "", found)

    async def look(self, key: Key = KEY) -> Done | After:
        """One reconcile."""
        return await self.reconciler.reconcile(key, quiet_log())

    async def settle(self, key: Key = KEY, *, most: int = 12) -> int:
        """Look until a look changes nothing; returns how many looks that took."""
        for looks in range(1, most + 1):
            before = self.cluster.changes
            try:
                await self.look(key)
            except OperatorError:
                continue  # as the queue would: look again
            if self.cluster.changes == before:
                return looks
        raise AssertionError("it does not come to rest")


def gateway(key: Key = KEY, **spec: Any) -> Object:
    """A user's object; self-signed unless told."""
    return {
        "apiVersion": "smtp.cakemail.com/v1alpha1",
        "kind": "SmtpGateway",
        "metadata": {"namespace": key.namespace, "name": key.name},
        "spec": {"tls": {"selfSigned": {}}} | spec,
    }


def world(
    *, key: Key = KEY, image: str = IMAGE, secrets_watched: bool = True, **spec: Any
) -> tuple[ClusterDouble, Process]:
    """A cluster with one gateway, and an operator that hears all at once."""
    cluster, clock = ClusterDouble(), GivenClock()
    process = Process(cluster, clock, image=image, secrets_watched=secrets_watched)
    cluster.on_change = process.hear
    cluster.create(gateway(key, **spec))
    return cluster, process


def pods_become_ready(cluster: ClusterDouble, key: Key = KEY) -> None:
    """What the controllers do with a Deployment."""

    def ready(body: Object) -> None:
        number = body["spec"]["replicas"]
        body["status"] = {
            "observedGeneration": body["metadata"]["generation"],
            "replicas": number,
            "readyReplicas": number,
            "updatedReplicas": number,
            "availableReplicas": number,
            "conditions": [
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
            ],
        }

    cluster.edit("Deployment", *key, ready, manager="kube-controller-manager", subresource="status")


def conditions(cluster: ClusterDouble, key: Key = KEY) -> dict[str, tuple[str, str]]:
    """Type -> status and reason."""
    status = cluster.read("SmtpGateway", *key).get("status", {})
    return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}


def set_spec(cluster: ClusterDouble, **fields: Any) -> None:
    """The user edits the gateway; None removes a field."""

    def change(body: Object) -> None:
        for name, value in fields.items():
            if value is None:
                body["spec"].pop(name, None)
            else:
                body["spec"][name] = value

    cluster.edit("SmtpGateway", *KEY, change)


def deployment(cluster: ClusterDouble) -> Object:
    """The live Deployment."""
    return cluster.read("Deployment", *KEY)


EXPECTED = {
    ("ServiceAccount", "alpha"),
    ("ConfigMap", "alpha-live"),
    ("Secret", "alpha-ca"),
    ("Secret", "alpha-tls"),
    ("Service", "alpha"),
    ("NetworkPolicy", "alpha"),
    ("Deployment", "alpha"),
    ("PodDisruptionBudget", "alpha"),
}
"""Children of a plain fleet, but for its start configuration."""


def fixed(cluster: ClusterDouble) -> set[tuple[str, str]]:
    """Children but for the start configurations."""
    return {child for child in cluster.names("mail") if not child[1].startswith("alpha-start-")}


def starts(cluster: ClusterDouble) -> set[str]:
    """Names of the start configurations."""
    return {name for _, name in cluster.names("mail") if name.startswith("alpha-start-")}
