"""aiosmtpd's handler contract as the edge calls it.

Hooks are looked up once per handler: doing so per connection costs more than the connection's
greeting. A hook that the handler does not define has aiosmtpd's own effect on session and envelope.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from aiosmtpd.smtp import AuthResult

from smtp_gateway.smtp.effects import HookName

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session

Hook = Callable[..., Any]

AUTH_HOOKS = frozenset({HookName.AUTH_PLAIN, HookName.AUTH_LOGIN})
HELLO_HOOKS = frozenset({HookName.EHLO, HookName.HELO})
# These may wait for the API; the others answer at once nearly always, and a task for each of them
# would cost as much as the session itself.
SLOW_HOOKS = AUTH_HOOKS | {HookName.DATA}


class Asker(Protocol):
    """The connection, as far as a hook may use it."""

    session: Session
    envelope: Envelope
    hostname: str

    async def ask(self, challenge: str | bytes) -> object:
        """Send a challenge and wait for the decoded answer."""
        ...

    def say(self, line: str | bytes) -> None:
        """Send a line of the hook's own."""
        ...


class ServerFacade:
    """What a hook gets as ``server``: the promised members of aiosmtpd's SMTP class, no more."""

    __slots__ = ("_asker",)

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    @property
    def hostname(self) -> str:
        """The name in the greeting."""
        return self._asker.hostname

    @property
    def session(self) -> Session:
        """The session; aiosmtpd hands ``auth_*`` methods the server alone."""
        return self._asker.session

    @property
    def envelope(self) -> Envelope:
        """The envelope of the open transaction, else an empty one."""
        return self._asker.envelope

    async def challenge_auth(self, challenge: str | bytes) -> object:
        """Send ``334``; the client's decoded answer, or MISSING when the 501 has been said."""
        return await self._asker.ask(challenge)

    async def push(self, status: str | bytes) -> None:
        """Send a line, CRLF added."""
        self._asker.say(status)


class HookTable:
    """The hooks of one handler, bound once."""

    def __init__(self, handler: object) -> None:
        self._hooks: dict[HookName, Hook] = {
            name: getattr(handler, name.value) for name in HookName if hasattr(handler, name.value)
        }
        self.proxy: Hook | None = getattr(handler, "handle_PROXY", None)
        self._exception: Hook | None = getattr(handler, "handle_exception", None)

    def get(self, name: HookName) -> Hook | None:
        """The bound hook, or None."""
        return self._hooks.get(name)

    async def excuse(self, name: HookName, error: BaseException) -> object:
        """What the handler answers when its hook raised; None leaves the answer to the machine."""
        # EHLO answers with several lines and STARTTLS with a truth: no reply of theirs fits there.
        if self._exception is None or name in {HookName.EHLO, HookName.STARTTLS}:
            return None
        reply = await self._exception(error)
        if name in AUTH_HOOKS:
            return AuthResult(success=False, handled=False, message=reply)
        return reply


def _ehlo(session: Session, _: Envelope, host: str, *__: object) -> None:
    session.host_name = host


def _mail(_: Session, envelope: Envelope, address: str, options: list[str]) -> None:
    envelope.mail_from = address
    envelope.mail_options.extend(options)


def _rcpt(_: Session, envelope: Envelope, address: str, options: list[str]) -> None:
    envelope.rcpt_tos.append(address)
    envelope.rcpt_options.extend(options)


def nothing(_: Session, __: Envelope, *___: object) -> None:
    """What an absent hook leaves behind, mostly."""


# What aiosmtpd does itself when the handler has no such hook.
ABSENT: Mapping[HookName, Callable[..., None]] = {
    HookName.EHLO: _ehlo,
    HookName.HELO: _ehlo,
    HookName.MAIL: _mail,
    HookName.RCPT: _rcpt,
}


def call_starttls(hook: Hook, *args: object) -> bool:
    """``handle_STARTTLS`` is not awaited: a coroutine counts as true (smtp-server 2.3)."""
    answer = hook(*args)
    if inspect.iscoroutine(answer):
        answer.close()  # never run, as under aiosmtpd, and no warning about it
        return True
    return bool(answer)


class Suspended(Exception):
    """A hook that was stepped once did not end: ``rest`` is to be awaited in a task."""

    def __init__(self, rest: Awaitable[Any]) -> None:
        super().__init__()
        self.rest = rest


def step(work: Coroutine[Any, Any, Any]) -> object:
    """Run a hook up to its end or to its first wait, without a task.

    Raises:
        Suspended: it waits for something.
        Exception: whatever the hook raised.
    """
    try:
        waits_for = work.send(None)
    except StopIteration as ended:
        return ended.value
    raise Suspended(_carry_on(work, waits_for))


@types.coroutine
def _carry_on(work: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """Await the rest of a coroutine whose first wait is already known."""
    try:
        yield waits_for
    except BaseException as error:  # noqa: BLE001  # handed to the coroutine that waits
        try:
            again = work.throw(error)
        except StopIteration as ended:
            return ended.value
        return (yield from _carry_on(work, again))
    return (yield from work.__await__())
