"""Where randomness enters."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from smtp_operator.resources.key_material import RandomKeys


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
    keys = [source.key("ECDSA") for _ in range(3)]
    assert len({key.private_numbers() for key in keys}) == 3  # type: ignore[union-attr]  # of a curve
    serials = {source.serial() for _ in range(3)}
    assert len(serials) == 3
    assert all(0 < serial < 2**159 for serial in serials)
