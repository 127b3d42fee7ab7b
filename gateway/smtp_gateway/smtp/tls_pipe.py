"""One connection's TLS as bytes in, bytes out: two memory BIOs driven by the edge.

asyncio's own TLS layer keeps 256 KiB for each connection and may hand over decrypted bytes before
its upgrade has returned (smtp-server 2.5). Here STARTTLS and implicit TLS are the same code, and
nothing is read that the edge did not ask for.
"""

from __future__ import annotations

import ssl

from smtp_gateway.smtp.effects import TlsInfo

RECORD_BYTES = 16_384  # one TLS record, RFC 8446 5.1; larger reads allocate their size every time


class TlsPipe:
    """The server's end of one TLS connection.

    Attributes:
        ready: the handshake has ended well.
        ended: the client will send no more, or what it sends cannot be read.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.ready = False
        self.ended = False

    def receive(self, octets: bytes | memoryview) -> None:
        """Take what came from the socket."""
        self._incoming.write(octets)

    def handshake(self) -> TlsInfo | None:
        """Go on with the handshake; None while more octets are needed.

        Raises:
            ssl.SSLError: it failed; ``take`` has the alert for the client.
        """
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return None
        self.ready = True
        cipher = self._tls.cipher()
        return TlsInfo(
            version=self._tls.version() or "",
            cipher=cipher[0] if cipher else "",
            resumed=bool(self._tls.session_reused),
        )

    def read(self) -> bytes:
        """All that can be decrypted now; b"" for nothing. Sets ``ended`` at the end."""
        pieces = []
        while not self.ended:
            try:
                piece = self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                # close_notify, or octets that are no TLS: for the session both are the end.
                self.ended = True
                break
            if not piece:
                self.ended = True
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Encrypt; ``take`` has the result. After octets that were no TLS nothing can be said."""
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.ended = True

    def close(self) -> None:
        """Say close_notify (RFC 8446 6.1); ``take`` has it. The client's own is not waited for."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            self.ended = True  # the client has not said its own, or is past saying anything

    def take(self) -> bytes:
        """What has to go to the socket."""
        return self._outgoing.read()
