"""Stand-ins for the parts around the SMTP handler: each implements its Protocol, none patches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from smtp_gateway.delivery import Letter, Receipt
from smtp_gateway.errors import CredentialsInvalid, GatewayError
from smtp_gateway.policy import Policy

RECEIPT_ID = "0b5a8c1e-6a3f-4a8e-9d55-2f1f0c7c9a11"


class GivenClock:
    """A clock that stands still until it is told to move."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self.now

    def wall(self) -> float:
        """See ``Clock``."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@dataclass(slots=True)
class FakeLogin:
    """A ``Login`` whose bearer never changes."""

    key: bytes = b"key"
    own_account_id: int | None = 1
    reachable_accounts: frozenset[int] = frozenset({1})
    refusal: GatewayError | None = None
    is_access_token: bool = False

    async def bearer(self) -> str:
        """See ``Login``."""
        return "bearer"

    async def renewed(self, refused_bearer: str) -> str:
        """See ``Login``."""
        return "renewed"

    def forget(self) -> None:
        """See ``Login``."""


class FakeTokens:
    """``Tokens`` over a table of user names and passwords.

    Attributes:
        accepted: pairs of user name and password that log in.
        asked: every pair that reached the API, in order.
        failure: raised by every question instead of an answer.
        release: questions wait for it when it is set; ``waiting`` counts them.
    """

    def __init__(self, accepted: Iterable[tuple[str, str]] = ()) -> None:
        self.accepted = set(accepted)
        self.asked: list[tuple[str, str]] = []
        self.failure: Exception | None = None
        self.release: asyncio.Event | None = None
        self.waiting = 0
        self.refusal: GatewayError | None = None
        self._known: dict[tuple[str, str], FakeLogin] = {}

    def known(self, username: str, password: str) -> FakeLogin | None:
        """See ``Tokens``."""
        return self._known.get((username, password))

    async def login(self, username: str, password: str) -> FakeLogin:
        """See ``Tokens``."""
        pair = (username, password)
        if pair in self._known:
            return self._known[pair]
        self.asked.append(pair)
        if self.release is not None:
            self.waiting += 1
            await self.release.wait()
            self.waiting -= 1
        if self.failure is not None:
            raise self.failure
        if pair not in self.accepted:
            raise CredentialsInvalid("not in the table")
        key = hashlib.sha256(f"{username}\0{password}".encode()).digest()
        return self._known.setdefault(pair, FakeLogin(key=key, refusal=self.refusal))


class FakeCourier:
    """``Courier`` that keeps the letters.

    Attributes:
        letters: every letter given, with the policy it came under.
        refusal: raised at MAIL.
        failure: raised instead of a receipt.
    """

    def __init__(self) -> None:
        self.letters: list[tuple[Letter, Policy]] = []
        self.admitted: list[bytes] = []
        self.refusal: GatewayError | None = None
        self.failure: Exception | None = None

    def admit(self, login: Any) -> None:
        """See ``Courier``."""
        if self.refusal is not None:
            raise self.refusal
        self.admitted.append(login.key)

    async def deliver(self, letter: Letter, policy: Policy) -> Receipt:
        """See ``Courier``."""
        self.letters.append((letter, policy))
        letter.on_settled()
        if self.failure is not None:
            raise self.failure
        return Receipt(RECEIPT_ID, accepted=len(letter.recipients), refused=0)


@dataclass(slots=True)
class LogLine:
    """One line of ``FakeLog``."""

    level: str
    event: str
    fields: dict[str, Any]


@dataclass(slots=True)
class FakeLog:
    """``Log`` that keeps its lines."""

    lines: list[LogLine] = field(default_factory=list)
    bound: dict[str, Any] = field(default_factory=dict)

    def bind(self, **fields: Any) -> FakeLog:
        """See ``Log``."""
        return FakeLog(self.lines, {**self.bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        """See ``Log``."""
        self._add("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """See ``Log``."""
        self._add("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """See ``Log``."""
        self._add("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """See ``Log``."""
        self._add("error", event, fields)

    def _add(self, level: str, event: str, fields: dict[str, Any]) -> None:
        self.lines.append(LogLine(level, str(event), {**self.bound, **fields}))

    @property
    def text(self) -> str:
        """All of it, to search for what must not be there."""
        return repr(self.lines)


async def until(condition: Callable[[], bool], *, turns: int = 1_000) -> None:
    """Let the loop turn until ``condition`` holds; fails after ``turns``."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never came true")
