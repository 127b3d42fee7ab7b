"""What can go wrong between the operator and the API server, each as a value for a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from tests.support.faulty_api import Exchange, Fault, Stream, status_object

REASONS: Mapping[int, str] = {
    401: "Unauthorized",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


def refusing(code: int, *, retry_after: int | None = None) -> Fault:
    """The real API server is not asked; 429 may say when to come back."""

    async def fault(_: Exchange) -> web.StreamResponse:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        body = status_object(code, REASONS[code], f"made up: {code}")
        return web.json_response(body, status=code, headers=headers)

    return fault


async def dropped(exchange: Exchange) -> web.StreamResponse:
    """The connection ends; nothing was done."""
    return await exchange.abort()


async def unanswered(exchange: Exchange) -> web.StreamResponse:
    """It was done, but the connection ends before the answer."""
    await exchange.forward()
    return await exchange.abort()


async def half(exchange: Exchange) -> web.StreamResponse:
    """It was done; of the answer's JSON only half arrives, and properly so."""
    status, headers, content = await exchange.forward()
    return web.Response(status=status, headers=headers, body=content[: len(content) // 2])


async def empty(exchange: Exchange) -> web.StreamResponse:
    """It was done; the answer is fine, and empty."""
    await exchange.forward()
    return web.Response(body=b"", content_type="application/json")


def slow(seconds: float) -> Fault:
    """It was done at once, and answered late."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        status, headers, content = await exchange.forward()
        await asyncio.sleep(seconds)
        return web.Response(status=status, headers=headers, body=content)

    return fault


def meanwhile(action: Callable[[], Awaitable[None]]) -> Fault:
    """Something happens between the operator's decision and its request."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        await action()
        return await exchange.through()

    return fault


def spoiled(after: int, how: Callable[[Stream], None]) -> Fault:
    """A watch to which something happens once it has told so many lines."""

    def spoil(stream: Stream) -> None:
        if stream.told >= after:
            how(stream)

    async def fault(exchange: Exchange) -> web.StreamResponse:
        return await exchange.api.follow(exchange, spoil)

    return fault


def one_of(*faults: Fault) -> Fault:
    """Any of these, by the dice."""

    async def fault(exchange: Exchange) -> web.StreamResponse:
        return await exchange.rng.choice(faults)(exchange)

    return fault


# -- what happens to an open watch


def ended(stream: Stream) -> None:
    """Properly, in between two lines."""
    stream.end()


def half_a_line(stream: Stream) -> None:
    """Properly, as far as HTTP knows."""
    stream.end(b'{"type":"MODIFIED","object":{"metadata":{"na')


def a_broken_line(stream: Stream) -> None:
    """Which ends as a line does."""
    stream.end(b'{"type":"MODIFIED","obj\n')


def a_strange_line(stream: Stream) -> None:
    """JSON, but no event."""
    stream.end(b'{"type":"MODIFIED","object":{}}\n')


def expired(stream: Stream) -> None:
    """410: the version is too old."""
    stream.fail(status_object(410, REASONS[410], "too old resource version: 1 (2)"))


def failed(stream: Stream) -> None:
    """500 in the middle of it."""
    stream.fail(status_object(500, REASONS[500], "etcdserver: no leader"))


def aborted(stream: Stream) -> None:
    """The connection is gone."""
    stream.abort()


def silenced(stream: Stream) -> None:
    """It stays open, and nothing comes."""
    stream.muted = True
