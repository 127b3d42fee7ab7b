"""The relay is nothing but wire: bytes, ends and refusals pass as they are."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster import relay

HOST = "127.0.0.1"


@contextmanager
def relayed(port: int) -> Iterator[int]:
    """The program itself, with an inherited socket."""
    with socket.create_server((HOST, 0)) as listener:
        words = [sys.executable, "-P", str(relay.__file__), str(listener.fileno()), HOST, str(port)]
        process = subprocess.Popen(words, pass_fds=[listener.fileno()])
        entrance = int(listener.getsockname()[1])
    try:
        yield entrance
    finally:
        process.terminate()
        process.wait()


async def test_bytes_and_their_end_pass_in_both_directions() -> None:
    """A side that has said all still hears the answer."""

    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(shout, HOST, 0) as server:
        with relayed(server.sockets[0].getsockname()[1]) as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"hello " * 100_000)
            writer.write_eof()

            assert await reader.read() == b"HELLO " * 100_000
            writer.close()
            await writer.wait_closed()


async def test_a_refused_connection_is_reset() -> None:
    """Whoever connects learns that nobody is there."""
    with socket.create_server((HOST, 0)) as closed:
        nobody = int(closed.getsockname()[1])
    with relayed(nobody) as port:
        reader, writer = await asyncio.open_connection(HOST, port)

        with pytest.raises(ConnectionResetError):
            assert await reader.read(1) == b"something"
        writer.close()


async def test_a_reset_passes() -> None:
    """A connection that was cut does not look like one that ended."""
    arrived: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await arrived.put(writer)

    async with await asyncio.start_server(cut, HOST, 0) as server:
        with relayed(server.sockets[0].getsockname()[1]) as port:
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"hello")
            relay.reset(await arrived.get())

            with pytest.raises(ConnectionResetError):
                assert await reader.read(1) == b"something"
            writer.close()
