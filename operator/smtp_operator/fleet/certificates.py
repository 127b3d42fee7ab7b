"""What stands in a TLS Secret: dates, names, whether the key fits; and when a new one is due."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Facts, Gateway

CHAIN, KEY, CA = "tls.crt", "tls.key", "ca.crt"
_ALGORITHMS: dict[type, str] = {ec.EllipticCurvePublicKey: "ECDSA", rsa.RSAPublicKey: "RSA"}
# What the library says of a certificate in PEM form that it cannot take, most of it only when the
# part is asked for; and what is said of it then.
_FAULTS: dict[type[Exception], str] = {
    UnsupportedAlgorithm: "has a key of a kind or curve that is not supported",
    x509.InvalidVersion: "has a version that X.509 does not know",
    x509.DuplicateExtension: "has an extension twice",  # RFC 5280 4.2
    ValueError: "is damaged",
}


class CertificateUnreadable(Exception):
    """It cannot serve; the text says why and holds nothing of the Secret."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The first certificate of a chain, as far as decisions need it."""

    not_before: datetime
    not_after: datetime
    issuer: str
    dns_names: tuple[str, ...]
    algorithm: str
    parsed: x509.Certificate

    def renew_at(self, before_days: int) -> datetime:
        """When its successor is due."""
        return self.not_after - timedelta(days=before_days)

    def missing(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Of the names wanted, those that it does not cover (RFC 9525 6.3: one label)."""
        return tuple(name for name in wanted if not self._covers(name))

    def _covers(self, name: str) -> bool:
        _, _, parent = name.partition(".")
        present = {item.lower() for item in self.dns_names}
        return name.lower() in present or (bool(parent) and f"*.{parent.lower()}" in present)


def read(data: Mapping[str, bytes]) -> Certificate:
    """The pair of a ``kubernetes.io/tls`` Secret.

    Raises:
        CertificateUnreadable: not PEM, of a kind that nobody supports, damaged, an encrypted key,
            or a key of another certificate.
    """
    try:
        found = _first(data[CHAIN])
    except tuple(_FAULTS) as error:
        fault = next(text for kind, text in _FAULTS.items() if isinstance(error, kind))
        raise CertificateUnreadable(f"the certificate in {CHAIN} {fault}") from None
    if _public_key(data[KEY]) != found.parsed.public_key():
        raise CertificateUnreadable(f"{KEY} does not belong to the certificate in {CHAIN}")
    return found


def _first(chain: bytes) -> Certificate:
    leaf = _parsed(chain)
    return Certificate(
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        issuer=leaf.issuer.rfc4514_string(),
        dns_names=_dns_names(leaf),
        algorithm=_algorithm(leaf.public_key()),
        parsed=leaf,
    )


def _algorithm(key: object) -> str:
    return next((name for kind, name in _ALGORITHMS.items() if isinstance(key, kind)), "")


def _parsed(chain: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise CertificateUnreadable(f"{CHAIN} holds no certificate in PEM form") from None


def _public_key(pem: bytes) -> object:
    try:
        # Whether an RSA key is sound costs 50 ms to say; that it fits the certificate is enough.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        return key.public_key()
    except TypeError:
        raise CertificateUnreadable(f"{KEY} is encrypted; store it without a passphrase") from None
    except UnsupportedAlgorithm:
        raise CertificateUnreadable(f"{KEY} is of a kind or curve that is not supported") from None
    except ValueError:
        raise CertificateUnreadable(f"{KEY} holds no private key in PEM form") from None


def _dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.UnsupportedGeneralNameType, ValueError):
        return ()
    return tuple(extension.value.get_values_for_type(x509.DNSName))


def wanted_names(gateway: Gateway) -> tuple[str, ...]:
    """Names that a self-signed certificate is made for."""
    return gateway.spec.tls.dns_names or names.service_names(gateway.key)


def pair(facts: Facts, secret: str) -> Mapping[str, bytes] | None:
    """The data of a Secret if certificate and key are both in it."""
    data = facts.secrets.get(secret)
    return data if data is not None and data.get(CHAIN) and data.get(KEY) else None


def authority(gateway: Gateway, facts: Facts) -> Certificate | None:
    """Our own certification authority, None when it is lost or has ended."""
    data = pair(facts, names.ca(gateway.key))
    if data is None:
        return None
    try:
        found = read(data)
    except CertificateUnreadable:
        return None
    return found if facts.now < found.not_after else None


def signer(gateway: Gateway, facts: Facts) -> Certificate | None:
    """The authority if it outlives a leaf made now: a chain is as good as its shortest life.

    Asked only when a leaf is due: what was signed before does not outlive its authority.
    """
    found = authority(gateway, facts)
    ends = facts.now + timedelta(days=gateway.spec.tls.validity_days)
    return found if found is not None and ends <= found.not_after else None


def issue_due(gateway: Gateway, facts: Facts) -> bool:
    """Whether a new self-signed leaf has to be made now."""
    if gateway.spec.tls.self_signed is None:
        return False
    data = pair(facts, names.tls(gateway.key))
    issuer = authority(gateway, facts)
    if data is None or issuer is None:
        return True
    try:
        leaf = read(data)
        leaf.parsed.verify_directly_issued_by(issuer.parsed)
    except (CertificateUnreadable, InvalidSignature, ValueError, TypeError):
        return True
    return _outdated(leaf, gateway, facts.now)


def _outdated(leaf: Certificate, gateway: Gateway, now: datetime) -> bool:
    tls = gateway.spec.tls
    return (
        now >= leaf.renew_at(tls.renew_before_days)
        or now < leaf.not_before
        or leaf.algorithm != tls.key_algorithm
        or set(leaf.dns_names) != set(wanted_names(gateway))
    )
