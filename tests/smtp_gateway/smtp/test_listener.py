"""What a port is."""

from __future__ import annotations

import socket

import pytest

from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.listener import Listener


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        (TlsMode.STARTTLS, "starttls"),
        (TlsMode.OPTIONAL, "starttls"),
        (TlsMode.IMPLICIT, "implicit"),
    ],
)
def test_its_name_is_a_label_value(mode: TlsMode, name: str) -> None:
    """Metrics know two kinds."""
    assert Listener("", 0, mode).name == name


def test_a_port_is_shared_only_when_told() -> None:
    """Several processes of one gateway may share; a stranger may not."""
    with Listener("127.0.0.1", 0, reuse_port=True).bind() as first:
        port = first.getsockname()[1]
        with Listener("127.0.0.1", port, reuse_port=True).bind():
            pass
        with pytest.raises(OSError, match="in use"):
            Listener("127.0.0.1", port).bind()


def test_without_an_address_both_versions_are_served() -> None:
    """A client of either family finds the port, in a backlog that a burst does not fill."""
    with Listener("", 0).bind() as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_that_is_given_is_the_only_one() -> None:
    """0.0.0.0 is IPv4 alone, as it says."""
    with Listener("0.0.0.0", 0).bind() as sock:
        port = sock.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("::1", port), timeout=5)


def test_the_unspecified_address_of_version_6_serves_both_versions() -> None:
    """One listener for every client."""
    with Listener("::", 0).bind() as sock:
        assert sock.family is socket.AF_INET6
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 0
