"""The ports: caps, memory, certificates, drain."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_network
from pathlib import Path

import pytest

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.smtp.edge import EdgeTimeouts
from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.server import ServerLimits
from smtp_gateway.utils.lag import LagProbe
from smtp_gateway.utils.tls import CertificateUnusable
from tests.support.edge import HOST, LOGIN, Client, RecordingHandler, Rig, SweptClock, serving
from tests.support.fakes import GivenClock
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)
LOOPBACK = (ip_network("127.0.0.0/8"),)
MIB = 1 << 20


# ---- start -------------------------------------------------------------------------------------


async def test_without_a_certificate_no_port_opens(
    tmp_path: Path, own_certificates: Certificates
) -> None:
    """Trap 41: nothing is made in silence; the reason is said."""
    own_certificates.key_path.unlink()
    with pytest.raises(CertificateUnusable, match=r"cannot read .*tls\.key"):
        async with serving(tmp_path, own_certificates):
            pass


async def test_a_store_that_was_not_loaded_opens_no_port(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 41, whoever forgets to load."""
    async with serving(tmp_path, certificates) as rig:
        rig.store.current = None
        with pytest.raises(ConfigurationError, match="no usable certificate"):
            await rig.server.start()


async def test_a_taken_port_is_named(tmp_path: Path, certificates: Certificates) -> None:
    """All ports or none; the one that is taken stands in the message."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on {HOST}:{port}"):
            async with serving(
                tmp_path, certificates, listeners=(Listener(HOST, 0), Listener(HOST, port))
            ):
                pass


async def test_serves_several_ports(tmp_path: Path, certificates: Certificates) -> None:
    """STARTTLS and implicit TLS side by side."""
    async with serving(tmp_path, certificates, listeners=(Listener(HOST, 0), IMPLICIT)) as rig:
        assert rig.server.listening
        await rig.greeted(0)
        client = await rig.connect(1)
        await client.start_tls()
        assert (await client.reply()).startswith("220 ")
        assert rig.server.connections == 2
        assert rig.value("smtp_active_connections") == 2


# ---- caps --------------------------------------------------------------------------------------


async def refused(rig: Rig, index: int = 0) -> str:
    """What a client is told instead of 220."""
    client = await rig.connect(index)
    if rig.server.listeners[index].tls_mode is TlsMode.IMPLICIT:
        await client.start_tls()
    reply = await client.reply()
    assert await client.closed()
    client.close()
    return reply


async def test_connections_beyond_the_cap_are_told_421(
    tmp_path: Path, certificates: Certificates
) -> None:
    """One leaves, the next is served."""
    async with serving(
        tmp_path,
        certificates,
        listeners=(Listener(HOST, 0), IMPLICIT),
        limits=ServerLimits(connections=2),
    ) as rig:
        first = await rig.greeted()
        await rig.greeted()
        assert (await refused(rig, 0)).startswith("421 4.7.0 Too many connections")
        assert (await refused(rig, 1)).startswith("421 4.7.0 Too many connections")
        await first.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 1)
        await rig.greeted()
        assert rig.value("smtp_admission_refusals_total", reason="connections") == 2
        assert rig.value("smtp_connections_total", status="failed") == 2


async def test_connections_of_one_address_have_a_cap(
    tmp_path: Path, certificates: Certificates
) -> None:
    """The address is the announced one: a balancer in between is no client."""
    async with serving(
        tmp_path,
        certificates,
        listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),),
        limits=ServerLimits(connections_per_address=1),
    ) as rig:
        replies = []
        for last in (7, 7, 8):
            client = await rig.connect()
            await client.send(b"PROXY TCP4 192.0.2.%d 198.51.100.1 5000 587\r\n" % last)
            replies.append((await client.reply())[:9])
        assert replies == ["220 mx.te", "421 4.7.0", "220 mx.te"]


async def test_an_ipv6_client_counts_by_its_network(
    tmp_path: Path, certificates: Certificates
) -> None:
    """One host has a whole /64 to itself, so each of its addresses counts for it."""
    async with serving(
        tmp_path,
        certificates,
        listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),),
        limits=ServerLimits(connections_per_address=1),
    ) as rig:
        replies = []
        for address in (b"2001:db8::7", b"2001:db8::8", b"2001:db8:0:1::7"):
            client = await rig.connect()
            await client.send(b"PROXY TCP6 %s 2001:db8::1 5000 587\r\n" % address)
            replies.append((await client.reply())[:3])
        assert replies == ["220", "421", "220"]


async def test_connections_of_one_credential_have_a_cap(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Known only after the login, so it is told there."""
    async with serving(tmp_path, certificates, limits=ServerLimits(connections_per_login=1)) as rig:
        first = await rig.logged_in()
        second = await rig.secured()
        reply = await second.ask(f"AUTH PLAIN {LOGIN}")
        assert reply.startswith("421 4.7.0 Too many connections for this login")
        assert await second.closed()
        second.close()
        await first.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 0)
        await rig.logged_in()


async def test_a_lagging_loop_takes_no_new_connections(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 4.7: over 250 ms for 2 s."""
    clock = GivenClock(0.0)
    async with serving(tmp_path, certificates, lag=LagProbe(clock, lambda _: None)) as rig:
        await rig.greeted()
        clock.advance(3)
        assert (await refused(rig)).startswith("421 4.3.2 ")
        assert rig.value("smtp_admission_refusals_total", reason="lag") == 1


async def test_a_full_house_shortens_patience_before_login(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Section 3.5: above 80 % of the cap 60 s count for whoever has not logged in."""
    clock = SweptClock()
    async with serving(
        tmp_path, certificates, clock=clock, limits=ServerLimits(connections=3)
    ) as rig:
        known = await rig.logged_in()
        idle = [await rig.greeted() for _ in range(2)]
        await clock.advance(1)
        await clock.advance(60)
        for client in idle:
            assert (await client.reply()).startswith("421 4.4.2 ")
        assert (await known.ask("NOOP")).startswith("250 ")


# ---- memory ------------------------------------------------------------------------------------


async def test_no_room_is_told_at_mail(tmp_path: Path, certificates: Certificates) -> None:
    """452 before the upload, and only for what does not fit."""
    async with serving(tmp_path, certificates, memory_bytes=9 * MIB) as rig:
        client = await rig.logged_in()
        reply = await client.ask(f"MAIL FROM:<a@x.test> SIZE={4 * MIB}")
        assert reply.startswith("452 4.3.1 Insufficient system storage, try again [")
        assert (await client.ask(f"MAIL FROM:<a@x.test> SIZE={2 * MIB}")).startswith("250 ")
        assert rig.memory.reserved_bytes == 6 * MIB
        assert rig.value("smtp_admission_refusals_total", reason="memory") == 1


@pytest.mark.parametrize("ending", ["RSET", "QUIT", "EHLO x", "vanish", "MAIL FROM:<>", "mail"])
async def test_memory_is_free_after_every_end(
    tmp_path: Path, certificates: Certificates, ending: str
) -> None:
    """No path out of a transaction keeps a reservation."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.logged_in()
        await client.ask("MAIL FROM:<a@x.test> SIZE=1000")
        assert rig.memory.reserved_bytes == 3000
        if ending == "vanish":
            client.reset()
        elif ending == "mail":
            await client.ask("RCPT TO:<b@y.test>")
            await client.ask("DATA")
            await client.send(b"x\r\n.\r\n")
            await client.reply()
        else:
            await client.ask(ending)
        if ending.startswith("MAIL"):
            assert rig.memory.reserved_bytes == 3000  # 503: the transaction is still open
            await client.ask("RSET")
        await rig.until(lambda: rig.memory.reserved_bytes == 0)


class Keeping(RecordingHandler):
    """A handler whose API calls go on behind its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[object] = []

    async def handle_DATA(self, server: object, session: object, envelope: object) -> str:  # noqa: N802  # the contract's name
        """Take the memory over, as ``context.take_settled`` does."""
        self.settled.append(vars(envelope).pop("on_settled"))
        return "451 4.4.2 later"


async def test_a_handler_may_keep_the_memory(tmp_path: Path, certificates: Certificates) -> None:
    """It is free when the last API call has its answer, not with the reply."""
    handler = Keeping()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        client = await rig.in_data(size=1000)
        await client.send(b"x\r\n.\r\n")
        assert (await client.reply()).startswith("451 ")
        assert (await client.ask("QUIT")).startswith("221 ")
        await rig.until(lambda: rig.server.connections == 0)
        assert rig.memory.reserved_bytes == 3000
        (release,) = handler.settled
        assert callable(release)
        release()
        assert rig.memory.reserved_bytes == 0


async def test_a_growing_message_waits_for_room(tmp_path: Path, certificates: Certificates) -> None:
    """Reading stops, TCP holds the sender, and a release lets it go on: nothing is lost."""
    async with serving(tmp_path, certificates, memory_bytes=9 * MIB) as rig:
        holding = await rig.logged_in()
        await holding.ask(f"MAIL FROM:<h@x.test> SIZE={2 * MIB}")
        growing = await rig.in_data("another")
        body = (b"y" * 998 + b"\r\n") * 2000
        sending = asyncio.gather(growing.send(b"\r\n", *[body[:16_000]] * 125, b".\r\n"))
        await rig.until(lambda: any(edge.held for edge in rig.edges()))
        assert rig.handler.mails == []
        await holding.ask("RSET")
        assert (await growing.reply()).startswith("250 ")
        await sending
        assert rig.handler.mails[0].content == b"\r\n" + body
        await rig.until(lambda: rig.memory.reserved_bytes == 0)


async def test_a_growing_message_is_refused_at_its_dot_when_no_room_comes(
    tmp_path: Path, certificates: Certificates
) -> None:
    """After 30 s the rest is thrown away, and the dot gets 452."""
    clock = SweptClock()
    async with serving(tmp_path, certificates, memory_bytes=9 * MIB, clock=clock) as rig:
        holding = await rig.logged_in()
        await holding.ask(f"MAIL FROM:<h@x.test> SIZE={2 * MIB}")
        growing = await rig.in_data("another")
        lines = (b"y" * 998 + b"\r\n") * 16
        sending = asyncio.gather(growing.send(b"\r\n", *[lines] * 125, b".\r\n"))
        await rig.until(lambda: any(edge.held for edge in rig.edges()))
        await clock.advance(29)
        assert any(edge.held for edge in rig.edges())
        await clock.advance(1)
        assert (await growing.reply()).startswith("452 4.3.1 ")
        await sending
        assert (await growing.ask("NOOP")).startswith("250 ")
        assert rig.handler.mails == []
        assert rig.memory.reserved_bytes == 6 * MIB


async def test_without_memory_connections_are_refused(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 29: 421 at connect, readiness red; and green again when room is back."""
    async with serving(tmp_path, certificates, memory_bytes=3 * MIB) as rig:
        client = await rig.logged_in()
        await client.ask(f"MAIL FROM:<a@x.test> SIZE={MIB - 10_000}")
        assert rig.memory.exhausted
        assert (await refused(rig)).startswith("421 4.3.2 ")
        await client.ask("RSET")
        await rig.greeted()


# ---- certificates ------------------------------------------------------------------------------


async def test_a_swap_of_data_gives_the_next_handshake_the_new_certificate(
    tmp_path: Path, own_certificates: Certificates
) -> None:
    """Trap 32: old sessions live, the next handshake has the new one."""

    def serial(client: Client) -> str:
        assert client.tls is not None
        certificate = client.tls.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])

    folder = own_certificates.folder
    for generation in ("..1", "..2"):
        own_certificates.renew()
        (folder / generation).mkdir()
        for name in ("tls.crt", "tls.key"):
            (folder / name).rename(folder / generation / name)
    (folder / "..data").symlink_to("..1")
    for name in ("tls.crt", "tls.key"):
        (folder / name).symlink_to(f"..data/{name}")
    async with serving(tmp_path, own_certificates) as rig:
        old = await rig.logged_in()

        (folder / "swap").symlink_to("..2")
        (folder / "swap").replace(folder / "..data")
        assert rig.store.poll()

        new = await rig.logged_in()
        assert serial(old) != serial(new)
        assert (await old.ask("MAIL FROM:<a@x.test>")).startswith("250 ")


async def test_a_bad_certificate_leaves_the_old_one_serving(
    tmp_path: Path, own_certificates: Certificates
) -> None:
    """Trap 32, gone wrong: it is said, and nobody is cut."""
    async with serving(tmp_path, own_certificates) as rig:
        own_certificates.key_path.write_text("half a fi")
        assert not rig.store.poll()
        assert len(rig.refused) == 1
        await rig.logged_in()


# ---- one among many ----------------------------------------------------------------------------


class Slow(RecordingHandler):
    """A handler that keeps bad logins waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.bad = 0
        self.done = asyncio.Event()

    async def auth_PLAIN(self, server: object, args: list[str]) -> object:  # type: ignore[override]  # noqa: N802  # the contract's name
        """Good ones at once."""
        result = await super().auth_PLAIN(server, args)
        if not result.success:
            self.bad += 1
            await self.done.wait()
        return result


async def test_failing_sessions_do_not_slow_a_good_one(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 38: a delay holds no slot and no loop."""
    handler = Slow()
    async with serving(tmp_path, certificates, handler=handler) as rig:
        for _ in range(20):
            client = await rig.secured()
            await client.send(b"AUTH PLAIN AHgAeQ==\r\n")
        await rig.until(lambda: handler.bad == 20)
        good = await rig.in_data()
        await good.send(b"x\r\n.\r\n")
        assert await good.reply() == "250 Ok 1"
        handler.done.set()


async def test_renegotiation_is_refused(tmp_path: Path, certificates: Certificates) -> None:
    """TLS 1.2: a second handshake within the first is not begun."""
    async with serving(tmp_path, certificates, listeners=(IMPLICIT,)) as rig:
        assert rig.store.context is not None
        assert rig.store.context.options & ssl.OP_NO_RENEGOTIATION


async def test_a_refused_flood_is_bounded(tmp_path: Path, certificates: Certificates) -> None:
    """Beyond the cap and a tenth, connections are ended without a word: words cost too."""
    async with serving(
        tmp_path,
        certificates,
        limits=ServerLimits(connections=10),
        edge_timeouts=EdgeTimeouts(linger_seconds=60),
    ) as rig:
        for _ in range(10):
            await rig.greeted()
        for _ in range(10):
            told = await rig.connect()
            assert (await told.reply()).startswith("421 ")
        ended = await rig.connect()
        assert await ended.closed()
        await rig.until(lambda: rig.server.connections == 20)
