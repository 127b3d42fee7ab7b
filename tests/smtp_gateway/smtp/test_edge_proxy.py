"""The PROXY protocol in front of a connection: who may announce a client, and what is believed."""

from __future__ import annotations

import asyncio
import struct
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.proxy_protocol import V2_SIGNATURE

from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener
from tests.support.edge import HOST, RecordingHandler, SweptClock, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

PROXY_V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 587\r\n"
PROXY_V2 = (
    V2_SIGNATURE
    + struct.pack("!BBH", 0x21, 0x11, 12)
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + struct.pack("!HH", 5000, 587)
)
IMPLICIT = Listener(HOST, 0, TlsMode.IMPLICIT)
LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.mark.parametrize("header", [PROXY_V1, PROXY_V2], ids=["v1", "v2"])
@pytest.mark.parametrize("mode", [TlsMode.STARTTLS, TlsMode.IMPLICIT])
async def test_a_named_balancer_announces_the_client(
    tmp_path: Path, certificates: Certificates, header: bytes, mode: TlsMode
) -> None:
    """Trap 27: before TLS, on implicit TLS too; the session keeps the socket's peer."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, mode, LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        await client.send(header[:9])
        await client.send(header[9:])
        if mode is TlsMode.IMPLICIT:
            await client.start_tls()
        assert (await client.reply()).startswith("220 ")
        await client.ask("EHLO x")
        await client.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 0)
        (session,) = rig.handler.sessions
        assert session.peer[0] == HOST
        assert str(session.proxy_data.src_addr) == "192.0.2.7"
        assert rig.log.of("session")[0]["client"] == "192.0.2.7"


async def test_a_proxy_header_and_the_client_hello_may_come_together(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: octets behind the header belong to TLS."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, TlsMode.IMPLICIT, LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        client.writer.write(PROXY_V2)
        await client.start_tls()
        assert (await client.reply()).startswith("220 ")


@pytest.mark.parametrize("octets", [PROXY_V1, b"EHLO x\r\n"])
async def test_an_unnamed_peer_is_closed_unanswered(
    tmp_path: Path, certificates: Certificates, octets: bytes
) -> None:
    """Trap 27: the address never changes on a stranger's word."""
    stranger = Listener(HOST, 0, proxy_networks=(ip_network("192.0.2.0/24"),))
    async with serving(tmp_path, certificates, listeners=(stranger,)) as rig:
        client = await rig.connect()
        client.writer.write(octets)
        assert await client.closed()
        await rig.until(lambda: rig.server.connections == 0)
        assert rig.value("smtp_connections_total", status="failed") == 1


async def test_a_named_balancer_without_a_header_is_closed(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: there is no "if present"."""
    async with serving(
        tmp_path, certificates, listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),)
    ) as rig:
        client = await rig.connect()
        await client.send(b"EHLO x\r\n")
        assert await client.closed()


async def test_a_header_that_does_not_come_ends_the_connection(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 15: trusted peers send it at once."""
    clock = SweptClock()
    balanced = (Listener(HOST, 0, proxy_networks=LOOPBACK),)
    async with serving(tmp_path, certificates, listeners=balanced, clock=clock) as rig:
        client = await rig.connect()
        await client.send(PROXY_V1[:9])
        await rig.until(lambda: rig.server.connections == 1)
        await clock.advance(5)
        await rig.until(lambda: rig.value("smtp_connections_total", status="failed") == 1)


async def test_without_proxy_protocol_the_header_is_a_bad_command(
    tmp_path: Path, certificates: Certificates
) -> None:
    """Trap 27: off means off."""
    async with serving(tmp_path, certificates) as rig:
        client = await rig.greeted()
        assert (await client.ask(PROXY_V1.decode().strip())).startswith("500 5.5.1")
        await client.ask("EHLO x")
    assert rig.handler.sessions[0].proxy_data is None


class Judging(RecordingHandler):
    """A handler with a say in who is announced."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self._answer = answer

    async def handle_PROXY(self, server: Any, session: Any, envelope: Any, data: Any) -> object:  # noqa: N802  # the contract's name
        """Answer after a turn of the loop, or fail."""
        await asyncio.sleep(0)
        self.proxies.append(str(data.src_addr))
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("answer", "greeted"), [(True, True), (False, False), (ValueError(), False)]
)
async def test_the_handler_has_a_say_in_proxy(
    tmp_path: Path,
    certificates: Certificates,
    answer: object,
    greeted: bool,  # noqa: FBT001  # a table's column
) -> None:
    """A false answer closes, and so does a failure; input meanwhile is not lost."""
    handler = Judging(answer)
    async with serving(
        tmp_path,
        certificates,
        handler=handler,
        listeners=(Listener(HOST, 0, proxy_networks=LOOPBACK),),
    ) as rig:
        client = await rig.connect()
        await client.send(PROXY_V1)
        assert (await client.reply()).startswith("220 ") is greeted
    assert handler.proxies == ["192.0.2.7"]
