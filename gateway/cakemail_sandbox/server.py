"""Serving: one listening socket, uvicorn, and an end that leaves nothing open."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from cakemail_sandbox.app import build
from cakemail_sandbox.wire import SandboxProtocol
from cakemail_sandbox.world import House

# How long open requests may go on after the end was asked for; faults may hang for ever.
GRACE_SECONDS = 1
# Clients keep connections for reuse; a short life here would look like a fault that nobody set.
KEEP_ALIVE_SECONDS = 120
BACKLOG = 1024


def listen(host: str, port: int) -> socket.socket:
    """Bind, so that the port is known before anything is served.

    Raises:
        OSError: the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio sets TCP_NODELAY only on sockets whose protocol says
    # TCP; without it each answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def url_of(listener: socket.socket) -> str:
    """The base URL of this listener."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class SandboxServer(uvicorn.Server):
    """uvicorn that says when it serves, and ends the present world first when it stops.

    Otherwise an injected wait would hold up its end.
    """

    def __init__(self, house: House) -> None:
        super().__init__(
            uvicorn.Config(
                build(house),
                http=SandboxProtocol,
                ws="none",
                lifespan="on",
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._house = house
        self.on_started: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and tell who waits for it."""
        await super().startup(sockets)
        self.on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End."""
        self._house.world.end()
        await super().shutdown(sockets)
