"""The connection below HTTP, handed to the application with each request.

A web framework cannot reset a connection, and a stand-in that only pretends to does not show how a
client behaves on a reset. So uvicorn's own protocol class is extended by two things: it tells the
meter when connections come and go, and it puts a ``Wire`` into the scope of each request.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cakemail_sandbox.world import ConnectionMeter

EXTENSION = "cakemail_sandbox.wire"
METER = "cakemail_sandbox.meter"
# SO_LINGER on, with no time at all: closing sends RST instead of FIN (socket(7)).
_NO_LINGER = struct.pack("ii", 1, 0)


class Wire:
    """One TCP connection."""

    def __init__(self, number: int, transport: asyncio.Transport) -> None:
        self.number = number
        self._transport = transport

    @property
    def gone(self) -> bool:
        """The peer has left, or the connection is being closed."""
        return self._transport.is_closing()

    def reset(self) -> None:
        """End the connection with RST; the peer sees ECONNRESET."""
        handle = self._transport.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(handle.fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def close(self) -> None:
        """End the connection in good order, after what was written has left."""
        self._transport.close()


class SandboxProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol, with a meter and a wire."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._meter: ConnectionMeter = app_state[METER]
        self._wire: Wire | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base
        """Count, and remember the transport for the requests to come."""
        super().connection_made(transport)
        self._wire = Wire(self._meter.opened(), transport)
        self.app_state = {**self.app_state, EXTENSION: self._wire}

    def connection_lost(self, exc: Exception | None) -> None:
        """Count back."""
        super().connection_lost(exc)
        if self._wire is not None:
            self._meter.closed(self._wire.number)
