"""One SMTP session as the edge holds it: the machine, the handler's hooks, the open message.

Effects of the session machine are carried out here; what touches the socket goes to the wire. A
hook that runs is never ended because the client left: the mail may already be accepted, and its
outcome must be known (smtp-server 2.5).
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from enum import IntFlag
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from aiosmtpd.smtp import MISSING, AuthResult, Envelope, Session

from smtp_gateway.smtp import effects as fx
from smtp_gateway.smtp import hooks as hk
from smtp_gateway.smtp.intake import Intake
from smtp_gateway.smtp.machine import Machine
from smtp_gateway.smtp.replies import NO_MEMORY, TOO_MANY_FOR_LOGIN
from smtp_gateway.telemetry import Event
from smtp_gateway.utils.stack import stack_of

if TYPE_CHECKING:
    from aiosmtpd.proxy_protocol import ProxyData

    from smtp_gateway.smtp.admission import MemoryBudget
    from smtp_gateway.smtp.tally import Tally
    from smtp_gateway.telemetry import Log, Metrics
    from smtp_gateway.utils.clock import Clock
    from smtp_gateway.utils.tasks import TaskOwner


class Hold(IntFlag):
    """Why nothing is read from the socket."""

    NONE = 0
    MACHINE = 1  # enough input waits already
    WRITE = 2  # the client does not take its answers
    MEMORY = 4  # no room for more of the message


class Wire(Protocol):
    """The connection, as its session uses it."""

    def send(self, data: bytes) -> None:
        """Bytes for the client; they leave at the next ``after``."""
        ...

    def hold(self, reason: Hold) -> None:
        """Stop reading."""
        ...

    def let_go(self, reason: Hold) -> None:
        """Read again, unless another reason is left."""
        ...

    def upgrade(self) -> None:
        """Begin TLS behind what was sent so far."""
        ...

    def close(self) -> None:
        """Close behind what was sent so far."""
        ...

    def after(self) -> None:
        """One turn has ended: write, upgrade, close."""
        ...

    def admits_login(self, key: bytes) -> bool:
        """Whether this credential may have one more connection."""
        ...


class Surroundings(Protocol):
    """What a session needs of the server."""

    clock: Clock
    hooks: hk.HookTable
    tasks: TaskOwner
    memory: MemoryBudget
    metrics: Metrics
    tally: Tally
    log: Log


class Exchange:
    """The session behind one connection, from the greeting to the end of its last hook.

    Args:
        server: hooks, clock, memory, metrics, log.
        wire: the connection.
        settings: what the session is held to.
        peer: the socket's peer.
        proxy_data: what a trusted proxy announced.
        tls: what the handshake agreed on, where TLS came first.
    """

    session: Session

    def __init__(
        self,
        server: Surroundings,
        wire: Wire,
        settings: fx.SessionSettings,
        *,
        peer: object,
        proxy_data: ProxyData | None,
        tls: fx.TlsInfo | None,
    ) -> None:
        self._server = server
        self._wire: Wire | None = wire
        self._loop = asyncio.get_running_loop()
        self._peer, self._proxy_data, self._tls = peer, proxy_data, tls
        self.session_id = settings.session_id
        self.hostname = settings.hostname
        self.machine = Machine(settings, secured=tls)
        self.envelope = Envelope()
        self.renew_session()
        self._intake = Intake(server.memory)
        self._call: fx.CallHook | None = None
        self._challenge: asyncio.Future[object] | None = None
        self._shift = 0.0  # seconds that the machine's clock stood still
        self._held_since: float | None = None  # since when memory is waited for

    # ---- turns: something happened ------------------------------------------------------------

    def now(self) -> float:
        """The machine's time: it stands still while memory is waited for."""
        return self._server.clock.monotonic() - self._shift

    def apply(self, wanted: list[fx.Effect]) -> None:
        """Carry out effects, and those of each hook that answers at once."""
        while True:
            for effect in wanted:
                self._actions[type(effect)](self, effect)
            call, self._call = self._call, None
            if call is None:
                return
            answered = self._start(call)
            if answered is None:
                return
            wanted = answered

    def sweep(self, now: float, memory_wait_seconds: float) -> None:
        """Enforce the deadlines that have passed; called once a second."""
        if self._held_since is not None:
            if now - self._held_since >= memory_wait_seconds:
                self._give_up_waiting()
            return
        deadline = self.machine.next_deadline
        if deadline is not None and deadline <= now - self._shift:
            self.apply(self.machine.tick(now - self._shift))

    def ended(self) -> None:
        """The client sends no more; whether it still listens nobody can tell (smtp-server 4.3)."""
        vars(self.session)["client_gone"] = True
        self.apply(self.machine.eof(self.now()))

    def lost(self) -> None:
        """The client is gone. What runs goes on, and is told to nobody."""
        self._server.memory.forget(self._memory_came)
        self._held_since = None
        self.ended()
        self._answer_challenge(MISSING)
        self._intake.release()
        self._wire = None

    def _resume(self, wanted: list[fx.Effect]) -> None:
        """The hook has ended in its task: go on with the session."""
        self.apply(wanted)
        if self._wire is not None:
            self._wire.after()
        else:
            self._intake.release()  # a command that waited behind the hook may have reserved

    # ---- what hooks may do (hooks.Asker) -------------------------------------------------------

    async def ask(self, challenge: str | bytes) -> object:
        """See ``hooks.Asker``."""
        if self._wire is None:
            return MISSING
        waiting = self._challenge = self._loop.create_future()
        self._resume(self.machine.challenge(challenge, self.now()))
        return await waiting

    def say(self, line: str | bytes) -> None:
        """See ``hooks.Asker``."""
        self._resume(self.machine.push(line, self.now()))

    def _answer_challenge(self, answer: object) -> None:
        waiting, self._challenge = self._challenge, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    # ---- session, envelope, message ------------------------------------------------------------

    def secured(self, info: fx.TlsInfo) -> None:
        """The handshake that the machine asked for has ended well."""
        self._tls = info
        self.apply(self.machine.tls_started(info, self.now()))

    def renew_session(self) -> None:
        """A new, empty Session (RFC 3207 4.2)."""
        self.session = new_session(self._loop, self.session_id, self._peer, self._proxy_data)
        if self._tls is not None:
            info = self._tls
            self.session.ssl = {
                "version": info.version,
                "cipher": info.cipher,
                "resumed": info.resumed,
            }

    def _take_body(self, effect: fx.Body) -> None:
        if not self._intake.add(effect.data) and self._held_since is None:
            self._held_since = self._server.clock.monotonic()
            self._hold(Hold.MEMORY)
            self._server.memory.wait(self._memory_came)

    def _memory_came(self) -> bool:
        """Another message's memory was freed; true when this one has enough now."""
        if not self._intake.fits():
            return False
        self._loop.call_soon(self._go_on)  # not inside the other connection's turn
        return True

    def _go_on(self) -> None:
        self._stop_waiting()
        self._resume([])

    def _give_up_waiting(self) -> None:
        self._server.memory.forget(self._memory_came)
        self._server.metrics.admission_refusals["memory"].inc()
        self.apply(self.machine.shed(NO_MEMORY, self.now()))
        self._intake.discard()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._held_since is None:
            return
        # What we did not read must not count as the client's slowness.
        self._shift += self._server.clock.monotonic() - self._held_since
        self._held_since = None
        self._let_go(Hold.MEMORY)

    # ---- hooks ---------------------------------------------------------------------------------

    def _start(self, call: fx.CallHook) -> list[fx.Effect] | None:
        """Call one hook; effects when it has answered already, None when it runs on."""
        name = call.name
        if name is fx.HookName.MAIL and not self._admit():
            return self.machine.hook_done(NO_MEMORY.line(self.session_id), self.now())
        if name is fx.HookName.DATA:
            self._hand_over()
        elif name in hk.HELLO_HOOKS:
            self.session.extended_smtp = name is fx.HookName.EHLO
        hook = self._server.hooks.get(name)
        try:
            if hook is not None:
                return self._finish(name, self._invoke(name, hook, call.args))
        except hk.Suspended as waiting:
            work = self._await(name, waiting.rest)
        except Exception as error:  # noqa: BLE001  # whatever a hook raises is answered
            work = self._excuse(name, error)
        else:
            hk.ABSENT.get(name, hk.nothing)(self.session, self.envelope, *call.args)
            return self._finish(name, None)
        self._server.tasks.launch(work, name=name.value)
        return None

    def _invoke(self, name: fx.HookName, hook: hk.Hook, args: tuple[object, ...]) -> object:
        facade = hk.ServerFacade(self)  # kept by nobody else: no cycle is left behind
        if name in hk.AUTH_HOOKS:
            raise hk.Suspended(hook(facade, *args))
        if name is fx.HookName.STARTTLS:
            return hk.call_starttls(hook, facade, self.session, self.envelope)
        work = hook(facade, self.session, self.envelope, *args)
        if name in hk.SLOW_HOOKS:
            raise hk.Suspended(work)
        return hk.step(work)

    async def _await(self, name: fx.HookName, work: Awaitable[Any]) -> None:
        try:
            result = await work
        except Exception as error:  # noqa: BLE001  # whatever a hook raises is answered
            await self._excuse(name, error)
            return
        finally:
            if name is fx.HookName.DATA:
                self._take_back()
        self._resume(self._finish(name, result))

    async def _excuse(self, name: fx.HookName, error: Exception) -> None:
        """A hook raised: the handler words the answer, the machine does where it has none."""
        try:
            reply = await self._server.hooks.excuse(name, error)
        except Exception as second:  # noqa: BLE001  # the answer must not depend on the excuse
            self._log_failure(name, second)
            reply = None
        if reply is not None:
            self._resume(self._finish(name, reply))
            return
        self._log_failure(name, error)
        if name is fx.HookName.MAIL:
            self._intake.release()
        self._resume(self.machine.hook_failed(error, self.now()))

    def _log_failure(self, name: fx.HookName, error: Exception) -> None:
        self._server.log.error(
            Event.HOOK_FAILED, session=self.session_id, hook=name.value, stack=stack_of(error)
        )

    def _finish(self, name: fx.HookName, result: object) -> list[fx.Effect]:
        if name in hk.AUTH_HOOKS:
            result = self._log_in(result)
        elif name is fx.HookName.MAIL and isinstance(result, str) and not result.startswith("2"):
            self._intake.release()
        elif name is fx.HookName.DATA:
            self._take_back()
        return self.machine.hook_done(result, self.now())

    def _log_in(self, result: object) -> object:
        if not isinstance(result, AuthResult) or not result.success:
            return result
        key: bytes | None = getattr(self.session, "login_key", None)
        if key is not None and self._wire is not None and not self._wire.admits_login(key):
            message = TOO_MANY_FOR_LOGIN.line(self.session_id)
            return AuthResult(success=False, handled=False, message=message)
        self.session.authenticated = True
        self.session.auth_data = result.auth_data
        return result

    def _admit(self) -> bool:
        """Memory for the message that MAIL announces (smtp-server 4.7)."""
        key: bytes | None = getattr(self.session, "login_key", None)
        if self._intake.admit(self.machine.size_asked or 0, key):
            return True
        self._server.metrics.admission_refusals["memory"].inc()
        return False

    def _hand_over(self) -> None:
        """The final dot: content and memory go to the envelope."""
        now = self._server.clock.monotonic()
        metrics = self._server.metrics
        metrics.message_size.observe(self._intake.size)
        metrics.processing_duration["receive"].observe(now - self._intake.began)
        metrics.transactions_in_flight.inc()
        self._intake.hand_to(self.envelope, now)

    def _take_back(self) -> None:
        """The DATA hook has ended, however it did; once per message."""
        received = vars(self.envelope).pop("received_monotonic", None)
        if received is None:
            return
        metrics = self._server.metrics
        metrics.processing_duration["total"].observe(self._server.clock.monotonic() - received)
        metrics.transactions_in_flight.dec()
        self._intake.settle(self.envelope)

    # ---- the wire, where there still is one ----------------------------------------------------

    def _send(self, effect: fx.Send) -> None:
        if self._wire is not None:
            self._wire.send(effect.data)

    def _hold(self, reason: Hold) -> None:
        if self._wire is not None:
            self._wire.hold(reason)

    def _let_go(self, reason: Hold) -> None:
        if self._wire is not None:
            self._wire.let_go(reason)

    def _pause(self, _: fx.Pause) -> None:
        self._hold(Hold.MACHINE)

    def _read_on(self, _: fx.Resume) -> None:
        self._let_go(Hold.MACHINE)

    def _upgrade(self, _: fx.StartTls) -> None:
        if self._wire is not None:
            self._wire.upgrade()

    def _close(self, _: fx.Close) -> None:
        if self._wire is not None:
            self._wire.close()

    # ---- the rest of the effects ---------------------------------------------------------------

    def _note_call(self, effect: fx.CallHook) -> None:
        self._call = effect

    def _note_answer(self, effect: fx.AuthAnswer) -> None:
        self._answer_challenge(MISSING if effect.data is None else effect.data)

    def _begin_body(self, _: fx.BodyBegin) -> None:
        self._intake.begin(self._server.clock.monotonic())

    def _discard_body(self, _: fx.BodyDiscard) -> None:
        self._intake.discard()

    def _log_refused(self, effect: fx.MessageRefused) -> None:
        self._server.log.info(
            Event.MESSAGE,
            session=self.session_id,
            message=str(uuid.uuid4()),
            outcome=effect.reason,
            recipients=effect.recipients,
        )

    def _reset_envelope(self, _: fx.ResetEnvelope) -> None:
        self._intake.release()
        self.envelope = Envelope()

    def _new_session(self, _: fx.NewSession) -> None:
        self.renew_session()

    def _count(self, effect: fx.Count) -> None:
        if self._wire is None and effect.what == "emails_received":
            effect = fx.Count("emails_received", {"status": "aborted"})  # nobody heard the reply
        self._server.tally(effect)

    _actions: ClassVar[Mapping[type, Callable[[Exchange, Any], None]]] = {
        fx.Send: _send,
        fx.CallHook: _note_call,
        fx.AuthAnswer: _note_answer,
        fx.StartTls: _upgrade,
        fx.Pause: _pause,
        fx.Resume: _read_on,
        fx.BodyBegin: _begin_body,
        fx.Body: _take_body,
        fx.BodyDiscard: _discard_body,
        fx.MessageRefused: _log_refused,
        fx.ResetEnvelope: _reset_envelope,
        fx.NewSession: _new_session,
        fx.Count: _count,
        fx.Close: _close,
    }


def new_session(
    loop: asyncio.AbstractEventLoop, session_id: str, peer: Any, proxy_data: ProxyData | None
) -> Session:
    """A Session of aiosmtpd, with the connection's facts."""
    session = Session(loop)
    session.peer, session.proxy_data = peer, proxy_data
    vars(session).update(session_id=session_id, connection_id=session_id)
    return session
