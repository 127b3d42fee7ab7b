"""What only a real API server can tell: ownership of fields, preconditions, watches, Leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio import client, config

from smtp_operator.cluster.api import NOT_THERE, Lease, Object
from smtp_operator.cluster.children import MANAGER, digest
from smtp_operator.cluster.client import ApiCluster
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import CHILD_KINDS, KINDS, OPTIONAL_KINDS
from smtp_operator.cluster.leases import LeaseObject
from smtp_operator.cluster.watches import Watch
from smtp_operator.elector import Elector
from smtp_operator.errors import Conflict, NotFound, Refused
from smtp_operator.utils.clock import SystemClock
from tests.support.fleet_world import quiet_log
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api")

MERGE = "application/merge-patch+json"


@pytest.fixture
async def connection(kubernetes: Kubernetes) -> AsyncIterator[Connection]:
    """As the administrator."""
    configuration = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(kubernetes.kubeconfig), client_configuration=configuration
    )
    made = Connection(configuration)
    yield made
    await made.close()


async def free() -> None:
    """A bucket that is never empty."""


@pytest.fixture
def api(connection: Connection) -> ApiCluster:
    """A client that leads."""
    return ApiCluster(connection, throttle=free, may_write=lambda: True)


def config_map(namespace: str, **data: str) -> Object:
    """A child."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "alpha",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "smtp-operator"},
        },
        "data": data,
    }


async def edit(connection: Connection, namespace: str, data: dict[str, Any]) -> None:
    """What kubectl edit does."""
    await connection.call(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/alpha",
        query={"fieldManager": "kubectl-edit"},
        body={"data": data},
        content_type=MERGE,
    )


async def test_the_digest_tells_what_others_did_to_our_fields(
    connection: Connection, api: ApiCluster, namespace: str
) -> None:
    """Changed, removed: another digest. Added beside ours, or applied again: the same."""
    body = config_map(namespace, x="1", y="2")
    first = await api.apply(body, manager=MANAGER)
    again = await api.apply(body, manager=MANAGER)
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]
    kept = digest("ConfigMap", first["metadata"])
    assert kept == digest("ConfigMap", again["metadata"]) != ""
    for change, drifted in (({"x": "9"}, True), ({"y": None}, True), ({"z": "theirs"}, False)):
        await edit(connection, namespace, change)
        live = await api.get("ConfigMap", namespace, "alpha")
        assert (digest("ConfigMap", live["metadata"]) != kept) is drifted, change
        repaired = await api.apply(body, manager=MANAGER)
        assert digest("ConfigMap", repaired["metadata"]) == kept
    assert (await api.get("ConfigMap", namespace, "alpha"))["data"] == {
        "x": "1", "y": "2", "z": "theirs",
    }  # fmt: skip


async def test_an_apply_with_a_uid_means_that_object_only(api: ApiCluster, namespace: str) -> None:
    """It revives nothing, and merges into no other; the UID itself becomes no field of ours."""
    body = config_map(namespace, x="1")
    made = await api.apply(body, manager=MANAGER)
    named = config_map(namespace, x="2")
    named["metadata"]["uid"] = made["metadata"]["uid"]
    changed = await api.apply(named, manager=MANAGER)
    assert digest("ConfigMap", changed["metadata"]) == digest("ConfigMap", made["metadata"])
    named["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(Conflict):
        await api.apply(named, manager=MANAGER)
    meta = changed["metadata"]
    await api.delete(
        "ConfigMap", namespace, "alpha", uid=meta["uid"], resource_version=meta["resourceVersion"]
    )
    with pytest.raises(Conflict):
        await api.apply(named, manager=MANAGER)


PODS: Object = {"matchLabels": {"app": "alpha"}}
SPECS: dict[str, Object] = {
    "Service": {"ports": [{"port": 25}]},
    "NetworkPolicy": {"podSelector": {}},
    "PodDisruptionBudget": {"maxUnavailable": 1, "selector": PODS},
    "HorizontalPodAutoscaler": {
        "maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "alpha"},
    },
    "Deployment": {
        "replicas": 0,
        "selector": PODS,
        "template": {
            "metadata": {"labels": PODS["matchLabels"]},
            "spec": {"containers": [{"name": "a", "image": "registry.test/a:1"}]},
        },
    },
}


@pytest.mark.parametrize("kind", sorted(set(CHILD_KINDS) - set(OPTIONAL_KINDS)))
async def test_what_is_made_merges_into_nothing_that_is_there(
    kind: str, api: ApiCluster, namespace: str
) -> None:
    """``NOT_THERE`` creates each kind, and is refused once the name is taken, forced or not."""
    meta = {"name": "alpha", "namespace": namespace, "labels": {"mine": "yes"}}
    body: Object = {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": meta}
    if kind in SPECS:
        body["spec"] = SPECS[kind]
    body["metadata"] = meta | {"resourceVersion": NOT_THERE}
    made = await api.apply(body, manager=MANAGER)
    body["metadata"]["labels"] = {"mine": "no"}
    with pytest.raises(Conflict):
        await api.apply(body, manager=MANAGER)
    with pytest.raises(Conflict):
        await api.apply(body, manager=MANAGER, dry_run=True)

    assert digest(kind, made["metadata"]) != ""
    live = await api.get(kind, namespace, "alpha")
    assert live["metadata"]["labels"] == {"mine": "yes"}


async def test_the_digest_of_a_service_tells_of_foreign_ports(
    connection: Connection, api: ApiCluster, namespace: str
) -> None:
    """Added by hand: another digest. Taken away again: the same."""
    body = config_map(namespace) | {"kind": "Service", "spec": SPECS["Service"]}
    del body["data"]
    made = await api.apply(body, manager=MANAGER)
    added = {"spec": {"ports": [{"port": 25, "name": "a"}, {"port": 26, "name": "b"}]}}
    path = KINDS["Service"].path(namespace, "alpha")
    edited = await connection.call(
        "PATCH", path, body=added, content_type="application/strategic-merge-patch+json"
    )
    assert digest("Service", edited["metadata"]) != digest("Service", made["metadata"])
    drop = [{"op": "remove", "path": "/spec/ports/1"}]
    mended = await api.amend("Service", namespace, "alpha", drop)
    assert digest("Service", mended["metadata"]) == digest("Service", made["metadata"])


async def test_a_delete_keeps_to_its_preconditions(api: ApiCluster, namespace: str) -> None:
    """An object that changed meanwhile stays; one that is gone is fine."""
    made = await api.apply(config_map(namespace, x="1"), manager=MANAGER)
    meta = made["metadata"]
    with pytest.raises(Conflict):
        await api.delete("ConfigMap", namespace, "alpha", uid=meta["uid"], resource_version="1")
    for _ in range(2):
        await api.delete(
            "ConfigMap", namespace, "alpha", uid=meta["uid"],
            resource_version=meta["resourceVersion"],
        )  # fmt: skip
    with pytest.raises(NotFound):
        await api.get("ConfigMap", namespace, "alpha")


async def test_dropping_replicas_alone_resets_them_and_a_handover_does_not(
    api: ApiCluster, namespace: str
) -> None:
    """The trap, and the way around it: another manager of ours holds the number first."""

    def deployment(name: str, replicas: int | None, *, bare: bool = False) -> Object:
        pod = {"containers": [{"name": "c", "image": "registry.test/none:1"}]}
        spec: Object = {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
        }
        spec = {} if bare else spec
        if replicas is not None:
            spec["replicas"] = replicas
        return {
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        }  # fmt: skip

    for name, handed_over, left in (("plain", False, 1), ("careful", True, 5)):
        await api.apply(deployment(name, 5), manager=MANAGER)
        if handed_over:
            body = deployment(name, 5, bare=True)
            await api.apply(body, manager="smtp-operator-handover", force=False)
        live = await api.apply(deployment(name, None), manager=MANAGER)
        assert live["spec"]["replicas"] == left
    with pytest.raises(Conflict):  # somebody else has set it meanwhile: nothing to hand over
        await api.apply(deployment("careful", 7, bare=True), manager="someone", force=False)


async def test_an_unknown_field_is_refused_for_good(api: ApiCluster, namespace: str) -> None:
    """The API server answers 500 there; a retry would never end."""
    body = {**config_map(namespace), "nosuch": 1}
    with pytest.raises(Refused) as refusal:
        await api.apply(body, manager=MANAGER)
    assert refusal.value.status == 500
    assert "field not declared in schema" in refusal.value.detail


class Ear:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    def changed(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``Listener``."""
        assert set(metadata) == {"apiVersion", "kind", "metadata"}
        meta = metadata["metadata"]
        self.heard.put_nowait(("changed", meta["name"], digest(kind, meta)))

    def vanished(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``Listener``."""
        self.heard.put_nowait(("vanished", metadata["metadata"]["name"], ""))

    def listed(self, kind: str, namespace: str, metadata: list[dict[str, Any]]) -> None:
        """See ``Listener``."""
        self.heard.put_nowait(("listed", str(len(metadata)), ""))


async def test_a_watch_of_metadata_brings_digests_and_no_content(
    connection: Connection, api: ApiCluster, namespace: str
) -> None:
    """Secrets are watched by it: their data never reaches us."""
    ear, secret = Ear(), config_map(namespace) | {"kind": "Secret", "data": {"k": "c2VjcmV0"}}
    watch = Watch(
        connection, "Secret", namespace, "", listener=ear, clock=SystemClock(), log=quiet_log()
    )
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(watch.run())
        assert await ear.heard.get() == ("listed", "0", "")
        made = await api.apply(secret, manager=MANAGER)
        meta = made["metadata"]
        assert await ear.heard.get() == ("changed", "alpha", digest("Secret", meta))
        await api.delete(
            "Secret", namespace, "alpha", uid=meta["uid"], resource_version=meta["resourceVersion"]
        )
        assert await ear.heard.get() == ("vanished", "alpha", "")
        running.cancel()


async def test_a_lease_is_written_by_one(connection: Connection, namespace: str) -> None:
    """Created once, replaced only in the version that was read."""
    store = LeaseObject(connection, namespace, "election")
    assert await store.read() is None
    now = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
    first = await store.write(Lease("one", 0, now, now))
    with pytest.raises(Conflict):
        await store.write(Lease("two"))
    later = now + timedelta(seconds=2)
    second = await store.write(Lease("one", 0, now, later, first.resource_version))
    with pytest.raises(Conflict):
        await store.write(Lease("two", 1, now, now, first.resource_version))
    assert await store.read() == second
    assert second.acquired_at == now
    async with asyncio.timeout(60):
        await store.changed(first.resource_version)


async def test_a_standby_leads_at_once_when_the_lease_is_released(
    connection: Connection, namespace: str
) -> None:
    """Within two seconds, if nothing else is at work; one that is not let go takes 13 and more."""
    lost: list[str] = []
    events = {name: asyncio.Event() for name in ("one", "two")}
    electors = {
        name: Elector(
            LeaseObject(connection, namespace, "election"),
            name,
            SystemClock(),
            quiet_log(),
            on_leading=events[name].set,
            on_lost=lambda: lost.append("lost"),
        )
        for name in ("one", "two")
    }
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        first = group.create_task(electors["one"].run())
        await events["one"].wait()
        second = group.create_task(electors["two"].run())
        await asyncio.sleep(0)
        first.cancel()
        began = SystemClock().monotonic()
        await electors["one"].release()
        await events["two"].wait()
        assert SystemClock().monotonic() - began < 12
        second.cancel()
    assert lost == []
