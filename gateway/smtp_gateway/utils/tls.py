"""A server's TLS: the context, and a certificate that may change while connections live.

A mounted Kubernetes Secret is replaced by moving the symlink ``..data``; a watch on the files is
lost in that moment, therefore the directory is asked every few seconds. A new pair is tried in a
handshake of its own before anything serves it; a pair that fails leaves the old one in place.
Connections hold the context they began with, so no reload ends one.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from smtp_gateway.utils.clock import Clock

POLL_SECONDS = 10.0

# RFC 9325 4.2: ephemeral keys and authenticated encryption only. TLS 1.3 has no other suites.
TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL: time is judged by our clock

_PEM = re.compile(
    r"-----BEGIN CERTIFICATE-----\s.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17  # DER tags, X.690 8.1.2


class CertificateUnusable(Exception):
    """The pair cannot serve. The text is for operators: it names files, never their content."""


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """A pair that can serve.

    Attributes:
        context: for new connections.
        not_before: begin of the certificate's life, seconds since 1970.
        not_after: end of its life, seconds since 1970.
    """

    context: ssl.SSLContext
    not_before: float
    not_after: float


def load_certificate(
    certificate: Path, key: Path, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ServerCertificate:
    """Build a context from PEM files and prove it in a handshake in memory.

    Raises:
        CertificateUnusable: a file is missing or no PEM, the key is encrypted or belongs to another
            certificate, or the chain does not hold together.
    """
    try:
        pem = certificate.read_text("ascii")
        key.read_bytes()
    except (OSError, UnicodeDecodeError) as error:
        raise CertificateUnusable(_cannot_read(error, certificate, key)) from error
    chain = _PEM.findall(pem)
    if not chain:
        raise CertificateUnusable(f"{certificate} holds no certificate in PEM form")
    context = server_context(certificate, key, minimum)
    not_before, not_after = _validity(ssl.PEM_cert_to_DER_cert(chain[0]))
    _try(context, anchor=chain[-1], path=certificate)
    return ServerCertificate(context, not_before, not_after)


def _cannot_read(error: Exception, certificate: Path, key: Path) -> str:
    if isinstance(error, OSError):
        return f"cannot read {error.filename or f'{certificate} and {key}'}: {error.strerror}"
    return f"{certificate} is no PEM file"


def server_context(
    certificate: Path, key: Path, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    """The TLS rules of a server, with this pair.

    Raises:
        CertificateUnusable: the files do not hold a certificate and its unencrypted key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = max(minimum, ssl.TLSVersion.TLSv1_2)  # RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 1  # two are the default; each costs the handshake a signature's share
    context.set_ciphers(TLS12_CIPHERS)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_encrypted)
    except ssl.SSLError as error:
        raise CertificateUnusable(
            f"{certificate} and {key} are no pair: {error.reason or 'not readable'}"
        ) from error
    except OSError as error:
        raise CertificateUnusable(_cannot_read(error, certificate, key)) from error
    return context


def _refuse_encrypted() -> str:
    # Without this, OpenSSL would ask at the terminal and the start would hang.
    raise CertificateUnusable("the private key is encrypted")


def _try(context: ssl.SSLContext, *, anchor: str, path: Path) -> None:
    """Shake hands in memory with a client that trusts the chain's last certificate."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(cadata=anchor)
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = trusting.wrap_bio(to_client, to_server)
    try:
        # Three flights each way are more than any version of TLS needs.
        finished = any(_step(client) & _step(server) for _ in range(6))
    except ssl.SSLError as error:
        raise CertificateUnusable(f"the chain in {path} does not verify: {error}") from error
    if not finished:
        raise CertificateUnusable(f"the pair of {path} does not complete a handshake")


def _step(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _validity(certificate: bytes) -> tuple[float, float]:
    """Begin and end of a certificate's life (RFC 5280 4.1), read from its DER form.

    Python's ``ssl`` reads these fields of a peer only, never of its own certificate.
    """
    body = _enter(_enter(certificate, 0), 0) if certificate else b""
    try:
        at = _skip(body, 0) if body[0] == _VERSION else 0
        for _ in range(3):  # serial number, signature algorithm, issuer
            at = _skip(body, at)
        validity = _enter(body, at)
        return _time(validity, 0), _time(validity, _skip(validity, 0))
    except (IndexError, ValueError) as error:
        raise CertificateUnusable("the certificate's validity cannot be read") from error


def _bounds(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element at ``at`` begins and ends (X.690 8.1.3)."""
    first = der[at + 1]
    if first < 0x80:  # noqa: PLR2004  # short form of a length
        return at + 2, at + 2 + first
    begin = at + 2 + (first & 0x7F)
    return begin, begin + int.from_bytes(der[at + 2 : begin], "big")


def _enter(der: bytes, at: int) -> bytes:
    if der[at] != _SEQUENCE:
        raise CertificateUnusable("the certificate's structure cannot be read")
    begin, end = _bounds(der, at)
    return der[begin:end]


def _skip(der: bytes, at: int) -> int:
    return _bounds(der, at)[1]


def _time(der: bytes, at: int) -> float:
    begin, end = _bounds(der, at)
    text = der[begin:end].decode("ascii")
    if der[at] == _UTC_TIME:  # RFC 5280 4.1.2.5.1: two digits, 50 and above are of the 1900s
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


class CertificateStore:
    """The certificate that new connections get, and its reload.

    Args:
        certificate: chain, PEM, the server's own certificate first.
        key: private key, PEM, not encrypted.
        clock: tells whether the certificate has expired.
        on_loaded: called with each certificate that is put in place.
        on_refused: called with a reason, once for each content that cannot serve.
        minimum: least version of TLS.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        *,
        clock: Clock,
        on_loaded: Callable[[ServerCertificate], None],
        on_refused: Callable[[str], None],
        minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    ) -> None:
        self._minimum = minimum
        self._certificate = certificate
        self._key = key
        self._clock = clock
        self._on_loaded = on_loaded
        self._on_refused = on_refused
        self._seen: tuple[str, str] | None = None  # generation and digest last looked at
        self.current: ServerCertificate | None = None

    @property
    def usable(self) -> bool:
        """Whether a certificate is in place and not expired."""
        return self.current is not None and self._clock.wall() < self.current.not_after

    @property
    def context(self) -> ssl.SSLContext | None:
        """For a connection that begins now; an expired certificate is still served."""
        return self.current.context if self.current is not None else None

    def load(self) -> ServerCertificate:
        """The first load.

        Raises:
            CertificateUnusable: there is no pair that can serve, with the reason.
        """
        self._seen = self._look()
        self.current = self._checked()
        self._on_loaded(self.current)
        return self.current

    def poll(self) -> bool:
        """Look for a new pair; true when one was put in place. Never raises for a bad one."""
        generation = _generation(self._certificate)
        if self._seen is not None and generation and generation == self._seen[0]:
            return False
        found = self._look()
        if found == self._seen:
            return False
        unchanged = self._seen is not None and found[1] == self._seen[1]
        self._seen = found
        return not unchanged and self._replace()

    async def watch(self, interval_seconds: float = POLL_SECONDS) -> None:
        """Poll for ever; the owner cancels it."""
        while True:
            await asyncio.sleep(interval_seconds)
            self.poll()

    def _replace(self) -> bool:
        try:
            self.current = self._checked()
        except CertificateUnusable as error:
            self._on_refused(str(error))
            return False
        self._on_loaded(self.current)
        return True

    def _checked(self) -> ServerCertificate:
        pair = self._pinned(self._certificate), self._pinned(self._key)
        loaded = load_certificate(*pair, self._minimum)
        if loaded.not_after <= self._clock.wall():
            raise CertificateUnusable(f"the certificate in {self._certificate} has expired")
        return loaded

    def _look(self) -> tuple[str, str]:
        """The generation of the mount, and a digest of what both files hold."""
        digest = hashlib.sha256()
        for path in (self._certificate, self._key):
            try:
                content = self._pinned(path).read_bytes()
            except OSError as error:
                content = f"unreadable {error.errno}".encode()
            digest.update(len(content).to_bytes(8, "big") + content)
        return _generation(self._certificate), digest.hexdigest()

    def _pinned(self, path: Path) -> Path:
        """The file in the generation that ``..data`` names now: a swap never mixes two pairs."""
        generation = _generation(path)
        pinned = path.parent / generation / path.name
        return pinned if generation and pinned.is_file() else path


def _generation(path: Path) -> str:
    """Target of ``..data`` beside the file, as kubelet makes it; "" without one."""
    try:
        return str((path.parent / "..data").readlink())
    except OSError:
        return ""
