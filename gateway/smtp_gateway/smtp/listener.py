"""What a listening port is: address, TLS, and who may announce clients."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from smtp_gateway.smtp.effects import TlsMode
from smtp_gateway.smtp.proxy import Network
from smtp_gateway.utils.sockets import listen

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Listener:
    """One port.

    Attributes:
        host: address to listen on; "" for all, of IPv4 and IPv6.
        port: 0 takes a free one.
        tls_mode: when TLS begins.
        proxy_networks: balancers that must announce clients by PROXY protocol; empty: off.
        reuse_port: several processes share the port.
    """

    host: str
    port: int
    tls_mode: TlsMode = TlsMode.STARTTLS
    proxy_networks: tuple[Network, ...] = ()
    reuse_port: bool = False

    @property
    def name(self) -> str:
        """Its kind, for metrics and logs."""
        return "implicit" if self.tls_mode is TlsMode.IMPLICIT else "starttls"

    def bind(self) -> socket.socket:
        """Take the port.

        Raises:
            OSError: the address cannot be taken.
        """
        sock = listen(self.host, self.port, backlog=BACKLOG, reuse_port=self.reuse_port)
        # Accepted sockets inherit it; asyncio sets it only on sockets that name their protocol,
        # and without it a reply waits up to 40 ms for the client's acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
