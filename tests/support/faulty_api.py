"""A small proxy in front of a real API server, which misbehaves when a test says so.

    operator --http--> FaultyApi --https, as the administrator--> API server

A test states *which* requests (``Where``) meet *what* (``faulty_api_faults``), how often or with
which probability. Open watches are at its hand too (``streams``). Everything else passes through
untouched, and is written down, so that a test can tell what was written and that nothing was.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from kubernetes.aio import client, config

from smtp_operator.cluster.connection import abandon
from tests.support.kubernetes import Kubernetes

HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host",
                        "content-encoding", "accept-encoding"})  # fmt: skip
LEASES = "/apis/coordination.k8s.io/"


@dataclass(frozen=True, slots=True)
class Where:
    """Which requests.

    Attributes:
        methods: such as ``PATCH``; empty: all.
        path: part of the path, as a regular expression.
        watch: only watches, or only what is none; None: both.
    """

    methods: frozenset[str] = frozenset()
    path: str = ""
    watch: bool | None = False

    def has(self, request: web.Request) -> bool:
        """Whether a request is one of these."""
        watch = request.query.get("watch") == "true"
        return (
            (not self.methods or request.method in self.methods)
            and re.search(self.path, request.path) is not None
            and self.watch in {None, watch}
        )


def where(*methods: str, path: str = "", watch: bool | None = False) -> Where:
    """Short for a ``Where``."""
    return Where(frozenset(methods), path, watch)


READS = where("GET")
APPLIES = where("PATCH", path=r"^(?!/apis/(coordination|events)\.k8s\.io)")
LEASE_WRITES = where("PUT", "POST", path=LEASES)
WATCHES = where("GET", watch=True)

Fault = Callable[["Exchange"], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Trouble:
    """A fault that is on.

    Attributes:
        times: how many requests still meet it; None: all, until it is lifted.
        share: of the requests that do.
        hits: how many have met it.
    """

    where: Where
    fault: Fault
    times: int | None = None
    share: float = 1.0
    hits: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """A request that was no GET, and the real API server's answer; 0 when it was not asked."""

    method: str
    path: str
    status: int


class Exchange:
    """One request, and how to go on with it; faults are made of these."""

    def __init__(self, api: FaultyApi, request: web.Request, body: bytes) -> None:
        self.api, self.request, self.body = api, request, body
        self.rng = api.rng

    async def forward(self) -> tuple[int, dict[str, str], bytes]:
        """The real answer to a request that is no watch."""
        async with self.api.ask(self.request, self.body) as answer:
            content = await answer.read()
            self.api.note(self.request, answer.status)
            return answer.status, kept(answer.headers), content

    async def through(self) -> web.StreamResponse:
        """As if nothing were."""
        if self.request.query.get("watch") == "true":
            return await self.api.follow(self)
        status, headers, content = await self.forward()
        return web.Response(status=status, headers=headers, body=content)

    async def abort(self) -> web.StreamResponse:
        """End the connection without a word."""
        transport = self.request.transport
        if transport is not None:
            transport.abort()
        raise ConnectionResetError


class Stream:
    """An open watch.

    Attributes:
        path: what is watched.
        muted: nothing of it is passed on.
        told: how many lines were passed on.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self.path = request.path
        self._request = request
        self.muted = False
        self.told = 0
        self.response = response
        self._ending: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def end(self, last: bytes = b"") -> None:
        """Pass on these last bytes, and end it properly."""
        if not self._ending.done():
            self._ending.set_result(last)

    def fail(self, status: Mapping[str, Any]) -> None:
        """End it with an error, as the API server does once the answer has begun."""
        self.end(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")

    def abort(self) -> None:
        """End it in the middle of the answer."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()
        self.end()

    async def carry(self, lines: aiohttp.StreamReader) -> bool:
        """Pass on one line; False when it was ended, by either side."""
        async with asyncio.TaskGroup() as group:
            line = group.create_task(lines.readline())
            await asyncio.wait((line, self._ending), return_when=asyncio.FIRST_COMPLETED)
            line.cancel()
        if self._ending.done():
            await self.response.write(self._ending.result())
            return False
        content = line.result()
        if content and not self.muted:
            await self.response.write(content)
            self.told += 1
        return bool(content)


@dataclass
class FaultyApi:
    """The proxy; ``faulty_api`` starts one.

    Attributes:
        url: where the operator reaches it.
        server: the real one.
        tokens: bearer tokens that it takes; None: whoever asks is let in.
        asked: how many requests came.
        refused: how many of them came with another token than ``tokens``.
        written: all that was no GET.
        streams: open watches.
    """

    server: str
    context: ssl.SSLContext
    rng: random.Random
    session: aiohttp.ClientSession
    url: str = ""
    tokens: frozenset[str] | None = None
    asked: int = 0
    refused: int = 0
    written: list[Written] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    _troubles: list[Trouble] = field(default_factory=list)
    _asking: set[asyncio.Task[aiohttp.ClientResponse]] = field(default_factory=set)

    @contextmanager
    def trouble(
        self, at: Where, fault: Fault, *, times: int | None = None, share: float = 1.0
    ) -> Iterator[Trouble]:
        """Misbehave, as long as the block lasts."""
        made = Trouble(at, fault, times, share)
        self._troubles.append(made)
        try:
            yield made
        finally:
            self._troubles.remove(made)

    def watches(self, path: str = "") -> list[Stream]:
        """Open watches of a path that has this part; the election's are none of them."""
        return [s for s in self.streams if path in s.path and not s.path.startswith(LEASES)]

    def writes(self) -> list[Written]:
        """What was written, but for the Lease's renewals."""
        return [one for one in self.written if not one.path.startswith(LEASES)]

    def note(self, request: web.Request, status: int) -> None:
        """Write it down."""
        if request.method != "GET":
            self.written.append(Written(request.method, request.path, status))

    @asynccontextmanager
    async def ask(self, request: web.Request, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same question to the real API server.

        It goes on when who asked has left: asyncio forgets the socket of a connection that is
        cancelled in the moment before its TLS handshake begins.
        """
        headers = kept(request.headers)
        headers.pop("authorization", None)
        asking = asyncio.create_task(  # noqa: TID251  # owned by `_asking`, which `rest` awaits
            self._asked(request, headers, body)
        )
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)
        try:
            answer = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(_left)
            raise
        try:
            yield answer
        finally:
            abandon(answer)

    async def _asked(
        self, request: web.Request, headers: Mapping[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        url = self.server + request.raw_path
        return await self.session.request(request.method, url, headers=headers, data=body or None)

    async def rest(self) -> None:
        """Wait for the answers to what is still asked."""
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def follow(
        self, exchange: Exchange, spoil: Callable[[Stream], None] = lambda _: None
    ) -> web.StreamResponse:
        """A watch, line by line; ``spoil`` may do something to it after each."""
        request = exchange.request
        async with self.ask(request, b"") as answer:
            response = web.StreamResponse(status=answer.status, headers=kept(answer.headers))
            await response.prepare(request)
            stream = Stream(request, response)
            self.streams.append(stream)
            try:
                spoil(stream)
                while await stream.carry(answer.content):
                    spoil(stream)
            finally:
                self.streams.remove(stream)
        return response

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request."""
        self.asked += 1
        exchange = Exchange(self, request, await request.read())
        if not self._let_in(request):
            self.refused += 1
            content = status_object(401, "Unauthorized", "Unauthorized")
            return web.json_response(content, status=401)
        for trouble in self._troubles:
            if trouble.times == 0 or not trouble.where.has(request):
                continue
            if self.rng.random() >= trouble.share:
                continue
            trouble.hits += 1
            if trouble.times is not None:
                trouble.times -= 1
            return await trouble.fault(exchange)
        return await exchange.through()

    def _let_in(self, request: web.Request) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.tokens is None or token in self.tokens


def _left(asking: asyncio.Task[aiohttp.ClientResponse]) -> None:
    """Nobody reads this answer."""
    if not asking.cancelled() and asking.exception() is None:
        abandon(asking.result())


def kept(headers: Any) -> dict[str, str]:
    """Headers that concern the message, in small letters."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return {name: value for name, value in lowered.items() if name not in HOP_BY_HOP}


def status_object(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    """As the API server words a refusal."""
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message, "details": details,
    }  # fmt: skip


@asynccontextmanager
async def faulty_api(kubernetes: Kubernetes, seed: int = 1) -> AsyncIterator[FaultyApi]:
    """A proxy on a port of loopback, as the administrator towards the cluster."""
    known = client.Configuration()
    await config.load_kube_config(  # type: ignore[no-untyped-call]  # the library's gap
        config_file=str(kubernetes.kubeconfig), client_configuration=known
    )
    context = ssl.create_default_context(cafile=known.ssl_ca_cert)
    if known.cert_file:
        context.load_cert_chain(known.cert_file, known.key_file)
    token = await known.get_api_key_with_prefix("BearerToken", alias="authorization")
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=context),
        headers={"Authorization": token} if token else {},
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**22,
    )
    api = FaultyApi(known.host, context, random.Random(seed), session)
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{rest:.*}", api.answer)
    # A watch that the operator has left is left here too.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()
        await api.rest()
        await session.close()
