"""The way to the Cakemail API for everything but the hot POST: logins and look-ups.

httpx's interface on aiohttp's connections: httpx's own pool walks every connection at each request
and costs 18 ms of CPU a call with 100 in flight. HTTP/1.1, because one lost HTTP/2 connection takes
all requests in flight with it. What goes wrong below is sorted here into two classes, with no text
of the library kept: its messages hold URLs, and those hold addresses.

    client = ApiClient(base_url="https://api.cakemail.dev", token_url="https://.../token", ...)
    answer = await client.get("/lists", bearer=bearer, query={"page": 1})
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from asyncio import sslproto
from collections.abc import AsyncGenerator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Literal, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from smtp_gateway import __version__
from smtp_gateway.api.errors import MAX_BODY_BYTES, error_type
from smtp_gateway.api.submitter import Answer, open_session
from smtp_gateway.errors import NotConfirmed, Unreachable, UpstreamError
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import Clock, SystemClock

Endpoint = Literal["auth", "lookup"]
Query = Mapping[str, str | int]

SUCCESS_BYTES = 2_097_152  # a stored mail repeats its header section, up to 1 MiB before JSON
CONNECT_SECONDS = 5.0  # smtp-server 4.5
CALL_SECONDS = 30.0  # smtp-server 4.5
POOL_CONNECTIONS = 20  # rate x latency: 100 look-ups a second at 200 ms, and caches before them
TLS_BUFFER_BYTES = 32_768  # smtp-server 2.5: asyncio's 256 KiB a connection is 130 MB at 500

_OK = 200
_HEADERS = {
    "user-agent": f"cakemail-smtp-gateway/{__version__}",
    "accept": "application/json",
    # No compression: 16 KiB of gzip may become 16 MiB before any limit sees it.
    "accept-encoding": "identity",
}
# What certainly happened before the first byte of a request.
_NOTHING_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError)


def tls_context(ca_path: Path | None = None) -> ssl.SSLContext:
    """Verification of the API's certificate: certifi's roots and the system's.

    Bounds the read buffer of asyncio's client TLS too, for the whole process; uvloop has its own.

    Args:
        ca_path: further roots, PEM; for an API behind a private authority.
    """
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_path is not None:
        context.load_verify_locations(cafile=ca_path)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    return context


class ApiClient:
    """Calls the API; knows HTTP, not what an answer means.

    Args:
        base_url: ``CAKEMAIL_API_URL``, with or without a slash at the end.
        token_url: the token endpoint, complete.
        metrics: where calls and errors are counted.
        tls: None verifies as ``tls_context()`` does.
        connections: bound of the pool.
        connect_seconds: until a connection must stand.
        call_seconds: of a call whose caller states no limit, all in all.
        clock: for the latency metric.
    """

    def __init__(
        self,
        base_url: str,
        token_url: str,
        metrics: Metrics,
        *,
        tls: ssl.SSLContext | None = None,
        connections: int = POOL_CONNECTIONS,
        connect_seconds: float = CONNECT_SECONDS,
        call_seconds: float = CALL_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._token_url = token_url
        self._metrics = metrics
        self._connect_seconds = connect_seconds
        self._call_seconds = call_seconds
        self._clock = clock or SystemClock()
        self._http = _http_client(tls or tls_context(), connections)

    async def post_form(
        self, form: Mapping[str, str], *, timeout_seconds: float | None = None
    ) -> Answer:
        """POST to the token endpoint, ``application/x-www-form-urlencoded``.

        Raises:
            Unreachable: nothing was sent.
            NotConfirmed: time-out or reset later.
        """
        request = self._http.build_request("POST", self._token_url, data=dict(form))
        return await self._call("auth", request, timeout_seconds)

    async def get(
        self,
        path: str,
        *,
        bearer: str,
        query: Query | None = None,
        endpoint: Endpoint = "lookup",
        timeout_seconds: float | None = None,
    ) -> Answer:
        """GET ``{base}{path}``; same errors as ``post_form``.

        Args:
            path: begins with a slash; its segments are already percent-encoded.
            bearer: access token.
            query: parameters, encoded here.
            endpoint: label of the metrics.
            timeout_seconds: for the whole call, waiting for a connection included; None takes the
                client's own.
        """
        request = self._http.build_request(
            "GET",
            self._base_url + path,
            params=query,
            headers={"authorization": f"Bearer {bearer}"},
        )
        return await self._call(endpoint, request, timeout_seconds)

    def note_unreadable(self) -> None:
        """Count an answer that its reader could not understand."""
        self._metrics.api_errors["unreadable"].inc()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _call(
        self, endpoint: Endpoint, request: httpx.Request, timeout_seconds: float | None
    ) -> Answer:
        begun = self._clock.monotonic()
        limit = self._call_seconds if timeout_seconds is None else timeout_seconds
        request.extensions["timeout"] = self._timeouts(limit)
        try:
            async with asyncio.timeout(limit):
                answer = await self._exchange(request)
        except _FAILURES as failure:
            error = self._failed(failure)
        else:
            self._count(endpoint, begun, _error_of(answer))
            return answer
        self._count(endpoint, begun, error.detail)
        # Outside the handler, so that nothing chains to a text with an address in it.
        raise error

    async def _exchange(self, request: httpx.Request) -> Answer:
        response = await self._http.send(request, stream=True)
        try:
            body = await _read(response)
        finally:
            await response.aclose()
        headers = response.headers
        return Answer(
            response.status_code,
            body,
            headers.get("retry-after", ""),
            headers.get("x-request-id", ""),
        )

    def _timeouts(self, seconds: float) -> dict[str, float]:
        connect = min(self._connect_seconds, seconds)
        return {"connect": connect, "read": seconds, "write": seconds, "pool": seconds}

    @staticmethod
    def _failed(failure: Exception) -> UpstreamError:
        timed_out = isinstance(failure, TimeoutError | httpx.TimeoutException)
        cause = failure.__cause__ or failure
        if isinstance(cause, aiohttp.ClientConnectionError):
            # The transport calls a lost connection a connect time-out; only the cause knows.
            timed_out = isinstance(cause, aiohttp.ServerTimeoutError)
        kind = Unreachable if isinstance(cause, _NOTHING_SENT) else NotConfirmed
        return kind("timeout" if timed_out else "network_error")

    def _count(self, endpoint: Endpoint, begun: float, error: str | None) -> None:
        outcome = "success" if error is None else "error"
        self._metrics.api_latency[endpoint, outcome].observe(self._clock.monotonic() - begun)
        if error is not None:
            self._metrics.api_errors[error].inc()


def _http_client(tls: ssl.SSLContext, connections: int) -> httpx.AsyncClient:
    # At INFO httpx writes each URL, and look-ups have addresses in theirs.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    transport = AiohttpTransport(
        verify=tls, trust_env=False, client=lambda: open_session(connections=connections, tls=tls)
    )
    return httpx.AsyncClient(
        transport=transport,
        headers=_HEADERS,
        trust_env=False,
        follow_redirects=False,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


def _error_of(answer: Answer) -> str | None:
    return None if answer.status == _OK else error_type(answer.status)


async def _read(response: httpx.Response) -> bytes:
    limit = SUCCESS_BYTES if response.status_code == _OK else MAX_BODY_BYTES
    chunks: list[bytes] = []
    size = 0
    # httpx declares an iterator and gives a generator, which wants closing when left early.
    raw = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
    async with contextlib.aclosing(raw) as pieces:
        async for piece in pieces:
            chunks.append(piece)
            size += len(piece)
            if size >= limit:
                break
    return b"".join(chunks)[:limit]
