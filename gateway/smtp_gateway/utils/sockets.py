"""Listening sockets, and the addresses of whoever connects to them.

Without a host one socket serves IPv4 and IPv6: a cluster may give a pod either family, or both. An
IPv4 client of such a socket comes as ``::ffff:192.0.2.7`` (RFC 4291 2.5.5.2); limits, lock-out and
logs must know it by the address that it has.
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address
from typing import Any

EVERYWHERE_IPV4 = "0.0.0.0"  # noqa: S104  # what a kernel without IPv6 calls everywhere
EVERYWHERE = "::"


def everywhere(*, dual_stack: bool) -> str:
    """The address that stands for all of this machine's."""
    return EVERYWHERE if dual_stack else EVERYWHERE_IPV4


def listen(
    host: str, port: int, *, backlog: int | None = None, reuse_port: bool = False
) -> socket.socket:
    """Take a port.

    Args:
        host: address to listen on; "" for all, of IPv4 and, where the kernel has it, IPv6.
        port: 0 takes a free one.
        backlog: connections that may wait; None is the system's.
        reuse_port: several processes share the port.

    Raises:
        OSError: the address cannot be taken.
    """
    place = host or everywhere(dual_stack=socket.has_dualstack_ipv6())
    return socket.create_server(
        (place, port),
        family=socket.AF_INET6 if ":" in place else socket.AF_INET,
        backlog=backlog,
        reuse_port=reuse_port,
        dualstack_ipv6=place == EVERYWHERE,
    )


def unmapped(address: str) -> str:
    """The IPv4 address that an IPv6 one holds; what holds none stays as it is."""
    if not address.startswith("::"):
        return address
    try:
        mapped = IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return address if mapped is None else str(mapped)


def plain_peer(peer: Any) -> Any:
    """A socket's peer, an IPv4 client as an IPv4 socket names it; other forms stay."""
    if not isinstance(peer, tuple) or not peer:
        return peer
    address = unmapped(str(peer[0]))
    return peer if address == peer[0] else (address, *peer[1:2])
