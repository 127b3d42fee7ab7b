"""How a connection ends: the client leaves, or time runs out."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import pytest

from smtp_gateway.smtp import context
from smtp_gateway.smtp.edge import EdgeTimeouts
from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from tests.support.edge import HOST, LOGIN, Client, RecordingHandler, SweptClock, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)
MIB = 1 << 20


# ---- the client leaves -------------------------------------------------------------------------


@pytest.mark.parametrize("leaving", ["reset", "close"])
async def test_a_client_that_vanishes_does_not_end_the_api_call(
    tmp_path: Path, certificates: Certificates, leaving: str
) -> None:
    """Trap 18: the hook runs to its end and can know it, and the message counts as aborted."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        session = handler.sessions[-1]
        assert context.client_there(session)
        getattr(client, leaving)()
        await rig.until(lambda: not context.client_there(session))
        await rig.until(lambda: leaving == "close" or rig.server.connections == 0)
        handler.release.set()
        await handler.ended.wait()
        await rig.until(lambda: rig.server.connections == 0 and len(rig.server.tasks) == 0)
        assert len(handler.mails) == 1
        assert rig.memory.reserved_bytes == 0
        assert rig.value("smtp_transactions_in_flight") == 0
        assert rig.log.of("handler failed") == []
        if leaving == "reset":
            assert rig.value("smtp_emails_received_total", status="aborted") == 1


async def test_half_a_close_still_gets_its_answer(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 18: a client that sends no more but reads is answered, without TLS as well."""
    handler = RecordingHandler(held=True)
    optional = (Listener(HOST, 0, TlsMode.OPTIONAL),)
    async with serving(
        tmp_path, certificates, handler=handler, listeners=optional, clear_auth_allowed=True
    ) as rig:
        client = await rig.greeted()
        await client.ask("EHLO x")
        await client.ask(f"AUTH PLAIN {LOGIN}")
        await client.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
        for _ in range(3):
            await client.reply()
        await client.send(b"x\r\n.\r\n")
        client.half_close()
        await handler.entered.wait()
        handler.release.set()
        assert await client.reply() == "250 Ok 1"
        assert await client.closed()


@pytest.mark.parametrize("moment", ["greeted", "secured", "logged_in", "in_data"])
async def test_an_end_without_quit_is_no_error(
    tmp_path: Path, certificates: Certificates, moment: str
) -> None:
    """Pools close without QUIT, and TLS may end without close_notify: no error in the log."""
    async with serving(tmp_path, certificates) as rig:
        client: Client = await getattr(rig, moment)()
        client.close()
        await rig.until(lambda: rig.server.connections == 0)
        assert [event for event, _ in rig.log.kept] == ["session"]
        assert rig.value("smtp_connections_total", status="success") == 1
        assert rig.memory.reserved_bytes == 0


async def test_a_client_that_leaves_during_a_challenge_ends_the_exchange(
    tmp_path: Path, certificates: Certificates
) -> None:
    """No hook waits for an answer that cannot come."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.secured()
        assert await client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        client.reset()
        await rig.until(lambda: rig.server.connections == 0 and len(rig.server.tasks) == 0)
        assert rig.log.of("handler failed") == rig.log.of("task failed") == []


async def test_commands_left_behind_a_call_reserve_nothing(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A client that pipelines the next MAIL and vanishes leaves no memory taken."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data()
        await client.send(b"x\r\n.\r\nMAIL FROM:<c@x.test>\r\nRCPT TO:<d@y.test>\r\n")
        await handler.entered.wait()
        client.reset()
        await rig.until(lambda: rig.server.connections == 0)
        handler.release.set()
        await rig.until(lambda: len(rig.server.tasks) == 0)
        assert rig.memory.reserved_bytes == 0


async def test_octets_that_are_no_tls_end_the_session_quietly(
    tmp_path: Path, certificates: Certificates
) -> None:
    """In the middle of a call: it goes on, nothing can be said, nothing is logged as an error."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        client.writer.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        (edge,) = rig.edges()
        before = edge.bytes_in
        await rig.until(lambda: edge.bytes_in > before or rig.server.connections == 0)
        handler.release.set()
        await rig.until(lambda: rig.server.connections == 0)
        assert len(handler.mails) == 1
        assert [event for event, _ in rig.log.kept] == ["session"]


async def test_memory_does_not_wait_for_the_collector(
    tmp_path: Path, certificates: Certificates
) -> None:
    """No reference cycle keeps a connection, its TLS object or its envelope alive."""
    async with serving(tmp_path, certificates) as rig:
        gc.collect()
        gc.disable()
        try:
            client = await rig.in_data()
            await client.send(b"x\r\n.\r\n")
            await client.reply()
            session = rig.handler.sessions[-1]
            alive = [weakref.ref(session), *(weakref.ref(edge) for edge in rig.edges())]
            del session
            rig.handler.sessions.clear()
            await client.ask("QUIT")
            await rig.until(lambda: rig.server.connections == 0)
            await rig.until(lambda: all(each() is None for each in alive))
        finally:
            gc.enable()


# ---- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [("greeted", 300), ("secured", 300), ("logged_in", 300), ("in_data", 180)],
)
async def test_every_time_out_says_421(
    tmp_path: Path, certificates: Certificates, moment: str, seconds: float
) -> None:
    """Trap 15: never silence, and not before its time."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client: Client = await getattr(rig, moment)()
        await clock.advance(seconds - 1)
        assert rig.server.connections == 1
        await clock.advance(1)
        assert (await client.reply()).startswith("421 4.4.2 Timeout [")
        assert await client.closed()


async def test_an_unanswered_challenge_times_out_with_421(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15, in the middle of AUTH."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.secured()
        await client.ask("AUTH LOGIN")
        await clock.advance(60)
        assert (await client.reply()).startswith("421 4.4.2 ")
        await rig.until(lambda: len(rig.server.tasks) == 0)


async def test_noop_does_not_keep_an_anonymous_session_alive(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 16: before a login the time counts in total."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.greeted()
        for _ in range(5):
            await clock.advance(50)
            assert (await client.ask("NOOP")).startswith("250 ")
        await clock.advance(50)
        assert (await client.reply()).startswith("421 4.4.2 ")


async def test_a_slow_api_within_its_deadline_is_waited_for(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 14: while a hook is out no idle timer runs."""
    clock, handler = SweptClock(), RecordingHandler()
    handler.release = asyncio.Event()
    async with serving(tmp_path, certificates, handler=handler, clock=clock) as rig:
        client = await rig.in_hook()
        await clock.advance(1000)
        handler.release.set()
        assert await client.reply() == "250 Ok 1"


async def test_an_honest_slow_upload_passes(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 14: 10 KB a second for five minutes is slow, and mail."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock, sweep_seconds=0.001) as rig:
        client = await rig.in_data()
        await client.send(b"\r\n")
        for _ in range(300):
            await client.send((b"x" * 998 + b"\r\n") * 10)
            await clock.advance(1)
        await client.send(b".\r\n")
        assert await client.reply() == "250 Ok 1"
    assert len(rig.handler.mails[0].content) == 3_000_002


async def test_a_trickle_is_cut(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 14, the other side: below 8 KiB a second a connection is only held."""
    clock = SweptClock()
    patient = EdgeTimeouts(linger_seconds=1000)
    async with serving(
        tmp_path, certificates, clock=clock, sweep_seconds=0.001, edge_timeouts=patient
    ) as rig:
        client = await rig.in_data()
        for _ in range(90):
            await client.send(b"x" * 998 + b"\r\n")
            await clock.advance(1)
        assert (await client.reply()).startswith("421 4.4.2 ")
        assert await client.closed()
    assert rig.handler.mails == []


async def test_a_handshake_that_does_not_come_is_ended(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15, before TLS: there is nobody to talk to in the clear."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,), clock=clock) as rig:
        await rig.connect()
        await rig.until(lambda: rig.server.connections == 1)
        await clock.advance(29)
        assert rig.server.connections == 1
        await clock.advance(1)
        await rig.until(lambda: rig.value("smtp_connections_total", status="failed") == 1)
        assert rig.log.of("session")[0]["ended_by"] == "tls handshake"


async def test_a_client_that_does_not_read_is_dropped(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 2.4: reading stops while answers wait, and 60 s later the connection ends."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, clock=clock) as rig:
        client = await rig.greeted()
        (edge,) = rig.edges()
        while not edge.held:
            client.writer.write(b"EHLO x\r\n" * 8192)
            await asyncio.sleep(0)  # the flood itself; nothing reads the answers
        await clock.advance(1)
        await clock.advance(58)
        assert rig.server.connections == 1
        await clock.advance(2)
        await rig.until(lambda: rig.server.connections == 0)
        (line,) = rig.log.of("session")
    assert line["bytes_in"] < 64 * MIB
