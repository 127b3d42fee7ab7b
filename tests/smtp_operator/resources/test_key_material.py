"""Where randomness enters."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smtp_operator.resources.key_material import RandomKeys
from tests.support.certificates import pem_of


def test_keys_are_of_the_algorithm_asked_for() -> None:
    """P-256, or RSA of 2048 bits."""
    elliptic, classic = RandomKeys().key("ECDSA"), RandomKeys().key("RSA")
    assert isinstance(elliptic, ec.EllipticCurvePrivateKey)
    assert elliptic.curve.name == "secp256r1"
    assert isinstance(classic, rsa.RSAPrivateKey)
    assert classic.key_size == 2048


def test_no_two_are_alike() -> None:
    """Keys and serial numbers."""
    source = RandomKeys()
    publics = {pem_of(source.key("ECDSA")) for _ in range(3)}
    assert len(publics) == 3
    serials = {source.serial() for _ in range(3)}
    assert len(serials) == 3
    assert all(0 < serial < 2**159 for serial in serials)
