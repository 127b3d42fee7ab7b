"""Listening for IPv4 and IPv6."""

from __future__ import annotations

import socket

import pytest

from smtp_operator.utils.sockets import everywhere, listen


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


def test_a_kernel_without_ipv6_serves_ipv4() -> None:
    """Else the program would not start there."""
    assert everywhere(dual_stack=True) == "::"
    assert everywhere(dual_stack=False) == "0.0.0.0"
