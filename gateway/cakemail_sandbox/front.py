"""What stands in front of the API: captures each request and carries out what a fault demands.

It is plain ASGI, because the faults concern what a framework hides: the time before the body is
read, the answer's octets, the connection. The application behind it stays an honest API.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qs

from cakemail_sandbox.answers import Answer, page, throttled
from cakemail_sandbox.capture import KEPT_HEADERS, Exchange, Given
from cakemail_sandbox.contract import published
from cakemail_sandbox.faults import Fault, Sighting
from cakemail_sandbox.sending import Gone, Message, Receive, Send, Sender
from cakemail_sandbox.wire import EXTENSION, Wire
from cakemail_sandbox.world import House

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# Pages and controls of the sandbox itself: never captured, never faulty.
OWN_PREFIXES: Final = ("/sandbox", "/inbox", "/openapi.json")
# Bodies above this are read in another thread, so that one large mail does not stop all others.
LARGE_BYTES: Final = 256 * 1024


class Front:
    """The ASGI application that the server runs."""

    def __init__(self, behind: Application, house: House) -> None:
        self._behind = behind
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path == "/" or path.startswith(OWN_PREFIXES):
            await self._behind(scope, receive, send)
            return
        self._house.meter.used(scope["state"][EXTENSION].number)
        await _Visit(self._behind, self._house, scope, receive, send).run()


class _Visit:
    """One request from its first octet to its last."""

    def __init__(
        self, behind: Application, house: House, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._behind = behind
        self._limit = house.settings.largest_body_bytes
        self._world = house.world
        self._scope = scope
        self._receive = receive
        self._wire: Wire = scope["state"][EXTENSION]
        self._sender = Sender(self._world, self._wire, receive, send)
        self._exchange = _exchange(scope, self._world.now(), self._wire.number)
        login = self._world.logins.authenticate(header(scope, b"authorization"))
        self._exchange.login = login.name if login else None

    async def run(self) -> None:
        """Capture, misbehave, answer."""
        exchange = self._exchange
        early = self._world.faults.early(Sighting(exchange.method, exchange.path))
        try:
            if early is not None:
                await self._cut_early(early)
            body = await self._read()
            await _understand(exchange, body)
            self._world.capture.add(exchange)
            await self._answer(body)
        except Gone:
            return

    async def _cut_early(self, fault: Fault) -> None:
        self._note(fault)
        self._world.capture.add(self._exchange)
        await self._pass_time(fault)
        if fault.manner == "reset_body":
            await self._receive()
        self._given(None, fault.manner)
        await self._sender.cut(self._wire.reset)

    async def _read(self) -> bytes:
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Gone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            more = message.get("more_body", False)
            if size > self._limit:
                await self._refuse_unread()
        return b"".join(pieces)

    async def _refuse_unread(self) -> None:
        answer = page(413, "Request Entity Too Large")
        self._world.capture.add(self._exchange)
        self._given(answer, "complete")
        await self._sender.deliver(answer, "complete", 0)
        await self._sender.cut(self._wire.close)

    async def _answer(self, body: bytes) -> None:
        exchange = self._exchange
        sighting = Sighting(
            exchange.method,
            exchange.path,
            exchange.recipient,
            exchange.username,
            exchange.message_id,
        )
        fault = self._world.faults.choose(sighting) or _NO_FAULT
        self._note(fault)
        await self._pass_time(fault)
        if fault.revoke:
            self._world.logins.revoke(header(self._scope, b"authorization"))
        own = await self._worked(body) if fault.works else None
        await self._send(fault, fault.answer() or own)

    async def _pass_time(self, fault: Fault) -> None:
        if fault.latency_seconds:
            await self._world.pass_time(fault.latency_seconds)

    async def _send(self, fault: Fault, answer: Answer | None) -> None:
        wire, manner = self._wire, fault.manner
        if answer is None or manner in {"reset", "close", "hang"}:
            self._given(None, manner)
            if manner == "hang":
                await self._sender.hang()
            await self._sender.cut(wire.close if manner == "close" else wire.reset)
            return
        self._given(answer, "gone" if wire.gone else manner)
        await self._sender.deliver(answer, manner, fault.slow_seconds)

    def _note(self, fault: Fault) -> None:
        self._exchange.fault = fault.model_dump(exclude_defaults=True) or None
        self._exchange.outcome = fault.outcome

    def _given(self, answer: Answer | None, fate: str) -> None:
        status = None if answer is None else answer.status
        body = b"" if answer is None else answer.body
        self._world.capture.answer(self._exchange, Given(status, body, fate))

    async def _worked(self, body: bytes) -> Answer:
        """The API's own answer."""
        refused = self._refused_at_the_door(body)
        if refused is not None:
            return refused
        state = {**self._scope["state"], "world": self._world, "exchange": self._exchange}
        replay = _Replay(body)
        await self._behind({**self._scope, "state": state}, replay.receive, replay.send)
        return replay.answer()

    def _refused_at_the_door(self, body: bytes) -> Answer | None:
        behaviour = self._world.behaviour
        if behaviour.body_limit_bytes is not None and len(body) > behaviour.body_limit_bytes:
            return page(413, "Request Entity Too Large")
        if behaviour.rate_per_second is None or not self._exchange.is_mail:
            return None
        seconds = self._world.limiter.take(
            per_second=behaviour.rate_per_second, burst=behaviour.rate_burst
        )
        now = self._world.now()
        return throttled(seconds, behaviour.retry_after, now) if seconds else None


_NO_FAULT = Fault()


class _Replay:
    """Gives a body that was already read to the application, and collects its answer."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self._status = 0
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []

    async def receive(self) -> Message:
        """See the ASGI specification."""
        if self._body is None:
            return {"type": "http.disconnect"}
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Message) -> None:
        """See the ASGI specification."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in message["headers"]
            }
        else:
            self._pieces.append(message.get("body", b""))

    def answer(self) -> Answer:
        """What the application answered."""
        headers = dict(self._headers)
        media_type = headers.pop("content-type", "application/octet-stream")
        headers.pop("content-length", None)
        return Answer(self._status, b"".join(self._pieces), media_type, headers)


def header(scope: Scope, name: bytes) -> str:
    """The value of the first field with this name, empty without one."""
    found = next((value for key, value in scope["headers"] if key == name), b"")
    return str(found.decode("latin-1"))


def _exchange(scope: Scope, at: float, connection: int) -> Exchange:
    headers = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name.decode("latin-1") in KEPT_HEADERS
    }
    return Exchange(
        number=0,
        at=at,
        method=scope["method"],
        path=scope["path"],
        query=scope["query_string"].decode("latin-1"),
        headers=headers,
        connection=connection,
    )


async def _understand(exchange: Exchange, body: bytes) -> None:
    if exchange.path == "/token":  # its body holds a password and is not kept
        form = parse_qs(body.decode("latin-1"))
        exchange.username = next(iter(form.get("username", [])), None)
        return
    exchange.body = body
    if exchange.is_mail and len(body) > LARGE_BYTES:
        await asyncio.to_thread(_describe, exchange)
    elif exchange.is_mail:
        _describe(exchange)


def _describe(exchange: Exchange) -> None:
    """Take out of a mail what rules and counts look at; anything may stand there."""
    value = exchange.json()
    if not isinstance(value, dict):
        return
    recipient = value.get("email")
    exchange.recipient = recipient if isinstance(recipient, str) else None
    exchange.message_id = _message_id(value.get("additional_headers"))
    exchange.undocumented = published().unknown_fields("SubmitEmail", value)


def _message_id(fields: Any) -> str | None:
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, dict) and str(field.get("name")).lower() == "message-id":
            return str(field.get("value"))
    return None
