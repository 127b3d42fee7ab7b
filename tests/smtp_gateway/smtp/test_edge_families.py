"""Clients of IPv4 and IPv6 at one socket: each is known by the address that it has."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from smtp_gateway.smtp.listener import Listener
from smtp_gateway.smtp.server import ServerLimits
from tests.support.edge import Rig, serving
from tests.support.gateway import Certificates

EVERY_LOOP = True  # see conftest

BOTH = Listener("", 0)
PROXY_V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 587\r\n"


async def first_words(rig: Rig, host: str, octets: bytes = b"") -> str:
    """The code of the greeting; "" when the server closes without one."""
    client = await rig.connect(host=host)
    if octets:
        client.writer.write(octets)
    return (await client.reply())[:3]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_hooks_and_log_see_the_clients_own_address(
    tmp_path: Path, certificates: Certificates, host: str
) -> None:
    """Never an IPv4 address in IPv6 clothes: rate limit and lock-out count by it."""
    async with serving(tmp_path, certificates, listeners=(BOTH,)) as rig:
        client = await rig.connect(host=host)
        assert (await client.reply()).startswith("220 ")
        await client.ask("EHLO x")
        await client.ask("QUIT")
        await rig.until(lambda: rig.server.connections == 0)
        (session,) = rig.handler.sessions
        assert session.peer[0] == host
        assert rig.log.of("session")[0]["client"] == host


async def test_connections_are_counted_by_address_in_each_family(
    tmp_path: Path, certificates: Certificates
) -> None:
    """All IPv4 clients in one IPv6 /64 would be one client."""
    async with serving(
        tmp_path,
        certificates,
        listeners=(BOTH,),
        limits=ServerLimits(connections_per_address=1),
    ) as rig:
        hosts = ("127.0.0.1", "127.0.0.1", "::1", "::1")
        assert [await first_words(rig, host) for host in hosts] == ["220", "421", "220", "421"]


@pytest.mark.parametrize(
    ("network", "host", "greeted"),
    [
        ("127.0.0.0/8", "127.0.0.1", "220"),
        ("127.0.0.0/8", "::1", ""),
        ("::1/128", "::1", "220"),
        ("::1/128", "127.0.0.1", ""),
    ],
)
async def test_balancers_are_known_by_their_own_address(
    tmp_path: Path, certificates: Certificates, network: str, host: str, greeted: str
) -> None:
    """A network of IPv4 names balancers that come by IPv4, at a socket of both."""
    listener = Listener("", 0, proxy_networks=(ip_network(network),))
    async with serving(tmp_path, certificates, listeners=(listener,)) as rig:
        assert await first_words(rig, host, PROXY_V1) == greeted
