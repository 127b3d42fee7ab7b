"""The one place where randomness enters: keys and serial numbers of self-signed certificates.

Everything else that is rendered follows from the spec and the facts. A test hands in a source
that always gives the same.
"""

from __future__ import annotations

from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
RSA_BITS = 2048  # NIST SP 800-57: enough until 2030; a leaf lives for months


class KeySource(Protocol):
    """Gives what must not be guessed."""

    def key(self, algorithm: str) -> PrivateKey:
        """A new private key; ``algorithm`` is ``ECDSA`` or ``RSA``."""
        ...

    def serial(self) -> int:
        """A new serial number (RFC 5280 4.1.2.2: positive, at most 20 octets)."""
        ...


class RandomKeys:
    """Of the operating system's generator."""

    def key(self, algorithm: str) -> PrivateKey:
        """P-256, as its handshake costs half of RSA's."""
        if algorithm == "RSA":
            return rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        return ec.generate_private_key(ec.SECP256R1())

    def serial(self) -> int:
        """159 random bits."""
        return x509.random_serial_number()
