"""An HTTP server of one handler, and the operator's connection to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from kubernetes.aio.client import Configuration

from smtp_operator.cluster.connection import Connection


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[Connection]:
    """On a free port of loopback; every path and method comes to ``answer``."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    # A request that the connection has left is left here too.
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    connection = Connection(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield connection
    finally:
        await connection.close()
        await runner.cleanup()
