"""Shutting down: no mail is lost, and 421 is never said in place of an answer to a dot."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.server import DrainCounts
from tests.support.edge import HOST, Client, RecordingHandler, Rig, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)


async def drained(
    rig: Rig, *, pre_stop: float = 0, grace: float = 20, deadline: float = 5
) -> DrainCounts:
    """Shut down."""
    return await rig.server.drain(
        pre_stop_seconds=pre_stop, grace_seconds=grace, submission_deadline_seconds=deadline
    )


async def test_drain_does_not_cut_a_call_with_the_uploads(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A hook whose client has left may use the whole grace period."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        client.reset()
        await rig.until(lambda: rig.server.connections == 0)
        asyncio.get_running_loop().call_later(0.1, handler.release.set)
        counts = await drained(rig, grace=5, deadline=5)
        assert counts == DrainCounts(sessions=0, cut=0, aborted=0)
        assert len(handler.mails) == 1


@pytest.mark.parametrize("moment", ["greeted", "secured", "logged_in"])
async def test_drain_tells_idle_sessions_421(
    tmp_path: Path, certificates: Certificates, moment: str
) -> None:
    """Traps 30, 31: between transactions, at once."""
    async with serving(tmp_path, certificates) as rig:
        client: Client = await getattr(rig, moment)()
        counts = await drained(rig)
        assert (await client.reply()).startswith("421 4.3.2 Service shutting down")
        assert await client.closed()
        assert counts == DrainCounts(sessions=1, cut=0, aborted=0)
        assert rig.value("smtp_draining") == 1


async def test_drain_lets_a_transaction_finish(tmp_path: Path, certificates: Certificates) -> None:
    """Trap 30: a loading session is answered, and only then told 421."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        await client.send(b"first half\r\n")
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(drained(rig))
            await rig.until(lambda: not rig.server.listening)
            await client.send(b"second half\r\n.\r\n")
            assert await client.reply() == "250 Ok 1"
            assert (await client.reply()).startswith("421 4.3.2 ")
        assert draining.result() == DrainCounts(sessions=1, cut=0, aborted=0)


async def test_421_never_stands_in_place_of_the_answer_to_a_dot(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 31: a session that waits for the API gets its 250, whatever the drain does."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        async with asyncio.TaskGroup() as group:
            # The limit for uploads has passed already; an answer under way is no upload.
            draining = group.create_task(drained(rig, grace=10, deadline=9))
            await rig.until(lambda: not rig.server.listening)
            handler.release.set()
            assert await client.reply() == "250 Ok 1"
            assert (await client.reply()).startswith("421 ")
        assert draining.result() == DrainCounts(sessions=1, cut=0, aborted=0)


async def test_an_upload_that_never_ends_is_cut_with_421(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 4.8: at grace - deadline - 5 s; nothing was taken, and nothing is sent."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.in_data()
        await client.send(b"half\r\n")
        counts = await drained(rig, grace=10, deadline=5)
        assert (await client.reply()).startswith("421 4.3.2 ")
        assert counts == DrainCounts(sessions=1, cut=1, aborted=0)
        assert rig.handler.mails == []
        assert rig.memory.reserved_bytes == 0


async def test_the_grace_period_ends_whatever_happens(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A hook that never ends is stopped, and counted."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        await rig.in_hook()
        counts = await drained(rig, grace=0.2, deadline=0)
        assert counts == DrainCounts(sessions=1, cut=0, aborted=1)
        assert handler.ended.is_set()
        assert rig.memory.reserved_bytes == 0


async def test_drain_waits_for_a_call_whose_client_has_left(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 18 meets trap 30: no session is left, but an outcome is."""
    handler = RecordingHandler(held=True)
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_hook()
        client.reset()
        await rig.until(lambda: rig.server.connections == 0)
        async with asyncio.TaskGroup() as group:
            group.create_task(drained(rig))
            await rig.until(lambda: not rig.server.listening)
            assert handler.mails == []
            handler.release.set()
        assert len(handler.mails) == 1


async def test_connections_are_taken_until_balancers_know(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 4.8: within the pre-stop time the port is open; a second drain joins the first."""
    async with serving(tmp_path, certificates) as rig, asyncio.TaskGroup() as group:
        first = group.create_task(drained(rig, pre_stop=0.3))
        await rig.until(lambda: rig.server.draining)
        second = group.create_task(drained(rig, pre_stop=50))
        client = await rig.logged_in()
        assert rig.server.listening
        assert (await client.reply()).startswith("421 4.3.2 ")
        assert await first == await second == DrainCounts(sessions=1, cut=0, aborted=0)


async def test_after_the_ports_close_nobody_connects(
    tmp_path: Path, certificates: Certificates
) -> None:
    """A closed port is what balancers understand."""
    async with serving(tmp_path, certificates) as rig:
        await drained(rig)
        assert not rig.server.listening
        with pytest.raises(ConnectionRefusedError):
            await rig.connect()


async def test_a_handshake_under_way_is_told_421_after_it(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Who connected before the port closed is not left without a word."""
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,)) as rig:
        client = await rig.connect()
        await rig.until(lambda: rig.server.connections == 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(drained(rig))
            await rig.until(lambda: not rig.server.listening)
            await client.start_tls()
            assert (await client.reply()).startswith("421 4.3.2 ")
