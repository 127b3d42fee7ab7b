"""Certificates for tests of the operator: as a user brings them, with keys always the same."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from smtp_operator.resources.key_material import PrivateKey


class FixedKeys:
    """A ``KeySource`` that counts: the first key asked for is always the same, and so on."""

    def __init__(self) -> None:
        self.given = 0

    def key(self, algorithm: str) -> PrivateKey:
        """One of a row of keys."""
        self.given += 1
        return rsa_key() if algorithm == "RSA" else ec_key(self.given)

    def serial(self) -> int:
        """The number of the last key."""
        return self.given


@cache
def ec_key(number: int) -> ec.EllipticCurvePrivateKey:
    """The key whose private number this is: worthless anywhere else."""
    return ec.derive_private_key(number, ec.SECP256R1())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    """One for the whole run; making it takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem_of(key: PrivateKey) -> bytes:
    """PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def altered(pem: bytes, *changes: tuple[str, str]) -> bytes:
    """A certificate with bytes replaced, in hexadecimal, as no library would make it."""
    raw = ssl.PEM_cert_to_DER_cert(pem.decode())
    for old, new in changes:
        assert bytes.fromhex(old) in raw
        raw = raw.replace(bytes.fromhex(old), bytes.fromhex(new))
    return ssl.DER_cert_to_PEM_cert(raw).encode()


def user_pair(
    names: Sequence[str],
    now: datetime,
    *,
    days: float = 90,
    begins_in_days: float = 0,
    key: PrivateKey | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
) -> Mapping[str, bytes]:
    """Data of a ``kubernetes.io/tls`` Secret, signed by itself and ending ``days`` after now."""
    key = key or ec_key(1000)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now + timedelta(days=begins_in_days) - timedelta(days=100))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    return {"tls.crt": certificate.public_bytes(Encoding.PEM), "tls.key": pem_of(key)}
