"""The hot POST behind a small interface (performance.md 3).

``AiohttpSubmitter`` is the one in use: straight on aiohttp's session, a third of the cost of a call
through httpx. ``HttpxSubmitter`` does the same through httpx and is the reference of a
differential test, and the fallback.

Both answer one question exactly, because duplicates hang on it: was a byte of the request sent
(``NotConfirmed``) or certainly none (``Unreachable``)? The names of the libraries' exceptions do
not tell; a reset of a kept connection even arrives as a "connect" error. So the body itself keeps
the mark: it is asked for its first piece only when the request is about to be written.
"""

from __future__ import annotations

import asyncio
import select
import ssl
import weakref
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from smtp_gateway.api.errors import MAX_BODY_BYTES
from smtp_gateway.errors import NotConfirmed, Unreachable

PIECE_BYTES = 131_072
"""A write of this size: TLS encrypts a whole write in one go, 33 MB would stall the loop."""

PIECES_PER_TURN = 8
"""Writes of one body within one turn of the loop: 1 MiB, about a millisecond of encryption."""

JOIN_BYTES = 65_536
"""Bodies up to this size leave in one write."""

CONNECT_SECONDS = 5.0  # smtp-server 4.5
KEEPALIVE_SECONDS = 15.0
"""Idle life of a connection: shorter than servers' own, so that we close first and never write
into a connection that the other side is just closing."""

FRESH_CONNECTION_TRIES = 3
"""How many stale connections one call may meet before it gives up; nothing was sent on them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said, as read: at most 64 KiB of the body.

    Attributes:
        status: HTTP status.
        body: raw bytes, perhaps cut, perhaps no JSON.
        retry_after: the header's text, "" when absent.
        request_id: the header ``x-request-id``, "" when absent.
    """

    status: int
    body: bytes
    retry_after: str = ""
    request_id: str = ""


class Submitter(Protocol):
    """Sends one prepared request body; never follows a redirect, never repeats."""

    async def submit(
        self, body: Sequence[bytes], *, bearer: str, account_id: int | None, timeout_seconds: float
    ) -> Answer:
        """POST ``{base}/v2/emails``.

        Args:
            body: pieces of the JSON document, sent one after the other.
            bearer: access token.
            account_id: query parameter, left out when None.
            timeout_seconds: for the whole call.

        Raises:
            Unreachable: nothing was sent.
            NotConfirmed: time-out or reset after the first byte of the request was sent.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


def pieces(body: Sequence[bytes], size: int) -> Iterator[bytes | memoryview]:
    """The body in writes: one when it is small, otherwise no write above ``PIECE_BYTES``."""
    if size <= JOIN_BYTES:
        yield b"".join(body)
        return
    for part in body:
        if len(part) <= PIECE_BYTES:
            yield part
            continue
        view = memoryview(part)
        for start in range(0, len(part), PIECE_BYTES):
            yield view[start : start + PIECE_BYTES]


class _StaleConnectionError(Exception):
    """The other side had closed this kept connection before anything was written to it."""


class _Body(aiohttp.Payload):
    """The request's body; knows whether its writing began, and looks before it leaps."""

    _autoclose = True  # bytes in memory: nothing to close

    def __init__(self, body: Sequence[bytes], used: weakref.WeakSet[object]) -> None:
        super().__init__(body, content_type="application/json")
        self._size = sum(map(len, body))
        self._used = used
        self.begun = False
        self.stale = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The whole body as text; aiohttp asks for it in debugging only."""
        return b"".join(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the pieces; the header leaves with the first of them."""
        self._refuse_stale(writer)
        self.begun = True
        assert self._size is not None  # set above; tells the type checker
        for number, piece in enumerate(pieces(self._value, self._size)):
            await writer.write(piece)
            if number % PIECES_PER_TURN == PIECES_PER_TURN - 1:
                await asyncio.sleep(0)  # a peer that takes all at once never makes `write` wait

    def _refuse_stale(self, writer: AbstractStreamWriter) -> None:
        protocol = getattr(writer, "protocol", None)
        transport = getattr(writer, "transport", None)
        kept = protocol in self._used
        if transport is None or transport.is_closing() or (kept and has_news(transport)):
            self.stale = True
            raise _StaleConnectionError
        self._used.add(protocol)


def has_news(transport: asyncio.BaseTransport) -> bool:
    """Whether an idle connection has something to read: with HTTP/1.1 that is its end.

    The loop reads it a moment later; a request written before would be lost in that gap, and
    nobody could tell whether it was (RFC 9112 9.6).
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def open_session(
    *, connections: int, tls: ssl.SSLContext | None = None, resolver_ttl_seconds: int = 30
) -> aiohttp.ClientSession:
    """The session under ``AiohttpSubmitter``; to be called inside the running loop.

    Args:
        connections: pool size; at least the limit on calls in flight, or the pool's own, unfair
            queue comes into play (performance 2.4).
        tls: trust store for the API, or the system's.
        resolver_ttl_seconds: how long a resolved address is kept.
    """
    connector = aiohttp.TCPConnector(
        limit=connections,
        ssl=tls or True,
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=resolver_ttl_seconds,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
        trust_env=False,
        read_bufsize=MAX_BODY_BYTES,
    )


class AiohttpSubmitter:
    """The submitter in use.

    Args:
        session: from ``open_session``; owned from now on.
        base_url: ``CAKEMAIL_API_URL``.
        connect_seconds: until a connection must stand.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base_url: str,
        *,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self._session = session
        self._connect_seconds = connect_seconds
        self._url = _Urls(base_url)
        self._used: weakref.WeakSet[object] = weakref.WeakSet()

    async def submit(
        self, body: Sequence[bytes], *, bearer: str, account_id: int | None, timeout_seconds: float
    ) -> Answer:
        """See ``Submitter``."""
        headers = CIMultiDict(
            {"Authorization": f"Bearer {bearer}", "Accept": "application/json"}
            | {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        )
        limits = aiohttp.ClientTimeout(
            total=timeout_seconds, connect=self._connect_seconds, sock_connect=self._connect_seconds
        )
        for _ in range(FRESH_CONNECTION_TRIES):
            data = _Body(body, self._used)
            try:
                return await self._post(self._url(account_id), data, headers, limits)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if not data.stale:
                    raise _failure(error, begun=data.begun) from error
        raise Unreachable("every kept connection had been closed")

    async def _post(
        self, url: URL, data: _Body, headers: CIMultiDict[str], limits: aiohttp.ClientTimeout
    ) -> Answer:
        async with self._session.post(
            url, data=data, headers=headers, timeout=limits, allow_redirects=False
        ) as response:
            body = await _read_capped(response)
            if not response.content.at_eof():
                response.close()  # an endless answer is not read to its end to save a connection
            return Answer(
                status=response.status,
                body=body,
                retry_after=response.headers.get("Retry-After", ""),
                request_id=response.headers.get("x-request-id", ""),
            )

    async def aclose(self) -> None:
        """See ``Submitter``."""
        await self._session.close()


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) < MAX_BODY_BYTES:
        piece = await response.content.read(MAX_BODY_BYTES - len(body))
        if not piece:
            break
        body = body + piece if body else piece
    return body


class HttpxSubmitter:
    """The same through httpx: reference and fallback.

    Args:
        client: on the httpx-aiohttp transport; owned from now on.
        base_url: ``CAKEMAIL_API_URL``.
    """

    def __init__(self, client: httpx.AsyncClient, base_url: str) -> None:
        self._client = client
        self._url = _Urls(base_url)

    async def submit(
        self, body: Sequence[bytes], *, bearer: str, account_id: int | None, timeout_seconds: float
    ) -> Answer:
        """See ``Submitter``."""
        stream = _Stream(body)
        headers = {
            "Authorization": f"Bearer {bearer}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Content-Length": str(stream.size),
        }
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._post(str(self._url(account_id)), stream, headers)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise _failure(error, begun=stream.begun) from error

    async def _post(self, url: str, stream: _Stream, headers: dict[str, str]) -> Answer:
        async with self._client.stream(
            "POST",
            url,
            content=stream,
            headers=headers,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
        ) as response:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) >= MAX_BODY_BYTES:
                    break
            return Answer(
                status=response.status_code,
                body=bytes(body[:MAX_BODY_BYTES]),
                retry_after=response.headers.get("Retry-After", ""),
                request_id=response.headers.get("x-request-id", ""),
            )

    async def aclose(self) -> None:
        """See ``Submitter``."""
        await self._client.aclose()


class _Stream:
    """The body for httpx, with the same mark."""

    def __init__(self, body: Sequence[bytes]) -> None:
        self._body = body
        self.size = sum(map(len, body))
        self.begun = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        for piece in pieces(self._body, self.size):
            yield bytes(piece)


def _failure(error: Exception, *, begun: bool) -> Unreachable | NotConfirmed:
    # httpx-aiohttp calls a lost connection "ConnectTimeout"; what aiohttp said is the truth.
    told = error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error
    cause = "timeout" if isinstance(told, TimeoutError | httpx.TimeoutException) else "network"
    name = type(error).__name__  # the text may hold addresses of hosts; the class says enough
    if begun:
        return NotConfirmed(f"{cause} after sending began: {name}", cause=cause)
    return Unreachable(f"{cause} before sending began: {name}", cause=cause)


class _Urls:
    """The endpoint per account, parsed once each."""

    def __init__(self, base_url: str) -> None:
        endpoint = URL(base_url.rstrip("/") + "/v2/emails")
        self._plain = endpoint
        self._selected = lru_cache(maxsize=1024)(
            lambda account_id: endpoint.with_query(account_id=str(account_id))
        )

    def __call__(self, account_id: int | None) -> URL:
        return self._plain if account_id is None else self._selected(account_id)
