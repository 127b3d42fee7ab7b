"""One session behind a wire that notes what it is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.smtp import MISSING
from prometheus_client import CollectorRegistry

from smtp_gateway.smtp.admission import MemoryBudget
from smtp_gateway.smtp.effects import SessionSettings, TlsInfo, TlsMode
from smtp_gateway.smtp.exchange import Exchange, Hold
from smtp_gateway.smtp.hooks import HookTable
from smtp_gateway.smtp.tally import Tally
from smtp_gateway.telemetry import Event, Metrics
from smtp_gateway.utils.tasks import TaskOwner
from tests.support.edge import LOGIN, Lines, RecordingHandler
from tests.support.fakes import GivenClock

READY = f"EHLO x\r\nAUTH PLAIN {LOGIN}\r\n".encode()
MAIL = b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n"


class NotingWire:
    """Everything that the session asks of its connection."""

    def __init__(self) -> None:
        self.sent = b""
        self.holds = Hold.NONE
        self.closed = self.upgraded = False
        self.admits = True

    def send(self, data: bytes) -> None:
        """See ``Wire``."""
        self.sent += data

    def hold(self, reason: Hold) -> None:
        """See ``Wire``."""
        self.holds |= reason

    def let_go(self, reason: Hold) -> None:
        """See ``Wire``."""
        self.holds &= ~reason

    def upgrade(self) -> None:
        """See ``Wire``."""
        self.upgraded = True

    def close(self) -> None:
        """See ``Wire``."""
        self.closed = True

    def after(self) -> None:
        """See ``Wire``."""

    def admits_login(self, key: bytes) -> bool:
        """See ``Wire``."""
        return self.admits


class Stage:
    """A session with everything around it."""

    def __init__(self, handler: object, *, memory_bytes: int = 1_000_000) -> None:
        metrics = Metrics(CollectorRegistry())
        self.clock, self.log, self.wire = GivenClock(), Lines(), NotingWire()
        self.failures: list[str] = []
        self.server: Any = SimpleNamespace(
            clock=self.clock,
            hooks=HookTable(handler),
            tasks=TaskOwner(lambda name, _: self.failures.append(name)),
            memory=MemoryBudget(
                memory_bytes * 4 // 3,
                resting_bytes=0,
                in_flight=metrics.bytes_in_flight,
                total=metrics.memory_budget,
            ),
            metrics=metrics,
            tally=Tally(metrics),
            log=self.log,
        )
        settings = SessionSettings("mx.test", "abc", tls_mode=TlsMode.IMPLICIT)
        self.talk = Exchange(
            self.server,
            self.wire,
            settings,
            peer=("192.0.2.7", 5000),
            proxy_data=None,
            tls=TlsInfo("TLSv1.3", "AES"),
        )
        self.talk.apply(self.talk.machine.start(self.talk.now()))

    async def hear(self, data: bytes) -> str:
        """What the session answers, once every hook but a waiting one has ended."""
        self.wire.sent = b""
        self.talk.apply(self.talk.machine.feed(data, self.talk.now()))
        for _ in range(10):
            await asyncio.sleep(0)
        return self.wire.sent.decode()

    def received(self, status: str) -> float:
        """Messages counted so."""
        registry = self.server.metrics.registry
        return registry.get_sample_value("smtp_emails_received_total", {"status": status}) or 0


async def test_the_session_has_the_connections_facts() -> None:
    """Peer, id and TLS, on aiosmtpd's own class."""
    session: Any = Stage(RecordingHandler()).talk.session
    assert session.peer == ("192.0.2.7", 5000)
    assert session.session_id == session.connection_id == "abc"
    assert session.ssl == {"version": "TLSv1.3", "cipher": "AES", "resumed": False}
    assert session.authenticated is None


@pytest.mark.parametrize(("hello", "extended"), [(b"EHLO x\r\n", True), (b"HELO x\r\n", False)])
async def test_the_session_knows_its_kind_of_hello(hello: bytes, extended: bool) -> None:  # noqa: FBT001  # a table's column
    """As aiosmtpd notes it before the hook is called."""
    stage = Stage(RecordingHandler())
    await stage.hear(hello)
    assert stage.talk.session.extended_smtp is extended


async def test_a_good_login_is_noted_on_the_session() -> None:
    """As aiosmtpd does, and on the session alone."""
    stage = Stage(RecordingHandler())
    assert "235 2.7.0" in await stage.hear(READY)
    assert stage.talk.session.authenticated is True
    assert stage.talk.machine.mechanism == "PLAIN"


async def test_a_message_that_no_hook_sees_has_its_line_in_the_log() -> None:
    """What the machine refuses at the dot is a message too."""
    stage = Stage(RecordingHandler())
    await stage.hear(READY)
    await stage.hear(MAIL)
    assert "554 5.6.0 Bare CR" in await stage.hear(b"Subject: x\r\n\r\nhe\rllo\r\n.\r\n")
    (line,) = stage.log.of(Event.MESSAGE)
    assert (line["session"], line["outcome"], line["recipients"]) == ("abc", "bare_cr", 1)
    assert len(line["message"]) == 36


async def test_a_login_beyond_its_cap_is_not_noted() -> None:
    """The session ends with 421, and nobody is logged in."""
    stage = Stage(RecordingHandler())
    stage.wire.admits = False
    assert "421 4.7.0 Too many connections for this login [abc]" in await stage.hear(READY)
    assert stage.talk.session.authenticated is None
    assert stage.wire.closed


async def test_a_message_whose_client_is_gone_counts_as_aborted() -> None:
    """It may be delivered, but nobody heard so."""
    handler = RecordingHandler(held=True)
    stage = Stage(handler)
    await stage.hear(READY)
    await stage.hear(MAIL)
    await stage.hear(b"x\r\n.\r\n")
    stage.talk.lost()
    handler.release.set()
    assert await stage.server.tasks.settle(timeout_seconds=5) == 0
    assert len(handler.mails) == 1
    assert (stage.received("aborted"), stage.received("accepted")) == (1, 0)
    assert stage.server.memory.reserved_bytes == 0
    assert stage.failures == []


async def test_no_challenge_waits_for_a_client_that_is_gone() -> None:
    """Asked before or after the loss, the answer is MISSING."""
    stage = Stage(RecordingHandler())
    await stage.hear(b"EHLO x\r\n")
    assert await stage.hear(b"AUTH LOGIN\r\n") == "334 VXNlcm5hbWU6\r\n"
    stage.talk.lost()
    assert await stage.server.tasks.settle(timeout_seconds=5) == 0
    assert await stage.talk.ask("Password:") is MISSING


class Helpless(RecordingHandler):
    """A handler that fails, and fails to say so."""

    async def handle_MAIL(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # fmt: skip  # noqa: N802, E501  # the contract's name and length
        """Fail."""
        raise ValueError("secret words")

    async def handle_exception(self, error: Exception) -> str:
        """Fail again."""
        raise RuntimeError("more secret words") from error


async def test_a_handler_that_cannot_word_its_failure_is_worded_for() -> None:
    """The fixed text; the log has classes and places, no words; memory is free."""
    stage = Stage(Helpless())
    await stage.hear(READY)
    assert await stage.hear(b"MAIL FROM:<a@x.test>\r\n") == "451 4.3.0 Internal error [abc]\r\n"
    lines = stage.log.of(Event.HOOK_FAILED)
    assert [line["hook"] for line in lines] == ["handle_MAIL", "handle_MAIL"]
    assert "secret words" not in repr(lines)
    assert stage.server.memory.reserved_bytes == 0


async def test_time_stands_still_while_memory_is_waited_for() -> None:
    """Our pause is not the client's slowness."""
    stage = Stage(RecordingHandler(), memory_bytes=400_000)
    await stage.hear(READY)
    await stage.hear(MAIL)
    other = stage.server.memory.reserve(100_000, None)
    await stage.hear(b"\r\n" + b"x" * 60_000)
    before = stage.talk.now()
    stage.clock.advance(20)
    stage.talk.sweep(stage.clock.monotonic(), 30)
    held = stage.wire.holds

    other.release()
    await asyncio.sleep(0)

    assert (held, stage.wire.holds) == (Hold.MEMORY, Hold.NONE)
    assert stage.talk.now() == before
    assert "250 Ok 1" in await stage.hear(b"\r\n.\r\n")


@pytest.mark.parametrize("seconds", [299, 300])
async def test_the_machines_deadline_is_kept(seconds: float) -> None:
    """Not before its time, and then with 421."""
    stage = Stage(RecordingHandler())
    stage.clock.advance(seconds)
    stage.wire.sent = b""
    stage.talk.sweep(stage.clock.monotonic(), 30)
    assert stage.wire.sent.startswith(b"421 4.4.2") is (seconds == 300)
