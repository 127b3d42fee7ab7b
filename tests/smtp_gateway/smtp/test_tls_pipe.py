"""TLS in memory, record by record."""

from __future__ import annotations

import contextlib
import ssl

import pytest

from smtp_gateway.smtp.tls_pipe import TlsPipe
from smtp_gateway.utils.tls import server_context
from tests.support.gateway import Certificates


class Pair:
    """A pipe and a client at its other end."""

    def __init__(self, certificates: Certificates) -> None:
        context = server_context(certificates.chain_path, certificates.key_path)
        self.pipe = TlsPipe(context)
        trusting = ssl.create_default_context(cafile=str(certificates.ca_path))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = trusting.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shake_hands(self) -> None:
        """Until both are ready."""
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.pipe.receive(self._outgoing.read())
            if not self.pipe.ready:
                self.pipe.handshake()
            self._incoming.write(self.pipe.take())

    def sent(self, data: bytes) -> bytes:
        """One record of the client."""
        self.client.write(data)
        return self._outgoing.read()

    def bye(self) -> bytes:
        """The client's close_notify."""
        with pytest.raises(ssl.SSLWantReadError):
            self.client.unwrap()
        return self._outgoing.read()

    def arrived(self, data: bytes) -> bytes:
        """What the client decrypts of these octets."""
        self._incoming.write(data)
        return self.client.read(100_000)


@pytest.fixture
def pair(certificates: Certificates) -> Pair:
    """Both ends, after the handshake."""
    made = Pair(certificates)
    made.shake_hands()
    return made


def test_reads_all_records_that_are_there(pair: Pair) -> None:
    """More than one record size, in one answer."""
    big = b"x" * 16_384
    pair.pipe.receive(pair.sent(big) + pair.sent(b"y"))
    assert pair.pipe.read() == big + b"y"
    assert pair.pipe.read() == b""
    assert not pair.pipe.ended


def test_half_a_record_is_nothing_yet(pair: Pair) -> None:
    """Split anywhere, it is read when it is whole."""
    record = pair.sent(b"hello")
    for octet in record[:-1]:
        pair.pipe.receive(bytes([octet]))
        assert pair.pipe.read() == b""
    pair.pipe.receive(record[-1:])
    assert pair.pipe.read() == b"hello"


def test_writes_for_the_client(pair: Pair) -> None:
    """The other direction."""
    pair.pipe.write(b"220 hello\r\n")
    assert pair.arrived(pair.pipe.take()) == b"220 hello\r\n"


def test_close_notify_is_the_end(pair: Pair) -> None:
    """What came before it is still read."""
    pair.pipe.receive(pair.sent(b"QUIT\r\n") + pair.bye())
    assert pair.pipe.read() == b"QUIT\r\n"
    assert pair.pipe.ended


def test_octets_that_are_no_tls_are_the_end(pair: Pair) -> None:
    """And nothing more can be said; neither is an exception."""
    pair.pipe.receive(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert pair.pipe.read() == b""
    assert pair.pipe.ended
    pair.pipe.write(b"421 bye\r\n")
    pair.pipe.close()


def test_says_close_notify(pair: Pair) -> None:
    """The client can tell a close from an attack."""
    pair.pipe.close()
    assert pair.arrived(pair.pipe.take()) == b""


def test_a_client_without_tls_fails_the_handshake(certificates: Certificates) -> None:
    """With an error that the edge knows."""
    pipe = TlsPipe(server_context(certificates.chain_path, certificates.key_path))
    pipe.receive(b"EHLO client\r\n")
    with pytest.raises(ssl.SSLError):
        pipe.handshake()
    assert not pipe.ready
