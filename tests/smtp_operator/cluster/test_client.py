"""What the verbs send, and who is asked before anything is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from smtp_operator.cluster.client import ApiCluster, selector
from smtp_operator.cluster.connection import Connection
from smtp_operator.errors import ClusterUnavailable
from tests.support.answering import answering

PATH = "/api/v1/namespaces/mail/configmaps"
BODY = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"namespace": "mail", "name": "alpha"},
}


class Server:
    """Writes requests down and answers as it is told."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, Any]] = []
        self.answers: list[Any] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        content = await request.text()
        sent = json.loads(content) if content else None
        self.seen.append((request.method, request.path_qs, request.content_type, sent))
        return web.json_response(self.answers.pop(0) if self.answers else {"metadata": {}})


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Connection]]:
    """On a free port, with a connection to it."""
    made = Server()
    async with answering(made.answer) as connection:
        yield made, connection


async def free() -> None:
    """A bucket that is never empty."""


async def test_an_apply_names_its_manager_and_whether_it_takes_fields(
    server: tuple[Server, Connection],
) -> None:
    """As server-side apply wants them; a dry run says so."""
    seen, connection = server
    cluster = ApiCluster(connection, throttle=free, may_write=lambda: True)
    await cluster.apply(BODY, manager="m")
    await cluster.apply(BODY, manager="m", force=False, dry_run=True)
    await cluster.apply_status(BODY, manager="s")
    kind = "application/apply-patch+yaml"
    assert seen.seen == [
        ("PATCH", f"{PATH}/alpha?fieldManager=m&force=true", kind, BODY),
        ("PATCH", f"{PATH}/alpha?fieldManager=m&force=false&dryRun=All", kind, BODY),
        ("PATCH", f"{PATH}/alpha/status?fieldManager=s&force=true", kind, BODY),
    ]


async def test_a_patch_and_a_delete_say_what_they_mean(server: tuple[Server, Connection]) -> None:
    """The one as RFC 6902, the other with both preconditions."""
    seen, connection = server
    cluster = ApiCluster(connection, throttle=free, may_write=lambda: True)
    step = {"op": "remove", "path": "/data/x"}
    await cluster.amend("ConfigMap", "mail", "alpha", [step])
    await cluster.delete("ConfigMap", "mail", "alpha", uid="u", resource_version="7")
    (amended, deleted) = seen.seen
    assert amended == ("PATCH", f"{PATH}/alpha", "application/json-patch+json", [step])
    assert deleted[:2] == ("DELETE", f"{PATH}/alpha")
    assert deleted[3]["preconditions"] == {"uid": "u", "resourceVersion": "7"}


async def test_a_list_is_read_page_by_page(server: tuple[Server, Connection]) -> None:
    """Each page costs a token; items get the kind that a list leaves out."""
    seen, connection = server
    tokens: list[int] = []

    async def count() -> None:
        tokens.append(1)

    item = {"metadata": {"name": "alpha"}}
    seen.answers = [
        {"metadata": {"continue": "more"}, "items": [item]},
        {"metadata": {}, "items": [item]},
    ]
    cluster = ApiCluster(connection, throttle=count, may_write=lambda: False)
    found = await cluster.list_metadata("ConfigMap", "", labels={"a": "b"})
    assert found == [item | {"apiVersion": "v1", "kind": "ConfigMap"}] * 2
    assert [path for _, path, _, _ in seen.seen] == [
        "/api/v1/configmaps?limit=500&labelSelector=a%3Db",
        "/api/v1/configmaps?limit=500&labelSelector=a%3Db&continue=more",
    ]
    assert len(tokens) == 2


async def test_who_does_not_lead_writes_nothing(server: tuple[Server, Connection]) -> None:
    """Every write asks after it waited for its token; reading needs no lead."""
    seen, connection = server
    cluster = ApiCluster(connection, throttle=free, may_write=lambda: False)
    writes = (
        cluster.apply(BODY, manager="m"),
        cluster.apply_status(BODY, manager="m"),
        cluster.amend("ConfigMap", "mail", "alpha", []),
        cluster.delete("ConfigMap", "mail", "alpha", uid="u", resource_version="7"),
        cluster.create_event(BODY),
        cluster.patch_event("mail", "alpha", {}),
    )
    for write in writes:
        with pytest.raises(ClusterUnavailable):
            await write
    assert seen.seen == []
    await cluster.get("ConfigMap", "mail", "alpha")
    assert [method for method, _, _, _ in seen.seen] == ["GET"]


async def test_a_kind_is_served_when_discovery_names_it(server: tuple[Server, Connection]) -> None:
    """By its plural, in its own group and version."""
    seen, connection = server
    seen.answers = [{"resources": [{"name": "certificates"}]}, {"resources": []}]
    cluster = ApiCluster(connection, throttle=free, may_write=lambda: False)
    assert await cluster.serves("Certificate") is True
    assert await cluster.serves("Certificate") is False
    assert {path for _, path, _, _ in seen.seen} == {"/apis/cert-manager.io/v1"}


def test_a_selector_asks_for_a_value_or_for_the_label_alone() -> None:
    """In the order of names, so that equal labels give one text."""
    assert selector({"b": "", "a": "x"}) == "a=x,b"
