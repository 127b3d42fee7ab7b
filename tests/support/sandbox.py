"""The sandbox as a test uses it: a real server on a loopback port, in a thread of its own.

A thread, because then blocking clients and tests with an event loop can use the same object. Plain
methods block and are for tests without a loop; a test in a loop awaits ``arrived`` instead of
``wait_for``, so that what it tests can go on.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from cakemail_sandbox import seed as seeds
from cakemail_sandbox.deviations import Behaviour
from cakemail_sandbox.faults import Fault
from cakemail_sandbox.seed import Seed
from cakemail_sandbox.server import SandboxServer, listen, url_of
from cakemail_sandbox.settings import SandboxSettings
from cakemail_sandbox.views import connections_view, exchange_view
from cakemail_sandbox.world import House

T = TypeVar("T")

# Facts of the packaged seed, for use in tests.
USERNAME = "demo@example.com"
PASSWORD = "cakemail-demo"
ACCOUNT_ID = 1001
SUB_ACCOUNT_ID = 1002
FOREIGN_ACCOUNT_ID = 1005
SENDER = "demo@example.com"
SENDER_ID = "31"
LIST_ID = 2001
FULL_TOKEN = "ck_pat_0123456789abcdef0123456789abcdef01234567"
SEND_ONLY_TOKEN = "ck_pat_00000000000000000000000000000000000000aa"
MULTI_FACTOR_USERNAME = "mfa@example.com"
SUSPENDED_USERNAME = "suspended@example.com"
WITHOUT_API_USERNAME = "noapi@example.com"
WITHOUT_QUOTA_USERNAME = "quota@example.com"
WITHOUT_LIST_USERNAME = "nolist@example.com"
UNCONFIRMED_SENDER = "pending@example.com"
UNCONFIRMED_SENDER_ID = "36"
OPTED_OUT_RECIPIENT = "optout@example.org"


class Sandbox:
    """A running sandbox.

    Args:
        seed: who exists; none: the packaged set.
        settings: start-up settings; host and port are those of ``listener`` when it is given.
        listener: a bound socket, to come up again on the port of an earlier one.
    """

    patience_seconds = 20.0

    def __init__(
        self,
        seed: Seed | None = None,
        settings: SandboxSettings | None = None,
        listener: socket.socket | None = None,
    ) -> None:
        self.seed = seed or seeds.load()
        self._settings = settings or SandboxSettings(port=0)
        self._listener = listener or listen(self._settings.host, self._settings.port)
        self.url = url_of(self._listener)
        self.port: int = self._listener.getsockname()[1]
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="sandbox")

    # -- life

    def start(self) -> Self:
        """Serve; returns when connections are answered."""
        self._thread.start()
        self._started.result(self.patience_seconds)
        return self

    def stop(self) -> None:
        """End the server; open connections are closed."""
        self._server.should_exit = True
        self._thread.join(self.patience_seconds)
        if self._thread.is_alive():
            raise TimeoutError("the sandbox did not end")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # reported to the thread that waits for the start
            if self._started.done():
                raise
            self._started.set_exception(failure)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.house = House(self._settings, self.seed)
        self._server = SandboxServer(self.house)
        self._server.on_started = lambda: self._started.set_result(None)
        await self._server.serve([self._listener])

    def _ask(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _do(self, work: Callable[[], T]) -> T:
        async def there() -> T:
            return work()

        return self._ask(there()).result(self.patience_seconds)

    # -- commands

    def clear(self, seed: Seed | None = None) -> None:
        """Begin anew: nothing captured, no faults, default switches, no valid login tokens."""
        self._do(lambda: self.house.reset(seed))

    def forget(self) -> None:
        """Forget what arrived; logins, faults and switches stay."""
        self._do(self.house.world.capture.clear)

    def fault(self, **rule: Any) -> None:
        """Add one fault rule; the fields are those of ``cakemail_sandbox.faults.Fault``."""
        fault = Fault(**rule)
        self._do(lambda: self.house.world.faults.add(fault))

    def no_faults(self) -> None:
        """Remove all fault rules."""
        self._do(lambda: self.house.world.faults.replace([]))

    def behave(self, **switches: Any) -> None:
        """Turn switches; the fields are those of ``cakemail_sandbox.deviations.Behaviour``."""

        def turn() -> None:
            world = self.house.world
            world.behaviour = Behaviour.model_validate(world.behaviour.model_dump() | switches)

        self._do(turn)

    def expire_tokens(self, *, refresh_tokens: bool = False) -> int:
        """All login tokens end now; how many there were."""
        return self._do(lambda: self.house.world.logins.expire(refresh_tokens=refresh_tokens))

    # -- what arrived

    def emails(self, *, after: int = 0) -> list[dict[str, Any]]:
        """All requests to send, oldest first, as `GET /sandbox/emails` shows them."""
        return self._do(
            lambda: [exchange_view(each) for each in self.house.world.capture.mails(after=after)]
        )

    def requests(self, path: str | None = None) -> list[dict[str, Any]]:
        """All requests to the API, or those to one path."""
        return [
            each
            for each in self._do(
                lambda: [exchange_view(each) for each in self.house.world.capture.requests()]
            )
            if path in {None, each["path"]}
        ]

    def accepted(self) -> list[dict[str, Any]]:
        """Requests to send which the API accepted."""
        return [each for each in self.emails() if each["accepted"]]

    def counts(self) -> dict[tuple[str, str], int]:
        """How often each (Message-ID, recipient) was accepted."""
        return self._do(lambda: dict(self.house.world.capture.accepted))

    def connections(self) -> dict[str, int]:
        """TCP connections that carried requests: ``open``, ``most`` at once, ``total``."""
        return self._do(lambda: connections_view(self.house))

    def wait_for(self, count: int, *, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Block until so many requests to send have had their answer.

        Raises:
            TimeoutError: there were fewer.
        """
        return _enough(self._ask(self._wait(count, seconds)).result(seconds + 5), count)

    async def arrived(self, count: int, *, seconds: float = 20.0) -> list[dict[str, Any]]:
        """As ``wait_for``, for tests in an event loop."""
        return _enough(await asyncio.wrap_future(self._ask(self._wait(count, seconds))), count)

    async def begun(self, count: int, *, seconds: float = 20.0) -> list[dict[str, Any]]:
        """Until so many requests to send have arrived, answered or not."""
        work = self._wait(count, seconds, answered=False)
        return _enough(await asyncio.wrap_future(self._ask(work)), count)

    async def _wait(
        self, count: int, seconds: float, *, answered: bool = True
    ) -> list[dict[str, Any]]:
        capture = self.house.world.capture

        def there() -> list[Any]:
            return [each for each in capture.mails() if each.given is not None or not answered]

        await capture.wait(lambda: len(there()) >= count, seconds=seconds)
        return [exchange_view(each) for each in there()]


def _enough(mails: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    if len(mails) < count:
        raise TimeoutError(f"{len(mails)} of {count} requests to send")
    return mails


def recipients(mails: Iterable[dict[str, Any]]) -> list[str]:
    """The recipients of captured requests."""
    return [each["recipient"] for each in mails]
