"""Listening for IPv4 and IPv6, and clients known by the address that they have."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from smtp_gateway.utils.sockets import everywhere, listen, plain_peer, unmapped


def test_without_an_address_both_versions_are_served() -> None:
    """One socket, so one port."""
    with listen("", 0) as sock:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, sock.getsockname()[1]), timeout=5).close()


@pytest.mark.parametrize(("given", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_an_address_that_is_given_is_the_only_one(given: str, other: str) -> None:
    """The other family is refused."""
    with listen(given, 0) as sock:
        port = sock.getsockname()[1]
        socket.create_connection((given, port), timeout=5).close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((other, port), timeout=5)


def test_several_may_share_the_port_of_both_versions() -> None:
    """Processes of one gateway; a stranger may not."""
    with listen("", 0, reuse_port=True) as first:
        port = first.getsockname()[1]
        with listen("", port, reuse_port=True):
            pass
        with pytest.raises(OSError, match="in use"):
            listen("", port)


def test_a_kernel_without_ipv6_serves_ipv4() -> None:
    """Else the program would not start there."""
    assert everywhere(dual_stack=True) == "::"
    assert everywhere(dual_stack=False) == "0.0.0.0"


@pytest.mark.parametrize(
    ("address", "known_as"),
    [
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::1", "::1"),
        ("fe80::7%eth0", "fe80::7%eth0"),
        ("::nonsense", "::nonsense"),
        ("", ""),
    ],
)
def test_an_ipv4_client_is_known_by_its_ipv4_address(address: str, known_as: str) -> None:
    """However it is written; what is no such address stays as it is."""
    assert unmapped(address) == known_as


@pytest.mark.parametrize(
    ("peer", "plain"),
    [
        (("::ffff:192.0.2.7", 5000, 0, 0), ("192.0.2.7", 5000)),
        (("192.0.2.7", 5000), ("192.0.2.7", 5000)),
        (("2001:db8::7", 5000, 0, 3), ("2001:db8::7", 5000, 0, 3)),
        ("", ""),
        (None, None),
    ],
)
def test_an_ipv4_peer_looks_as_on_an_ipv4_socket(peer: Any, plain: Any) -> None:
    """Hooks compare it with what they know; a file's socket has no address."""
    assert plain_peer(peer) == plain
