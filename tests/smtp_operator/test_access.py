"""The operator's rights: each of its calls is granted, and each grant is used.

The calls are made by the operator's own client, against a server that only writes them down. A
right too few stops a fleet in production; one too many is a gift to whoever takes the pod over.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from aiohttp import web

from smtp_operator.cluster.api import Lease
from smtp_operator.cluster.client import ApiCluster
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.kinds import CHILD_KINDS, GATEWAY, KINDS
from smtp_operator.cluster.leases import LeaseObject
from smtp_operator.cluster.watches import Watch
from smtp_operator.settings import Settings
from tests.support.answering import answering
from tests.support.fleet_world import GivenClock, quiet_log

ACCESS = Path(__file__).parents[2] / "manifests" / "kustomize" / "base" / "access.yaml"
SETTINGS = Settings(gateway_image="registry.example/gateway:1", pod_namespace="smtp-operator")
NAMESPACE, NAME = "mail", "alpha"


class Right(NamedTuple):
    """One verb on one resource, as RBAC counts; ``name`` only where a rule can name it."""

    group: str
    resource: str
    verb: str
    name: str = ""


def documents() -> list[dict[str, Any]]:
    """All that access.yaml holds."""
    return list(yaml.safe_load_all(ACCESS.read_text(encoding="utf-8")))


def granted(kind: str) -> list[Right]:
    """The rules of a role, one right after the other."""
    (role,) = [one for one in documents() if one["kind"] == kind]
    return [
        Right(group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    ]


class Recorder:
    """Writes each request down as the right that it needs, and answers just enough."""

    def __init__(self) -> None:
        self.used: set[Right] = set()
        self.followed = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.used |= set(rights_of(request))
        if "watch" in request.query:
            self.followed.set()
            return web.Response(text='{"type":"BOOKMARK","object":{"metadata":'
                                     '{"resourceVersion":"9"}}}\n')  # fmt: skip
        metadata = {"resourceVersion": "1", "name": NAME, "namespace": NAMESPACE}
        return web.json_response({"metadata": metadata, "items": [], "spec": {}})


def rights_of(request: web.Request) -> Iterator[Right]:
    """As the API server's authorizer reads a request (k8s.io/apiserver RequestInfo)."""
    parts = request.path.strip("/").split("/")
    group = "" if parts[0] == "api" else parts[1]
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    resource, name, subresource = (*rest[2:], "", "")[:3]
    full = f"{resource}/{subresource}" if subresource else resource
    # A field selector for one name makes it a request about that name.
    name = name or request.query.get("fieldSelector", "").removeprefix("metadata.name=")
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    if request.method != "GET":
        yield Right(group, full, verbs[request.method], name)
    elif "watch" in request.query:
        yield Right(group, full, "watch", name)
    else:
        yield Right(group, full, "get" if name else "list", name)
    # Applying what is not there yet creates it.
    if "apply-patch" in request.content_type and not subresource:
        yield Right(group, full, "create")


@pytest.fixture
async def server() -> AsyncIterator[tuple[Recorder, Connection]]:
    """A recorder on a free port, and a connection to it."""
    recorder = Recorder()
    async with answering(recorder.answer) as connection:
        yield recorder, connection


async def free() -> None:
    """No bucket."""


class Deaf:
    """A listener that has nothing to do."""

    def changed(self, kind: str, metadata: dict[str, Any]) -> None:
        """Nothing."""

    def vanished(self, kind: str, metadata: dict[str, Any]) -> None:
        """Nothing."""

    def listed(self, kind: str, namespace: str, metadata: list[dict[str, Any]]) -> None:
        """Nothing."""


def body(kind: str) -> dict[str, Any]:
    """The least that can be written."""
    metadata = {"namespace": NAMESPACE, "name": NAME}
    return {"apiVersion": KINDS[kind].api_version, "kind": kind, "metadata": metadata}


async def watched(recorder: Recorder, connection: Connection, kind: str) -> None:
    """List and follow once."""
    recorder.followed.clear()
    watch = Watch(connection, kind, NAMESPACE, "", listener=Deaf(), clock=GivenClock(),
                  log=quiet_log())  # fmt: skip
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch.run())
        await recorder.followed.wait()
        task.cancel()


async def serve_gateways(recorder: Recorder, connection: Connection) -> None:
    """All that the operator asks for in any namespace."""
    cluster = ApiCluster(connection, throttle=free, may_write=lambda: True)
    for kind in CHILD_KINDS:
        await cluster.get(kind, NAMESPACE, NAME)
        await cluster.apply(body(kind), manager="smtp-operator")
        await cluster.delete(kind, NAMESPACE, NAME, uid="1", resource_version="1")
        await cluster.amend(kind, NAMESPACE, NAME, [{"op": "remove", "path": "/spec/ports/0"}])
        if kind != "Secret" or SETTINGS.secrets_watched:
            await watched(recorder, connection, kind)
    await cluster.get(GATEWAY, NAMESPACE, NAME)
    await cluster.list_metadata(GATEWAY, NAMESPACE, labels={})
    await cluster.apply_status(body(GATEWAY), manager="smtp-operator")
    await watched(recorder, connection, GATEWAY)  # as kopf does
    await cluster.create_event(body("Event"))
    await cluster.patch_event(NAMESPACE, NAME, {"series": {"count": 2}})


async def elect(connection: Connection) -> None:
    """All that the election asks for."""
    store = LeaseObject(connection, SETTINGS.pod_namespace, SETTINGS.lease_name)
    await store.read()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for version in ("", "1"):
        await store.write(Lease("one", acquired_at=now, renewed_at=now, resource_version=version))
    await store.changed("1")


def nameless(rights: set[Right]) -> set[Right]:
    """As rules without names grant them."""
    return {right._replace(name="") for right in rights}


async def test_every_call_is_granted_and_every_grant_is_used(
    server: tuple[Recorder, Connection],
) -> None:
    """The ClusterRole is what the client asks for, no more and no less."""
    recorder, connection = server

    await serve_gateways(recorder, connection)

    assert sorted(nameless(recorder.used)) == sorted(granted("ClusterRole"))


async def test_the_election_needs_its_own_lease_only(server: tuple[Recorder, Connection]) -> None:
    """All but creating is granted for one name; RBAC cannot know a name before it is made."""
    recorder, connection = server

    await elect(connection)

    assert sorted(recorder.used) == sorted(granted("Role"))


def test_every_kind_of_the_table_is_used() -> None:
    """A kind that was added without a call here would be a kind without rights."""
    assert set(KINDS) == {GATEWAY, *CHILD_KINDS, "Event", "Lease"}


def test_a_whole_clusters_secrets_cannot_be_listed() -> None:
    """Only those that an SmtpGateway names are read, one by one."""
    verbs = [right.verb for right in granted("ClusterRole") if right.resource == "secrets"]

    assert verbs == ["get", "create", "patch", "delete"]


@pytest.mark.parametrize("kind", ["ClusterRole", "Role"])
def test_nothing_is_granted_by_wildcard_nor_what_leads_to_more_rights(kind: str) -> None:
    """Whoever has the operator's token gets no pod, node, definition or role by it."""
    rights = granted(kind)

    assert not [right for right in rights if "*" in (right.group + right.resource + right.verb)]
    assert {right.group for right in rights}.isdisjoint(
        {"rbac.authorization.k8s.io", "apiextensions.k8s.io", "admissionregistration.k8s.io"}
    )
    assert {right.resource.split("/")[0] for right in rights}.isdisjoint(
        {"pods", "nodes", "namespaces"}
    )
    assert not [right for right in rights if right.resource.endswith(("/finalizers", "/token"))]
    assert {right.verb for right in rights}.isdisjoint({"escalate", "bind", "impersonate"})


def test_only_the_operators_own_account_is_bound() -> None:
    """Each role has one subject."""
    bindings = [one for one in documents() if one["kind"].endswith("Binding")]

    subject = {"kind": "ServiceAccount", "name": "smtp-operator", "namespace": "smtp-operator"}
    assert [(one["roleRef"]["kind"], one["subjects"]) for one in bindings] == [
        ("ClusterRole", [subject]),
        ("Role", [subject]),
    ]
