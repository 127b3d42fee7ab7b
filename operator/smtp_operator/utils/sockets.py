"""Listening sockets: without a host one socket serves IPv4 and IPv6.

A cluster may give a pod either family, or both, and the kubelet probes the first of its addresses.
"""

from __future__ import annotations

import socket

EVERYWHERE_IPV4 = "0.0.0.0"  # noqa: S104  # what a kernel without IPv6 calls everywhere
EVERYWHERE = "::"


def everywhere(*, dual_stack: bool) -> str:
    """The address that stands for all of this machine's."""
    return EVERYWHERE if dual_stack else EVERYWHERE_IPV4


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: address to listen on; "" for all, of IPv4 and, where the kernel has it, IPv6.
        port: 0 takes a free one.

    Raises:
        OSError: the address cannot be taken.
    """
    place = host or everywhere(dual_stack=socket.has_dualstack_ipv6())
    return socket.create_server(
        (place, port),
        family=socket.AF_INET6 if ":" in place else socket.AF_INET,
        dualstack_ipv6=place == EVERYWHERE,
    )
