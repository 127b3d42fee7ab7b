"""PROXY headers: exactly the header's octets, only from named balancers."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network

import pytest
from aiosmtpd.proxy_protocol import V2_SIGNATURE

from smtp_gateway.smtp.proxy import ProxyHeader, ProxyHeaderInvalid, peer_address, trusted

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 587\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    """A version 2 header."""
    return V2_SIGNATURE + struct.pack("!BBH", 0x20 | command, family, len(body)) + body


V2_INET = v2(1, 0x11, bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 5000, 587))
V2_INET6 = v2(
    1,
    0x21,
    ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack("!HH", 1, 2),
)


@pytest.mark.parametrize("header", [V1, V2_INET])
def test_announces_the_client(header: bytes) -> None:
    """Both versions give the client's address and leave what follows untouched."""
    proxy = ProxyHeader()

    assert proxy.feed(header + b"EHLO x\r\n")

    assert proxy.data is not None
    assert str(proxy.data.src_addr) == "192.0.2.7"
    assert proxy.data.src_port == 5000
    assert proxy.rest == b"EHLO x\r\n"


def test_announces_a_version_6_address() -> None:
    """IPv6 addresses pass."""
    proxy = ProxyHeader()
    proxy.feed(V2_INET6)
    assert proxy.data is not None
    assert str(proxy.data.src_addr) == "2001:db8::7"


@pytest.mark.parametrize("header", [V1, V2_INET, V2_INET6])
def test_takes_the_header_octet_by_octet(header: bytes) -> None:
    """However the octets arrive, the header is complete at its last one and not before."""
    proxy = ProxyHeader()
    complete = [proxy.feed(header[i : i + 1]) for i in range(len(header))]
    assert complete == [False] * (len(header) - 1) + [True]
    assert proxy.rest == b""


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
        v2(0, 0x00, b""),
        v2(0, 0x11, bytes(8) + struct.pack("!HH", 1, 2)),
        v2(1, 0x31, bytes(216)),
        v2(1, 0x00, b""),
    ],
    ids=["v1", "v1-addresses", "v2-local", "v2-local-addresses", "v2-unix", "v2-unspecified"],
)
def test_keeps_the_sockets_address_where_nobody_was_announced(header: bytes) -> None:
    """LOCAL, UNKNOWN and sockets of the file system name no client."""
    proxy = ProxyHeader()
    assert proxy.feed(header)
    assert proxy.data is not None
    assert proxy.data.valid
    assert proxy.data.src_addr is None


def test_skips_unknown_tlvs() -> None:
    """What a balancer adds behind the addresses changes nothing."""
    body = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 5000, 587)
    proxy = ProxyHeader()
    assert proxy.feed(v2(1, 0x11, body + b"\xe0\x00\x02hi"))
    assert proxy.data is not None
    assert str(proxy.data.src_addr) == "192.0.2.7"


def test_reads_a_mapped_address_as_version_4() -> None:
    """One client counts as one address, whatever family the balancer speaks."""
    mapped = ip_address("::ffff:192.0.2.7").packed
    proxy = ProxyHeader()
    proxy.feed(v2(1, 0x21, mapped + mapped + struct.pack("!HH", 1, 2)))
    assert proxy.data is not None
    assert str(proxy.data.src_addr) == "192.0.2.7"


@pytest.mark.parametrize(
    "octets",
    [
        b"EHLO client\r\n",
        b"PROXYTCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        b"PROXY TCP4 1.2.3.4 ::1 1 2\r\n",
        b"PROXY TCP4 999.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 70000\r\n",
        b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4 " + b"1" * 107,
        b"\x16\x03\x01",
        V2_SIGNATURE + b"\x31\x11\x00\x0c" + bytes(12),
        V2_SIGNATURE + b"\x2f\x11\x00\x0c" + bytes(12),
        V2_SIGNATURE + b"\x21\x11\x00\x04" + bytes(4),
        V2_SIGNATURE + b"\x21\x11\x10\x01",
    ],
)
def test_refuses_what_is_no_header(octets: bytes) -> None:
    """Anything else, too long or malformed, ends the connection."""
    with pytest.raises(ProxyHeaderInvalid):
        ProxyHeader().feed(octets)


def test_refuses_at_the_first_wrong_octet() -> None:
    """Nothing is collected for a peer that does not begin as a header does."""
    proxy = ProxyHeader()
    assert not proxy.feed(b"PRO")
    with pytest.raises(ProxyHeaderInvalid):
        proxy.feed(b"B")


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("10.1.2.3", 5), True),
        (("::ffff:10.1.2.3", 5, 0, 0), True),
        (("11.1.2.3", 5), False),
        (("fe80::1%eth0", 5, 0, 2), True),
        ("/run/socket", False),
        (None, False),
        (("no address", 5), False),
    ],
)
def test_trusts_only_named_networks(peer: object, expected: bool) -> None:  # noqa: FBT001  # a table's column
    """The list names the balancers; whoever has no address is none."""
    networks = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]
    assert trusted(peer, networks) is expected


def test_reads_a_peers_address() -> None:
    """An IPv4 client of a dual-stack socket is an IPv4 client."""
    assert str(peer_address(("::ffff:192.0.2.7", 1, 0, 0))) == "192.0.2.7"
