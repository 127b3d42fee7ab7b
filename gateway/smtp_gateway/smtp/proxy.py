"""PROXY protocol, versions 1 and 2: who the client behind a balancer is.

A header is taken only from the balancers that the listener names, and then it must be there: a mode
"if present" would let any client choose its address. Exactly the header's octets are collected
here, TLS included they follow it untouched; aiosmtpd's parser reads them.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiosmtpd.proxy_protocol import V2_CMD, V2_SIGNATURE, ProxyData, get_proxy

Network = IPv4Network | IPv6Network

V1_SIGNATURE = b"PROXY "
V1_MAX_OCTETS = 107  # PROXY protocol 2.1, CRLF included
V2_FIXED_OCTETS = 16  # PROXY protocol 2.2: signature, command, family, length
V2_MAX_REST_OCTETS = 4096


class ProxyHeaderInvalid(Exception):
    """The octets are no acceptable header. The text names the fault, never the octets."""


class ProxyHeader:
    """Collects one header from octets as they arrive.

    Attributes:
        data: the header's facts, once ``feed`` has returned true.
        rest: octets behind the header: the client's own, possibly TLS.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.data: ProxyData | None = None
        self.rest = b""

    def feed(self, octets: bytes) -> bool:
        """Add octets; true when the header is complete.

        Raises:
            ProxyHeaderInvalid: it is none, it is too long, or the parser refuses it.
        """
        self._buffer += octets
        length = _header_length(self._buffer)
        if length is None:
            return False
        self.data = _parse(bytes(self._buffer[:length]))
        self.rest = bytes(self._buffer[length:])
        self._buffer = bytearray()
        return True


def _header_length(seen: bytearray) -> int | None:
    """Length of the header that begins here; None while that is unknown."""
    if _may_begin(seen, V2_SIGNATURE):
        return _v2_length(seen)
    if _may_begin(seen, V1_SIGNATURE):
        return _v1_length(seen)
    raise ProxyHeaderInvalid("no PROXY header")


def _may_begin(seen: bytearray, signature: bytes) -> bool:
    return seen[: len(signature)] == signature[: len(seen)]


def _v1_length(seen: bytearray) -> int | None:
    end = seen.find(b"\r\n", 0, V1_MAX_OCTETS)
    if end >= 0:
        return end + 2
    if len(seen) >= V1_MAX_OCTETS:
        raise ProxyHeaderInvalid("version 1 header too long")
    return None


def _v2_length(seen: bytearray) -> int | None:
    if len(seen) < V2_FIXED_OCTETS:
        return None
    rest = int.from_bytes(seen[14:16], "big")
    if rest > V2_MAX_REST_OCTETS:
        raise ProxyHeaderInvalid("version 2 header too long")
    length = V2_FIXED_OCTETS + rest
    return length if len(seen) >= length else None


class _InMemory:
    """What the parser reads from: it never has to wait, so one step runs it to its end."""

    def __init__(self, octets: bytes) -> None:
        self._octets = io.BytesIO(octets)

    async def read(self, n: int = -1) -> bytes:
        return self._octets.read(n)

    async def readexactly(self, n: int) -> bytes:
        found = self._octets.read(n)
        if len(found) < n:
            raise asyncio.IncompleteReadError(found, n)
        return found

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        left = self._octets.getvalue()[self._octets.tell() :]
        end = left.find(separator)
        return self._octets.read(end + len(separator) if end >= 0 else -1)


def _parse(header: bytes) -> ProxyData:
    reading = get_proxy(_InMemory(header))
    try:
        reading.send(None)
    except StopIteration as finished:
        data: ProxyData = finished.value
    else:
        raise ProxyHeaderInvalid("incomplete header")
    if not data.valid:
        raise ProxyHeaderInvalid(data.error.partition(":")[0] or "malformed header")
    _keep_announced(data)
    return data


def _keep_announced(data: ProxyData) -> None:
    """Leave an address only where a client was announced.

    LOCAL is the balancer's own health check, UNKNOWN and sockets of the file system name no
    network address: the socket's peer stays (PROXY protocol 2.1, 2.2).
    """
    local = data.version == 2 and data.command == V2_CMD.LOCAL  # noqa: PLR2004  # the version
    source = data.src_addr
    if local or not isinstance(source, IPv4Address | IPv6Address):
        _change(data, src_addr=None, dst_addr=None, src_port=None, dst_port=None)
    elif isinstance(source, IPv6Address) and source.ipv4_mapped:
        _change(data, src_addr=source.ipv4_mapped)


def _change(data: ProxyData, **fields: IPv4Address | None) -> None:
    for name, value in fields.items():  # attrs' slots are not visible to the type checker
        setattr(data, name, value)


def trusted(peer: object, networks: Sequence[Network]) -> bool:
    """Whether a socket's peer is one of the balancers; a peer without an address never is."""
    address = peer_address(peer)
    return address is not None and any(address in network for network in networks)


def peer_address(peer: object) -> IPv4Address | IPv6Address | None:
    """The network address of ``get_extra_info("peername")``; IPv4 also where a v6 socket has it."""
    if not isinstance(peer, tuple) or not peer:
        return None
    try:
        address = ip_address(str(peer[0]).partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
