"""How an answer travels: whole, slowly, in part, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from cakemail_sandbox.answers import Answer
from cakemail_sandbox.faults import Manner
from cakemail_sandbox.wire import Wire
from cakemail_sandbox.world import World

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_SLOW_PIECES: Final = 20


class Gone(Exception):
    """The caller has left or was cut off: there is nobody to answer."""


class Sender:
    """Sends the answer of one request."""

    def __init__(self, world: World, wire: Wire, receive: Receive, send: Send) -> None:
        self._world = world
        self._wire = wire
        self._receive = receive
        self._send = send

    async def deliver(self, answer: Answer, manner: Manner, slow_seconds: float) -> None:
        """Send it in this manner.

        Raises:
            Gone: the manner ended the connection.
        """
        if manner == "half_json":
            answer = _halved(answer)
        if manner == "slow":
            await self._slowly(answer, slow_seconds)
        elif manner in {"truncate", "reset_midway"}:
            await self._start(answer)
            await self._piece(answer.body[: len(answer.body) // 2], more=True)
            await self.cut(self._wire.close if manner == "truncate" else self._wire.reset)
        else:
            await self._start(answer)
            await self._piece(answer.body, more=False)

    async def cut(self, ending: Callable[[], None]) -> None:
        """End the connection, and leave when that has happened.

        Raises:
            Gone: always.
        """
        ending()
        await self._until_disconnected()
        raise Gone

    async def hang(self) -> None:
        """Say nothing for as long as the caller waits, at most until this world ends.

        Raises:
            Gone: always.
        """
        ending = self._wire.close
        self._world.endings.add(ending)
        await self._until_disconnected()
        self._world.endings.discard(ending)
        raise Gone

    async def _until_disconnected(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def _slowly(self, answer: Answer, seconds: float) -> None:
        await self._start(answer)
        size = max(1, len(answer.body) // _SLOW_PIECES)
        pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
        for piece in pieces:
            await self._world.pass_time(seconds / len(pieces))
            await self._piece(piece, more=True)
        await self._piece(b"", more=False)

    async def _start(self, answer: Answer) -> None:
        fields = {
            "content-type": answer.media_type,
            "content-length": str(len(answer.body)),
            "x-request-id": uuid.uuid4().hex,
            **{name.lower(): value for name, value in answer.headers.items()},
        }
        head = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": head})

    async def _piece(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def _halved(answer: Answer) -> Answer:
    half = answer.body[: len(answer.body) // 2]
    return Answer(answer.status, half, answer.media_type, answer.headers)
