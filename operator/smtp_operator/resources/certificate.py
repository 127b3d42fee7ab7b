"""The certificate: a Certificate for cert-manager, or Secrets with a CA and a leaf of our own.

The CA is kept when a leaf is renewed, so clients that trust it need no change. Its key stands in a
Secret of its own that no pod mounts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtp_operator.fleet import certificates, names
from smtp_operator.fleet.certificates import CA, CHAIN, KEY
from smtp_operator.fleet.model import Facts, Gateway, Object
from smtp_operator.fleet.spec import CertManager
from smtp_operator.resources.child import child
from smtp_operator.resources.key_material import RSA_BITS, KeySource, PrivateKey

# Twice the longest `validityDays`: a leaf's successor finds the authority that clients trust.
CA_LIFE = timedelta(days=2 * 3650)
SKEW = timedelta(minutes=5)  # of clients' clocks
COMMON_NAME_LENGTH = 64  # X.520; longer names stand in the extension alone
KEY_SIZES = {"ECDSA": 256, "RSA": RSA_BITS}


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: x509.Certificate
    key: PrivateKey


def cert_manager_certificate(gateway: Gateway, manager: CertManager) -> Object:
    """The wish; cert-manager writes the Secret."""
    tls = gateway.spec.tls
    return child(
        gateway,
        "cert-manager.io/v1",
        "Certificate",
        gateway.key.name,
        spec={
            "secretName": names.tls_secret(gateway),
            "dnsNames": list(tls.dns_names),
            "duration": f"{tls.validity_days * 24}h0m0s",
            "renewBefore": f"{tls.renew_before_days * 24}h0m0s",
            "privateKey": {
                "algorithm": tls.key_algorithm,
                "size": KEY_SIZES[tls.key_algorithm],
                "rotationPolicy": "Always",
            },
            "usages": ["digital signature", "server auth"],
            "issuerRef": manager.issuer_ref.model_dump(),
        },
    )


def self_signed_secrets(
    gateway: Gateway, facts: Facts, source: KeySource, *, issue: bool
) -> list[Object]:
    """CA and leaf: as they are in the cluster, or, when ``issue``, with a new leaf."""
    if not issue:
        ca, tls = (facts.secrets[of(gateway.key)] or {} for of in (names.ca, names.tls))
        return _secrets(gateway, ca, tls)
    signer = _stored_authority(gateway, facts) or _new_authority(gateway, facts.now, source)
    leaf = _new_leaf(gateway, facts.now, signer, source)
    return _secrets(gateway, _data(signer), _data(leaf))


def _secrets(gateway: Gateway, ca: Mapping[str, bytes], tls: Mapping[str, bytes]) -> list[Object]:
    """Of pairs that stand in the cluster chain and key alone: the rest is ours to say."""
    return [
        _secret(gateway, name, {CHAIN: data[CHAIN], KEY: data[KEY], CA: ca[CHAIN]})
        for name, data in ((names.ca(gateway.key), ca), (names.tls(gateway.key), tls))
    ]


def _secret(gateway: Gateway, name: str, data: Mapping[str, bytes]) -> Object:
    encoded = {key: base64.b64encode(value).decode() for key, value in sorted(data.items())}
    return child(gateway, "v1", "Secret", name, type="kubernetes.io/tls", data=encoded)


def _stored_authority(gateway: Gateway, facts: Facts) -> Pair | None:
    found = certificates.signer(gateway, facts)
    data = facts.secrets.get(names.ca(gateway.key))
    if found is None or data is None:
        return None
    key = load_pem_private_key(data[KEY], password=None)
    return Pair(found.parsed, key) if isinstance(key, PrivateKey) else None


def _new_authority(gateway: Gateway, now: datetime, source: KeySource) -> Pair:
    key = source.key("ECDSA")
    subject = _name(f"{gateway.key.name} SMTP gateway CA")
    builder = (
        _builder(subject, subject, key, now, CA_LIFE, source)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Pair(builder.sign(key, hashes.SHA256()), key)


def _new_leaf(gateway: Gateway, now: datetime, signer: Pair, source: KeySource) -> Pair:
    tls = gateway.spec.tls
    key = source.key(tls.key_algorithm)
    wanted = certificates.wanted_names(gateway)
    life = timedelta(days=tls.validity_days)
    issuer = signer.certificate.subject
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in wanted])
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    builder = (
        _builder(_name(wanted[0]), issuer, key, now, life, source)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .add_extension(authority, critical=False)
    )
    return Pair(builder.sign(signer.key, hashes.SHA256()), key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: PrivateKey,
    now: datetime,
    life: timedelta,
    source: KeySource,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(source.serial())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + life)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:COMMON_NAME_LENGTH])])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,  # TLS 1.2 with forward secrecy and 1.3 only sign
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _data(pair: Pair) -> dict[str, bytes]:
    return {CHAIN: pair.certificate.public_bytes(Encoding.PEM), KEY: _key_pem(pair.key)}


def _key_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
