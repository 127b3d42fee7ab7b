"""What a hostile client can make the process take: nothing that grows with what it sends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.support.edge import LOGIN, Client
from tests.support.gateway import Certificates

SENT_BYTES = 48 << 20
ALLOWED_BYTES = 12 << 20  # three times the size limit of 1 MiB, and the allocator's slack
PIECE = b"x" * 65_536


@dataclass
class Running:
    """The process under attack."""

    process: asyncio.subprocess.Process
    certificates: Certificates
    port: int = 0

    async def told(self) -> int:
        """The number that it writes next."""
        assert self.process.stdout is not None
        return int(await self.process.stdout.readline())

    async def peak_bytes(self) -> int:
        """The most memory it ever had."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return await self.told()

    async def end(self) -> int:
        """Its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """A server in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.edge_process",
        str(tmp_path),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    unused = trustme.CA(key_type=trustme.KeyType.ECDSA)  # the process makes its own
    started = Running(process, Certificates(tmp_path, unused))
    started.port = await started.told()
    yield started
    assert await started.end() == 0


async def ready(running: Running, lines: tuple[str, ...]) -> Client:
    """A client that has said these lines in TLS."""
    client = await Client.connect(running.port, running.certificates)
    await client.reply()
    await client.ask("EHLO x")
    await client.ask("STARTTLS")
    await client.start_tls()
    for line in ("EHLO x", *lines):
        await client.ask(line)
    return client


IN_DATA = (f"AUTH PLAIN {LOGIN}", "MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA")


@pytest.mark.trap(17)
@pytest.mark.parametrize(
    ("lines", "begins", "line_end"),
    [
        ((), b"NOOP ", b""),
        ((), b"AUTH PLAIN ", b""),
        (IN_DATA, b"Subject: ", b""),
        (IN_DATA, b"", b"\r\nX: y\r\n"),
        (IN_DATA, b"\r\n", b""),
        (IN_DATA, b"\r\n", b"\r\n"),
    ],
    ids=["endless command", "endless login", "endless header", "endless headers", "endless line",
         "endless body"],
)  # fmt: skip
async def test_what_never_ends_takes_no_memory(
    running: Running, lines: tuple[str, ...], begins: bytes, line_end: bytes
) -> None:
    """Trap 17: 48 MiB of it, and the peak stays where it was."""
    client = await ready(running, lines)
    before = await running.peak_bytes()
    try:
        await client.send(begins)
        for _ in range(SENT_BYTES // len(PIECE)):
            await client.send(PIECE + line_end)
    except ConnectionError:
        pass  # the server had enough of it
    finally:
        await client.gone()
    assert await running.peak_bytes() - before < ALLOWED_BYTES
