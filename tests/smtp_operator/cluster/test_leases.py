"""The election's record on the wire: created once, replaced in the version that was read."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest

from smtp_operator.cluster.api import Lease
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.leases import LeaseObject
from smtp_operator.errors import ClusterUnavailable
from tests.smtp_operator.cluster.test_watches import Api, lines, reply, served, told

__all__ = ["served"]  # a fixture

Served = tuple[Api, Connection]
ALL = "/apis/coordination.k8s.io/v1/namespaces/ops/leases"
MOMENT = datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC)
ANSWER = {
    "metadata": {"resourceVersion": "7"},
    "spec": {
        "holderIdentity": "one",
        "leaseTransitions": 3,
        "acquireTime": "2026-11-24T08:00:00.123456Z",
        "renewTime": None,
    },
}
READ = Lease("one", 3, MOMENT, None, "7")


def store(connection: Connection) -> LeaseObject:
    """The Lease ``ops/election``."""
    return LeaseObject(connection, "ops", "election")


async def test_what_is_read_is_what_stands_there(served: Served) -> None:
    """An absent Lease is none; a released one has no holder."""
    api, connection = served
    released = {"metadata": {"resourceVersion": "8"}, "spec": {"holderIdentity": ""}}
    api.scripts = [reply(ANSWER), reply({}, 404), reply(released)]
    found = [await store(connection).read() for _ in range(3)]
    assert found == [READ, None, Lease("", resource_version="8")]
    assert {(method, path) for method, path, *_ in api.requests} == {("GET", f"{ALL}/election")}


async def test_the_first_write_creates_and_the_next_names_its_version(served: Served) -> None:
    """A replacement without a version would take a Lease from whoever has it."""
    api, connection = served
    api.scripts = [reply(ANSWER, 201), reply(ANSWER)]
    assert await store(connection).write(Lease("one", 0, MOMENT, MOMENT)) == READ
    await store(connection).write(READ)
    first, second = api.requests
    assert first[:2] == ("POST", ALL)
    assert json.loads(first[4]) == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": "ops", "name": "election"},
        "spec": {
            "holderIdentity": "one",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 0,
            "acquireTime": "2026-11-24T08:00:00.123456Z",
            "renewTime": "2026-11-24T08:00:00.123456Z",
        },
    }
    assert second[:2] == ("PUT", f"{ALL}/election")
    assert json.loads(second[4])["metadata"]["resourceVersion"] == "7"


async def test_an_answer_without_a_version_is_no_lease(served: Served) -> None:
    """It must not end the election."""
    api, connection = served
    api.scripts = [reply({"spec": {}})]
    with pytest.raises(ClusterUnavailable, match="no version"):
        await store(connection).read()


@pytest.mark.parametrize(
    "line", [told("MODIFIED", "election", "8"), '{"type": "ERROR", "object": {}}\n', "nonsense\n"]
)
async def test_any_news_is_a_reason_to_look(served: Served, line: str) -> None:
    """Another version, an error, or what nobody can read; not the version that is known."""
    api, connection = served
    api.scripts = [lines(told("ADDED", "election", "7"), line, ends=False)]
    async with asyncio.timeout(10):
        await store(connection).changed("7")
    query = api.requests[0][2]
    assert query["fieldSelector"] == "metadata.name=election"
    assert query["resourceVersion"] == "7"
