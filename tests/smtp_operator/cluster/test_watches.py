"""Connection, client and watches against a small server that misbehaves on command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from smtp_operator.cluster.client import ApiCluster, selector
from smtp_operator.cluster.connection import Connection
from smtp_operator.cluster.watches import Watch
from smtp_operator.errors import ClusterUnavailable, NotFound
from tests.support.answering import answering
from tests.support.fleet_world import GivenClock, quiet_log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers each request with the next script."""

    def __init__(self) -> None:
        self.scripts: list[Handler] = []
        self.requests: list[tuple[str, str, dict[str, str], dict[str, str], str]] = []
        self.hang = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.requests.append(
            (
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                await request.text(),
            )
        )
        if not self.scripts:
            await self.hang.wait()
        return await self.scripts.pop(0)(request)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Api, Connection]]:
    """A server on a free port, and a connection to it."""
    api = Api()
    async with answering(api.answer) as connection:
        yield api, connection


def reply(body: Any, status: int = 200, **headers: str) -> Handler:
    """One JSON answer."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(body, status=status, headers=headers)

    return answer


def lines(*texts: str | bytes, ends: bool = True) -> Handler:
    """A stream; it breaks off, or stays open in silence."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for text in texts:
            await response.write(text.encode() if isinstance(text, str) else text)
        if not ends:
            await asyncio.Event().wait()
        return response

    return answer


def page(*names: str, version: str = "10", more: str = "") -> Handler:
    """A list."""
    return reply(
        {"metadata": {"resourceVersion": version, "continue": more},
         "items": [item(name) for name in names]}
    )  # fmt: skip


def item(name: str, version: str = "5") -> dict[str, Any]:
    """Metadata of a Service."""
    return {"metadata": {"name": name, "namespace": "mail", "uid": name,
                         "resourceVersion": version}}  # fmt: skip


def told(kind: str, name: str, version: str) -> str:
    """A line of a watch."""
    return json.dumps({"type": kind, "object": item(name, version)}) + "\n"


class Ear:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.changed_event = asyncio.Event()

    def changed(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``Listener``."""
        self._note(f"changed {metadata['metadata']['name']}")

    def vanished(self, kind: str, metadata: dict[str, Any]) -> None:
        """See ``Listener``."""
        self._note(f"vanished {metadata['metadata']['name']}")

    def listed(self, kind: str, namespace: str, metadata: list[dict[str, Any]]) -> None:
        """See ``Listener``."""
        self._note("listed " + ",".join(m["metadata"]["name"] for m in metadata))

    def _note(self, what: str) -> None:
        self.heard.append(what)
        self.changed_event.set()

    async def until(self, number: int) -> list[str]:
        """Wait until so much was heard."""
        async with asyncio.timeout(10):
            while len(self.heard) < number:
                self.changed_event.clear()
                await self.changed_event.wait()
        return self.heard


async def heard_by_watch(connection: Connection, number: int) -> tuple[list[str], Watch]:
    """What a watch tells, until it has told so much."""
    ear = Ear()
    watch = Watch(
        connection, "Service", "mail", "a=b", listener=ear, clock=GivenClock(), log=quiet_log()
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(watch.run())
        found = list(await ear.until(number))
        running.cancel()
    return found, watch


async def test_a_list_in_chunks_then_changes(served: tuple[Api, Connection]) -> None:
    """All chunks are one list; the watch begins where the list ended."""
    api, connection = served
    api.scripts = [page("a", more="next"), page("b", version="12"),
                   lines(told("ADDED", "c", "13"), told("DELETED", "a", "14"), ends=False),
                   ]  # fmt: skip
    found, watch = await heard_by_watch(connection, 3)
    assert found == ["listed a,b", "changed c", "vanished a"]
    assert watch.synced.is_set()
    first, second, third = api.requests
    assert first[2] == {"limit": "500", "labelSelector": "a=b"}
    assert second[2]["continue"] == "next"
    assert (third[2]["resourceVersion"], third[2]["allowWatchBookmarks"]) == ("12", "true")
    assert "as=PartialObjectMetadataList" in first[3]["Accept"]
    assert "as=PartialObjectMetadata;" in third[3]["Accept"]


async def test_a_dropped_stream_goes_on_where_it_was(served: tuple[Api, Connection]) -> None:
    """A bookmark moves the place; half a line at the end is nothing."""
    api, connection = served
    bookmark = json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "40"}}})
    api.scripts = [page("a"), lines(told("MODIFIED", "a", "20"), bookmark + "\n", '{"type": "ADD'),
                   lines(told("MODIFIED", "a", "41"), ends=False)]  # fmt: skip
    found, _ = await heard_by_watch(connection, 3)
    assert found == ["listed a", "changed a", "changed a"]
    assert api.requests[2][2]["resourceVersion"] == "40"


@pytest.mark.parametrize("in_stream", [True, False])
async def test_after_410_everything_is_listed_anew(
    served: tuple[Api, Connection], *, in_stream: bool
) -> None:
    """What vanished in the gap is told by the list alone."""
    api, connection = served
    status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    gone = (
        lines(json.dumps({"type": "ERROR", "object": status}) + "\n")
        if in_stream
        else reply(status, 410)
    )
    api.scripts = [page("a", "b"), gone, page("b", version="50"), lines(ends=False)]
    found, _ = await heard_by_watch(connection, 2)
    assert found == ["listed a,b", "listed b"]


async def test_a_line_may_be_longer_than_any_buffer(served: tuple[Api, Connection]) -> None:
    """Three megabytes in pieces."""
    api, connection = served
    big = item("big", "11")
    big["metadata"]["annotations"] = {"x": "y" * 3_000_000}
    line = (json.dumps({"type": "ADDED", "object": big}) + "\n").encode()
    api.scripts = [page("a"), lines(line[:1000], line[1000:], ends=False)]
    found, _ = await heard_by_watch(connection, 2)
    assert found == ["listed a", "changed big"]


async def test_errors_are_waited_out(served: tuple[Api, Connection]) -> None:
    """500, no JSON, a kind that is not served yet: it comes back each time."""
    api, connection = served
    api.scripts = [reply({"message": "boom"}, 500), reply({}, 404), page("a"),
                   lines("nonsense\n"), lines(told("ADDED", "b", "11"), ends=False)]  # fmt: skip
    found, _ = await heard_by_watch(connection, 2)
    assert found == ["listed a", "changed b"]


@pytest.mark.parametrize(
    "line", ["[]\n", "{}\n",
             '{"type": "ADDED", "object": 3}\n', '{"type": "ADDED", "object": {}}\n',
             '{"type": "ERROR", "object": {"code": 500}}\n', '{"type": "ADDED", "obj\n']
)  # fmt: skip
async def test_a_line_that_tells_nothing_costs_only_a_new_watch(
    served: tuple[Api, Connection], line: str
) -> None:
    """It goes on from the last version that was told."""
    api, connection = served
    api.scripts = [page("a"), lines(told("MODIFIED", "a", "20"), line, ends=False),
                   lines(told("ADDED", "b", "21"), ends=False)]  # fmt: skip
    found, _ = await heard_by_watch(connection, 3)
    assert found == ["listed a", "changed a", "changed b"]
    assert api.requests[2][2]["resourceVersion"] == "20"


async def test_a_list_without_a_version_is_asked_for_again(
    served: tuple[Api, Connection],
) -> None:
    """What a proxy may answer for a server that is away."""
    api, connection = served
    api.scripts = [reply({}), reply({"metadata": {}}), page("a"), lines(ends=False)]
    found, _ = await heard_by_watch(connection, 1)
    assert found == ["listed a"]


async def test_a_watch_keeps_to_the_patience_that_is_asked_for(
    served: tuple[Api, Connection],
) -> None:
    """429 with Retry-After, as priority and fairness answers."""
    api, connection = served
    api.scripts = [reply({}, 429, **{"Retry-After": "1"}), page("a"), lines(ends=False)]
    began = asyncio.get_running_loop().time()
    await heard_by_watch(connection, 1)
    assert asyncio.get_running_loop().time() - began >= 1


async def free() -> None:
    """A bucket that is never empty."""


def cluster(connection: Connection, *, leading: bool = True) -> ApiCluster:
    """A client over it."""
    return ApiCluster(connection, throttle=free, may_write=lambda: leading)


BODY = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "mail", "name": "a"}}


async def test_an_apply_as_the_api_server_wants_it(served: tuple[Api, Connection]) -> None:
    """Manager and force in the query, the type of server-side apply, the object as it is."""
    api, connection = served
    api.scripts = [reply(BODY), reply(BODY)]
    await cluster(connection).apply(BODY, manager="m", force=False, dry_run=True)
    await cluster(connection).apply_status({**BODY, "status": {}}, manager="s")
    first, second = api.requests
    assert first[:2] == ("PATCH", "/api/v1/namespaces/mail/services/a")
    assert first[2] == {"fieldManager": "m", "force": "false", "dryRun": "All"}
    assert first[3]["Content-Type"] == "application/apply-patch+yaml"
    assert json.loads(first[4]) == BODY
    assert second[1].endswith("/services/a/status")
    assert second[2] == {"fieldManager": "s", "force": "true"}


async def test_a_delete_carries_its_preconditions(served: tuple[Api, Connection]) -> None:
    """And what is gone already is fine."""
    api, connection = served
    api.scripts = [reply({}), reply({}, 404)]
    for _ in range(2):
        await cluster(connection).delete("Service", "mail", "a", uid="u", resource_version="7")
    options = json.loads(api.requests[0][4])
    assert options["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert options["propagationPolicy"] == "Background"


async def test_who_does_not_lead_writes_nothing(served: tuple[Api, Connection]) -> None:
    """No request leaves."""
    api, connection = served
    client = cluster(connection, leading=False)
    for write in (
        client.apply(BODY, manager="m"),
        client.apply_status(BODY, manager="m"),
        client.delete("Service", "mail", "a", uid="u", resource_version="7"),
        client.create_event(BODY),
        client.patch_event("mail", "a", {}),
    ):
        with pytest.raises(ClusterUnavailable, match="does not lead"):
            await write
    assert api.requests == []


async def test_absence_throttling_and_silence_are_told_apart(
    served: tuple[Api, Connection],
) -> None:
    """Each as an error of ours."""
    api, connection = served
    api.scripts = [reply({}, 404), reply({}, 429, **{"Retry-After": "2"}), lines("no json")]
    client = cluster(connection)
    with pytest.raises(NotFound):
        await client.get("Service", "mail", "a")
    with pytest.raises(ClusterUnavailable) as patience:
        await client.get("Service", "mail", "a")
    assert patience.value.retry_after_seconds == 2.0
    with pytest.raises(ClusterUnavailable, match="no JSON"):
        await client.get("Service", "mail", "a")


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """Nobody listens: an error of ours, not of the library's."""
    connection = Connection(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(ClusterUnavailable, match="GET /x"):
        await connection.call("GET", "/x")
    await connection.close()


async def test_kinds_and_version_are_asked_for(served: tuple[Api, Connection]) -> None:
    """One request a group; an absent group is an absent kind."""
    api, connection = served
    api.scripts = [
        reply({}, 404),
        reply({"resources": [{"name": "servicemonitors"}]}),
        reply({"resources": [{"name": "servicemonitors"}]}),
        reply({"major": "1", "minor": "31+"}),
    ]
    client = cluster(connection)
    assert await client.optional_kinds() == {"ServiceMonitor"}
    assert await client.version() == (1, 31)


async def test_lists_name_their_kind(served: tuple[Api, Connection]) -> None:
    """The API server leaves it out of items."""
    api, connection = served
    api.scripts = [page("a", more="x"), page("b")]
    found = await cluster(connection).list_metadata("Service", "", labels={"k": "v"})
    assert [(o["kind"], o["apiVersion"], o["metadata"]["name"]) for o in found] == [
        ("Service", "v1", "a"),
        ("Service", "v1", "b"),
    ]
    assert api.requests[1][2] == {"limit": "500", "labelSelector": "k=v", "continue": "x"}
    assert selector({"b": "", "a": "1"}) == "a=1,b"
