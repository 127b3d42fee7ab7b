"""uvicorn inside the gateway's own loop; signals stay with the gateway."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from smtp_gateway.utils.sockets import listen

STOP_SECONDS = 2  # a scrape in progress may end


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM drains mail first; uvicorn would end health before that."""
        yield


class HttpServer:
    """Serves one application on one address until it is told to stop.

    Args:
        app: what answers.
        host: address to listen on; "" for all, of IPv4 and IPv6.
        port: port to listen on.
    """

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_SECONDS,
            limit_concurrency=100,
        )
        self._server = _Server(config)
        self._host, self._port = host, port
        self._socket: socket.socket | None = None

    def bind(self) -> int:
        """Take the port, so that a taken one ends the start; returns the port.

        Raises:
            OSError: the address cannot be taken.
        """
        self._socket = listen(self._host, self._port)
        return int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Answer until ``stop``; ``bind`` comes first."""
        if self._socket is None:
            self.bind()
        await self._server.serve(sockets=[s for s in [self._socket] if s is not None])

    def stop(self) -> None:
        """Let ``serve`` end."""
        self._server.should_exit = True
