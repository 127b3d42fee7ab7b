"""What a TLS Secret says, and when a self-signed one is due."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ObjectIdentifier

from smtp_operator.fleet import certificates
from smtp_operator.fleet.certificates import CertificateUnreadable, issue_due, read
from tests.support.certificates import altered, ec_key, pem_of, rsa_key, user_pair
from tests.support.fleets import NOW, a_gateway, issued_secrets, some_facts


def test_dates_and_names_are_read() -> None:
    """Of the first certificate of the chain."""
    found = read(user_pair(["smtp.example.com"], NOW, days=30))
    assert found.not_after == NOW + timedelta(days=30)
    assert found.dns_names == ("smtp.example.com",)
    assert found.issuer == "CN=tests"
    assert found.algorithm == "ECDSA"
    assert found.renew_at(10) == NOW + timedelta(days=20)


def test_an_rsa_pair_is_read() -> None:
    """Its key is known by its algorithm."""
    assert read(user_pair(["a.example"], NOW, key=rsa_key())).algorithm == "RSA"


def encrypted() -> bytes:
    """A key with a passphrase."""
    seal = BestAvailableEncryption(b"secret")
    return ec_key(1000).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, seal)


EXTENSIONS = [  # that mean nothing
    x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.{number}"), b"\x05\x00")
    for number in (4, 5)
]
PAIR = user_pair(["a.example"], NOW, extensions=EXTENSIONS)
# In DER, and what becomes of it; RFC 5480 2.1.1.1 has the curves.
VERSION_3 = ("a003020102", "a003020105")
P256 = ("06082a8648ce3d030107", "06082a8648ce3d030103")  # secp256r1, a curve that nobody uses
TWO_EXTENSIONS = ("06032a0305", "06032a0304")
ISSUER = ("0c057465737473", "0c05746573ff73")  # not UTF-8
ALTERNATIVE = ("820961", "a30961")  # an X.400 address


def spoilt(*changes: tuple[str, str]) -> Mapping[str, bytes]:
    """The pair with other bytes in its certificate."""
    return {**PAIR, "tls.crt": altered(PAIR["tls.crt"], *changes)}


def odd_key() -> bytes:
    """On a curve that is not supported."""
    begin, end = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
    raw = ec_key(1000).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    raw = raw.replace(bytes.fromhex(P256[0]), bytes.fromhex(P256[1]))
    return begin + base64.encodebytes(raw) + end


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({**PAIR, "tls.crt": b"nothing"}, "tls.crt holds no certificate in PEM form"),
        ({**PAIR, "tls.key": b"nothing"}, "tls.key holds no private key in PEM form"),
        (
            {**PAIR, "tls.key": encrypted()},
            "tls.key is encrypted; store it without a passphrase",
        ),
        (
            {**PAIR, "tls.key": pem_of(ec_key(5))},
            "tls.key does not belong to the certificate in tls.crt",
        ),
        (
            spoilt(P256),
            "the certificate in tls.crt has a key of a kind or curve that is not supported",
        ),
        (spoilt(VERSION_3), "the certificate in tls.crt has a version that X.509 does not know"),
        (spoilt(TWO_EXTENSIONS), "the certificate in tls.crt has an extension twice"),
        (spoilt(ISSUER), "the certificate in tls.crt is damaged"),
        ({**PAIR, "tls.key": odd_key()}, "tls.key is of a kind or curve that is not supported"),
    ],
)
def test_a_pair_that_cannot_serve_is_told(data: Mapping[str, bytes], sentence: str) -> None:
    """By a sentence that holds nothing of the Secret."""
    with pytest.raises(CertificateUnreadable) as error:
        read(data)
    assert str(error.value) == sentence


def test_alternative_names_that_cannot_be_read_are_none() -> None:
    """Whoever asks for none is served all the same."""
    assert read(spoilt(ALTERNATIVE)).dns_names == ()


@pytest.mark.parametrize(
    ("present", "wanted", "missing"),
    [
        (["smtp.example.com"], ["smtp.example.com"], ()),
        (["SMTP.example.com"], ["smtp.Example.com"], ()),
        (["*.example.com"], ["smtp.example.com"], ()),
        (["*.example.com"], ["*.example.com"], ()),
        (["*.example.com"], ["a.b.example.com"], ("a.b.example.com",)),
        (["*.example.com"], ["example.com"], ("example.com",)),
        (["other.example.com"], ["a.example", "b.example"], ("a.example", "b.example")),
    ],
)
def test_a_wildcard_covers_one_label(
    present: list[str], wanted: list[str], missing: tuple[str, ...]
) -> None:
    """RFC 9525 6.3; letter case does not count."""
    assert read(user_pair(present, NOW)).missing(wanted) == missing


def test_a_fresh_self_signed_certificate_is_not_due() -> None:
    """It has 90 days."""
    gateway = a_gateway()
    assert not issue_due(gateway, some_facts(secrets=issued_secrets(gateway, some_facts())))


def after(days: float, **changed: Any) -> bool:
    """Whether one is due so many days after it was made, the spec having changed meanwhile."""
    secrets = issued_secrets(a_gateway(), some_facts())
    facts = some_facts(secrets=secrets, now=NOW + timedelta(days=days))
    return issue_due(a_gateway(**changed), facts)


def test_it_is_due_thirty_days_before_its_end() -> None:
    """Not a day earlier."""
    assert not after(59)
    assert after(60)


@pytest.mark.parametrize(
    "tls",
    [
        {"selfSigned": {}, "dnsNames": ["smtp.example.com"]},
        {"selfSigned": {}, "keyAlgorithm": "RSA"},
        {"selfSigned": {}, "renewBeforeDays": 89},
    ],
)
def test_it_is_due_when_the_spec_wants_another(tls: dict[str, Any]) -> None:
    """Names, algorithm, earlier renewal."""
    assert after(2, tls=tls)


@pytest.mark.parametrize("lost", ["mail-tls", "mail-ca"])
def test_it_is_due_when_a_secret_is_lost(lost: str) -> None:
    """Deleted by hand, or damaged."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    assert issue_due(gateway, some_facts(secrets={**secrets, lost: None}))
    damaged = {**secrets[lost], "tls.crt": b"damaged"}
    assert issue_due(gateway, some_facts(secrets={**secrets, lost: damaged}))


def test_it_is_due_when_another_authority_signed_it() -> None:
    """A leaf that our own CA does not vouch for is nobody's."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    foreign = user_pair(certificates.wanted_names(gateway), NOW)
    assert issue_due(gateway, some_facts(secrets={**secrets, "mail-tls": foreign}))


def test_an_authority_that_ends_before_the_next_leaf_does_not_sign_it() -> None:
    """A chain is as good as its shortest life."""
    gateway = a_gateway()
    facts = some_facts(secrets=issued_secrets(gateway, some_facts()))
    last = replace(facts, now=NOW + timedelta(days=7300 - 90))
    assert certificates.signer(gateway, last) is not None
    assert certificates.signer(gateway, replace(facts, now=NOW + timedelta(days=7211))) is None


def test_it_is_due_when_the_authority_has_ended() -> None:
    """Clients refuse the chain."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    ended = some_facts(secrets=secrets, now=NOW + timedelta(days=7300))
    assert certificates.authority(gateway, ended) is None
    assert issue_due(gateway, ended)


def test_a_certificate_of_somebody_else_is_never_due() -> None:
    """Users and cert-manager renew theirs."""
    assert not issue_due(a_gateway(tls={"secretName": "bought"}), some_facts())
