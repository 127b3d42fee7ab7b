"""The pool: its limits, its credentials, and answers that are none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from kubernetes.aio.client import Configuration

from smtp_operator.cluster.connection import Connection, Patience, follow_token
from smtp_operator.errors import ClusterUnavailable
from tests.smtp_operator.cluster.test_watches import Api, lines, reply, served

__all__ = ["served"]  # a fixture

Served = tuple[Api, Connection]


def to(connection: Connection, **patience: float) -> Connection:
    """Another connection to the same server."""
    return Connection(Configuration(host=connection.host), Patience(**patience))


@pytest.fixture
async def hasty(served: Served) -> AsyncIterator[Connection]:
    """One that waits a fifth of a second."""
    made = to(served[1], read=0.2, write=0.2, silence=0.2)
    yield made
    await made.close()


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_answer_that_does_not_come_is_not_waited_for(
    served: Served, hasty: Connection, method: str
) -> None:
    """Neither to a read nor to a write."""
    api, _ = served
    with pytest.raises(ClusterUnavailable, match="TimeoutError"):
        await hasty.call(method, "/x")
    assert len(api.requests) == 1


async def test_a_silent_stream_is_given_up(served: Served, hasty: Connection) -> None:
    """Open, and nothing comes."""
    api, _ = served
    api.scripts = [lines("one\n", ends=False)]
    heard = []
    with pytest.raises(ClusterUnavailable, match="WATCH /x"):
        async with hasty.stream("/x", {}) as told:
            heard = [line async for line in told]
    assert heard == []


@pytest.mark.parametrize("body", ["", "[]", "3", '{"half": ', "<html>"])
async def test_an_answer_that_is_no_object_is_no_answer(served: Served, body: str) -> None:
    """The API server answers nothing else; what stands before it may."""
    api, connection = served
    api.scripts = [lines(body)]
    with pytest.raises(ClusterUnavailable, match="the answer is no"):
        await connection.call("GET", "/x")


async def test_any_number_of_watches_leaves_room_for_requests(served: Served) -> None:
    """Eleven kinds in ten namespaces are more than the library's hundred connections."""
    api, connection = served
    api.scripts = [lines(ends=False) for _ in range(110)] + [reply({"fine": True})]
    async with asyncio.timeout(30), AsyncExitStack() as open_ones:
        for number in range(110):
            await open_ones.enter_async_context(connection.stream(f"/{number}", {}))
        assert await connection.call("GET", "/x") == {"fine": True}


async def test_each_request_carries_the_token_that_the_file_holds(
    served: Served, tmp_path: Path
) -> None:
    """A file that is away for a moment, or empty, changes nothing."""
    api, connection = served
    file = tmp_path / "token"
    file.write_text("zeroth", encoding="ascii")
    configuration = Configuration(host=connection.host)
    follow_token(configuration, file)
    following = Connection(configuration)
    sent = []
    for content in ("first\n", "second", "", None):
        if content is None:
            file.unlink()
        else:
            file.write_text(content, encoding="ascii")
        api.scripts = [reply({})]
        await following.call("GET", "/x")
        sent.append(api.requests[-1][3]["Authorization"])
    assert sent == ["Bearer first", "Bearer second", "Bearer second", "Bearer second"]
    assert (await following.access()).token == "second"
    await following.close()
