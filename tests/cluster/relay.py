"""Carry TCP connections between this machine and a cluster's network.

A process of its own, started inside the network that it connects in; the listening socket is
inherited and may belong to another network. So it needs no rights and no names of namespaces.

    python -P relay.py FILE-DESCRIPTOR HOST PORT
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys

_CHUNK_BYTES = 1 << 16


async def serve(listener: socket.socket, host: str, port: int) -> None:
    """Answer each connection to the listener by one to host and port, for ever."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(host, port)
        except OSError:
            reset(writer)  # the nearest thing to a refusal that is left
            return
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        for each in (writer, far_writer):
            each.close()

    server = await asyncio.start_server(carry, sock=listener, limit=_CHUNK_BYTES)
    await server.serve_forever()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """One direction until its end, which the other side gets to see as such."""
    try:
        while chunk := await source.read(_CHUNK_BYTES):
            target.write(chunk)
            await target.drain()
        target.write_eof()
    except OSError:
        reset(target)


def reset(writer: asyncio.StreamWriter) -> None:
    """End with RST instead of FIN: what was cut must not look complete."""
    opened: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # closed already
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def main() -> None:
    """Serve the inherited socket."""
    descriptor, host, port = sys.argv[1:]
    listener = socket.socket(fileno=int(descriptor))
    asyncio.run(serve(listener, host, int(port)))


if __name__ == "__main__":
    main()
