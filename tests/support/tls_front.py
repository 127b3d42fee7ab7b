"""TLS in front of a plain server: what a load balancer does for the API."""

from __future__ import annotations

import asyncio
import ssl
import threading
from concurrent.futures import Future
from typing import Self

PATIENCE_SECONDS = 20


class TlsFront:
    """Listens with TLS on a port of loopback and forwards octets; in a thread of its own.

    Args:
        port: of the plain server.
        context: the certificate it shows.
    """

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self._port = port
        self._context = context
        self._listening: Future[int] = Future()
        self._ended: Future[asyncio.Event] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="tls")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        ended = self._ended.result(PATIENCE_SECONDS)
        self._loop.call_soon_threadsafe(ended.set)
        self._thread.join(PATIENCE_SECONDS)

    @property
    def url(self) -> str:
        """By name, because a certificate is checked against one."""
        return f"https://localhost:{self._listening.result(PATIENCE_SECONDS)}"

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        server = await asyncio.start_server(self._forward, "localhost", 0, ssl=self._context)
        self._ended.set_result(ended)
        self._listening.set_result(server.sockets[0].getsockname()[1])
        async with server:
            await ended.wait()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self._port)
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(reader, behind_writer))
            both.create_task(_pump(behind_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
