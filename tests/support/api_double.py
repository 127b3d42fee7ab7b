"""A scripted HTTP/1.1 server on loopback in the place of the Cakemail API: real sockets, any fault.

async with ApiDouble() as api:
    api.on("POST /token", said(401, {"detail": []}), said(200, {...}))   # the last one repeats
    ...
    assert len(api.calls("POST /token")) == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Call:
    """One request as it arrived; ``target`` is the raw request target."""

    name: str
    target: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The body read as a form."""
        return dict(parse_qsl(self.body.decode("ascii"), keep_blank_values=True))

    @property
    def bearer(self) -> str:
        """The token of the Authorization field."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")


@dataclass(frozen=True, slots=True)
class Said:
    """What the double does with a request.

    Attributes:
        status: of the answer.
        body: of the answer.
        headers: further fields.
        resets: close the connection instead of answering.
        resets_early: close it after the head of the request, before its body is read.
        cut_at: close it after so many bytes of the answer's body.
        closes: close it after the answer without saying so before.
        is_endless: never stop sending the body.
        gate: wait for it before anything else.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    resets: bool = False
    resets_early: bool = False
    cut_at: int | None = None
    closes: bool = False
    is_endless: bool = False
    gate: asyncio.Event | None = None


Answers = Said | Callable[[Call], Said]
"""What to do with a request, or how to find out from it."""


def said(status: int, document: Any = None, **headers: str) -> Said:
    """An answer with JSON; bytes stay as they are. Header names: ``_`` becomes ``-``."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    return Said(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


ENDLESS_PIECE_BYTES = 16_384


class ApiDouble:
    """The server.

    Attributes:
        seen: every request, in order.
        connections: how many were opened so far.
        open_connections: how many are open now.
        endless_bytes: what was written of endless bodies.
        arrived: set whenever a request has arrived; clear it to wait for the next one.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Call] = []
        self.connections = 0
        self.open_connections = 0
        self.arrived = asyncio.Event()
        self.endless_bytes = 0
        self._tls = tls
        self._script: dict[str, list[Answers]] = {}
        self._handlers: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def base_url(self) -> str:
        """For ``CAKEMAIL_API_URL``."""
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}"

    def on(self, name: str, *answers: Answers) -> None:
        """Answers for ``"METHOD /path"``, one after the other; the last one stays."""
        self._script[name] = list(answers)

    def calls(self, name: str) -> list[Call]:
        """The requests of one kind."""
        return [call for call in self.seen if call.name == name]

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._server is None:
            return
        self._server.close()
        for handler in self._handlers:
            handler.cancel()
        if self._handlers:
            await asyncio.wait(set(self._handlers))
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.connections += 1
        self.open_connections += 1
        # Lost connections and the end of the test are what a client or a test decides.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.transport.abort()
        self.open_connections -= 1
        self._handlers.discard(task)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await _read_head(reader)
        answers = self._script.get(head.name, [said(404, {"detail": "Not Found"})])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Said) and answer.resets_early:
            return False
        body = await reader.readexactly(int(head.headers.get("content-length", "0")))
        call = replace(head, body=body)
        self.seen.append(call)
        self.arrived.set()
        if not isinstance(answer, Said):
            answer = answer(call)
        if answer.gate is not None:
            await answer.gate.wait()
        if answer.resets:
            return False
        await _write(writer, answer)
        while answer.is_endless:
            writer.write(b"x" * ENDLESS_PIECE_BYTES)
            self.endless_bytes += ENDLESS_PIECE_BYTES
            await writer.drain()
        return answer.cut_at is None and not answer.closes


async def _read_head(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    fields = (line.split(":", 1) for line in head[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, value in fields}
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Call(f"{method} {unquote(parts.path)}", target, query, headers, b"")


async def _write(writer: asyncio.StreamWriter, answer: Said) -> None:
    fields = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    length = 1 << 40 if answer.is_endless else len(answer.body)
    head = f"HTTP/1.1 {answer.status} Said\r\ncontent-length: {length}\r\n{fields}\r\n"
    writer.write(head.encode("latin-1") + answer.body[: answer.cut_at])
    await writer.drain()
