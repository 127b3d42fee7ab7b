"""Every request as it came, with the answer it got, and a way to wait for the next one.

Bodies are kept as octets and decoded only when somebody looks, so that a load test measures the
gateway and not this list. The count per (Message-ID, recipient) outlives the requests themselves:
it is how a test proves that nothing was sent twice.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SEND_PATH = "/v2/emails"
# Header fields worth keeping; credentials are not among them.
KEPT_HEADERS = frozenset({
    "accept", "accept-encoding", "connection", "content-encoding", "content-length",
    "content-type", "host", "transfer-encoding", "user-agent", "x-request-id",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Given:
    """The answer as it was sent. ``fate`` is the manner of its sending, see ``faults.Manner``."""

    status: int | None
    body: bytes
    fate: str


@dataclass(slots=True)
class Exchange:
    """One request to the API and what became of it."""

    number: int
    at: float
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    connection: int
    login: str | None = None
    account_id: int | None = None
    body: bytes = b""
    recipient: str | None = None
    message_id: str | None = None
    username: str | None = None
    undocumented: list[str] = field(default_factory=list)
    accepted: bool = False
    email_id: str | None = None
    outcome: str | None = None
    fault: dict[str, Any] | None = None
    given: Given | None = None

    @property
    def is_mail(self) -> bool:
        """A request to send."""
        return self.method == "POST" and self.path == SEND_PATH

    def json(self) -> Any:
        """The body as JSON; none when it is not."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


class Capture:
    """The requests of one run, bounded in number and octets."""

    def __init__(self, *, kept_requests: int, kept_bytes: int) -> None:
        self._kept_requests = kept_requests
        self._kept_bytes = kept_bytes
        self._bytes = 0
        self._next = 1
        self._exchanges: deque[Exchange] = deque()
        self._changed = asyncio.Event()
        self.forgotten = 0
        self.received: Counter[tuple[str, str]] = Counter()
        self.accepted: Counter[tuple[str, str]] = Counter()

    def add(self, exchange: Exchange) -> None:
        """Keep a request that has arrived; its number is given here."""
        exchange.number, self._next = self._next, self._next + 1
        self._exchanges.append(exchange)
        self._bytes += len(exchange.body)
        if exchange.is_mail:
            self.received[_key(exchange)] += 1
        while len(self._exchanges) > self._kept_requests or self._bytes > self._kept_bytes:
            self._bytes -= len(self._exchanges.popleft().body)
            self.forgotten += 1
        self._wake()

    def accept(self, exchange: Exchange) -> None:
        """The API has taken this mail."""
        exchange.accepted = True
        self.accepted[_key(exchange)] += 1

    def answer(self, exchange: Exchange, given: Given) -> None:
        """The request has had its answer, or will never have one."""
        exchange.given = given
        self._wake()

    def clear(self) -> None:
        """Forget what arrived; numbers go on, so that ``after`` keeps its meaning."""
        self._exchanges.clear()
        self._bytes = 0
        self.received.clear()
        self.accepted.clear()
        self._wake()

    def mails(self, *, after: int = 0) -> list[Exchange]:
        """Requests to send with a number above ``after``, oldest first."""
        return [each for each in self.requests(after=after) if each.is_mail]

    def requests(self, *, after: int = 0) -> list[Exchange]:
        """All requests with a number above ``after``, oldest first."""
        return [each for each in self._exchanges if each.number > after]

    def find(self, number: int) -> Exchange | None:
        """One request by its number."""
        return next((each for each in self._exchanges if each.number == number), None)

    def newest_first(self) -> Iterator[Exchange]:
        """For a person who looks."""
        return reversed(self._exchanges)

    async def wait(self, until: Callable[[], bool], *, seconds: float) -> bool:
        """Wait until the condition holds, looked at after each change; false: time is up."""
        try:
            async with asyncio.timeout(seconds):
                while not until():
                    await self._changed.wait()
        except TimeoutError:
            return until()
        return True

    def _wake(self) -> None:
        """Everybody who waits now looks once; who comes later waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()


def _key(exchange: Exchange) -> tuple[str, str]:
    return (exchange.message_id or "", exchange.recipient or "")
