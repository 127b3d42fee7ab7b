"""A raw SMTP client over real sockets: it decides where writes, TLS records and segments end.

Every reply is checked for its form as it is read, so each test that talks to the gateway also
proves that no reply is split, folded, too long or without the space after its code.
"""

from __future__ import annotations

import base64
import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

PATIENCE_SECONDS = 25.0
MAX_REPLY_OCTETS = 512  # RFC 5321 4.5.3.1.5
_LINE = re.compile(rb"\d{3}[ -][ -~]*\r\n")


class Closed(Exception):
    """The gateway has closed the connection."""


def eventually(condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Return once ``condition`` holds; for facts of another process that can only be asked for.

    Raises:
        TimeoutError: it did not come true.
    """
    limit = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > limit:
            raise TimeoutError(what)
        time.sleep(0.02)  # between two questions


def stuffed(content: bytes) -> bytes:
    """The content with its transparency dots and the end of data (RFC 5321 4.5.2)."""
    whole = content if content.endswith(b"\r\n") else content + b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", whole) + b".\r\n"


def plain(username: str, password: str, authorisation: str = "") -> str:
    """The initial response of AUTH PLAIN (RFC 4616)."""
    return b64(f"{authorisation}\0{username}\0{password}")


def b64(text: str) -> str:
    """Text as SMTP sends it in an AUTH exchange."""
    return base64.b64encode(text.encode()).decode()


class Wire:
    """One connection.

    Args:
        port: of the gateway, on loopback.
        context: whom the client trusts.
        implicit: TLS from the first octet.
        announced: a client address to announce by the PROXY protocol before anything else.
    """

    def __init__(
        self, port: int, context: ssl.SSLContext, *, implicit: bool = False, announced: str = ""
    ) -> None:
        self._context = context
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._buffer = b""
        self._ended = False
        if announced:
            self._socket.sendall(f"PROXY TCP4 {announced} 127.0.0.1 40000 {port}\r\n".encode())
        if implicit:
            self.begin_tls()

    # -- life

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Go without a word, as many clients do; again is harmless."""
        self._socket.close()

    def reset(self) -> None:
        """Vanish: the gateway sees a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def fileno(self) -> int:
        """For ``select``."""
        return self._socket.fileno()

    # -- TLS

    def begin_tls(self) -> None:
        """Shake hands now."""
        tls = self._context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            else:
                break
        self._tls = tls
        self._flush()

    @property
    def certificate(self) -> bytes:
        """The gateway's, as it was shown to this connection; DER."""
        assert self._tls is not None
        shown = self._tls.getpeercert(binary_form=True)
        assert shown is not None
        return shown

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._socket.sendall(self._outgoing.read())

    def _fill(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise Closed
        self._incoming.write(data)

    # -- octets out

    def send(self, data: bytes, *, record: int = 0, segment: int = 0) -> None:
        """Send exactly these octets.

        Args:
            data: in clear.
            record: octets per write, which is a TLS record of its own where TLS is on; 0: all.
            segment: octets of ciphertext per write to the socket; 0: all.
        """
        for piece in _pieces(data, record):
            if self._tls is None:
                self._socket.sendall(piece)
                continue
            self._tls.write(piece)
            for part in _pieces(self._outgoing.read(), segment):
                self._socket.sendall(part)

    # -- replies in

    def reply(self) -> str:
        """The next reply, its lines joined by LF, without CRLF.

        Raises:
            Closed: there is none, the gateway has closed.
        """
        lines: list[str] = []
        while True:
            line = self._line()
            assert _LINE.fullmatch(line), line
            assert len(line) <= MAX_REPLY_OCTETS, line
            text = line[:-2].decode("ascii")
            lines.append(text)
            if text[3] == " ":
                assert {each[:3] for each in lines} == {text[:3]}, lines
                assert text.startswith("250") or len(lines) == 1, lines  # EHLO alone has several
                return "\n".join(lines)

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._read()
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def _read(self) -> None:
        if self._ended:
            raise Closed
        data = self._socket.recv(65_536) if self._tls is None else self._decrypt(self._tls)
        if not data:
            self._ended = True
            assert not self._buffer, self._buffer  # no half line before the end
            raise Closed
        self._buffer += data

    def _decrypt(self, tls: ssl.SSLObject) -> bytes:
        while True:
            try:
                return tls.read(65_536)
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
            except ssl.SSLZeroReturnError:
                return b""

    def replies(self) -> list[str]:
        """All replies until the gateway closes."""
        said: list[str] = []
        while True:
            try:
                said.append(self.reply())
            except (Closed, ConnectionResetError):
                return said

    def is_silent(self, seconds: float = 0.0) -> bool:
        """Whether no reply comes within that time."""
        if self._buffer:
            return False
        readable, _, _ = select.select([self._socket], [], [], seconds)
        if not readable:
            return True
        try:
            self._read_some()
        except Closed:
            return False
        return not self._buffer

    def _read_some(self) -> None:
        """Take what has arrived; a session ticket of TLS brings no octet of the session."""
        if self._tls is None:
            self._read()
            return
        self._fill()
        try:
            self._buffer += self._tls.read(65_536)
        except ssl.SSLWantReadError:
            return

    def closes(self) -> bool:
        """Whether the gateway closes without another reply."""
        return self.replies() == []

    # -- dialogue

    def say(self, line: str) -> str:
        """One command, one reply."""
        self.send(line.encode() + b"\r\n")
        return self.reply()

    def all_say(self, lines: Iterable[str]) -> list[str]:
        """A group of commands in one write, and their replies (RFC 2920)."""
        sent = list(lines)
        self.send("".join(f"{line}\r\n" for line in sent).encode())
        return [self.reply() for _ in sent]

    def secure(self) -> Self:
        """Greeting, EHLO, and TLS if it is not there yet."""
        assert self.reply().startswith("220 ")
        if self._tls is None:
            assert "STARTTLS" in self.say("EHLO client.example")
            assert self.say("STARTTLS").startswith("220 ")
            self.begin_tls()
        assert "250-AUTH PLAIN LOGIN" in self.say("EHLO client.example")
        return self

    def log_in(self, username: str, password: str) -> Self:
        """As ``secure``, and a login that has to succeed."""
        self.secure()
        said = self.say(f"AUTH PLAIN {plain(username, password)}")
        assert said == "235 2.7.0 Authentication successful", said
        return self

    def begin(self, sender: str, recipients: Sequence[str]) -> None:
        """MAIL, RCPT and DATA, which all have to be taken."""
        self._expect_ok([f"MAIL FROM:<{sender}>"], recipients)

    def go_on(self, recipients: Sequence[str], content: bytes) -> str:
        """The rest of a transaction whose MAIL was taken; the reply to its end."""
        self._expect_ok([], recipients)
        self.send(stuffed(content))
        return self.reply()

    def _expect_ok(self, lines: list[str], recipients: Sequence[str]) -> None:
        said = self.all_say([*lines, *(f"RCPT TO:<{each}>" for each in recipients)])
        assert said == ["250 OK"] * len(said), said
        said = [self.say("DATA")]
        assert said[0].startswith("354 "), said

    def mail(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """A whole transaction; the reply to its end."""
        self.begin(sender, recipients)
        self.send(stuffed(content))
        return self.reply()

    def mail_when_taken(self, sender: str, recipients: Sequence[str], content: bytes) -> str:
        """As ``mail``, asking at MAIL until a pause of the account or the host has passed."""

        def taken() -> bool:
            said = self.say(f"MAIL FROM:<{sender}>")
            assert said[:9] in {"250 OK", "451 4.7.1", "451 4.3.2"}, said
            return said == "250 OK"

        eventually(taken, "MAIL was never taken")
        return self.go_on(recipients, content)


def _pieces(data: bytes, size: int) -> Iterable[bytes]:
    if size <= 0 or size >= len(data):
        return (data,)
    return (data[at : at + size] for at in range(0, len(data), size))
