"""TLSReady: a certificate is in place, valid, and covers the names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from smtp_operator.fleet.model import Ref
from smtp_operator.fleet.tls_checks import found
from tests.support.certificates import altered, ec_key, pem_of, user_pair
from tests.support.fleets import NOW, a_gateway, condition, decided, issued_secrets, some_facts

NAMES = ["smtp.example.com"]
BOUGHT = {"secretName": "bought", "dnsNames": NAMES}
MANAGED = {"certManager": {"issuerRef": {"name": "ca"}}, "dnsNames": NAMES}


def told(
    tls: Mapping[str, Any], data: Mapping[str, bytes] | None, **facts: Any
) -> tuple[str, str, str]:
    """What is said of this Secret's data."""
    gateway = a_gateway(tls=tls)
    name = "bought" if "secretName" in tls else "mail-cert-manager-tls"
    return condition(decided(gateway, some_facts(secrets={name: data}, **facts)), "TLSReady")


PAIR = user_pair(NAMES, NOW)
P256 = ("06082a8648ce3d030107", "06082a8648ce3d030103")  # in DER, and a curve that nobody uses


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (PAIR, ("True", "Issued", "the certificate is valid until 2026-05-30T12:00:00Z")),
        (
            None,
            (
                "False",
                "SecretNotFound",
                (
                    "Secret bought (named by spec.tls.secretName) does not exist; create it: "
                    "kubectl create secret tls bought --cert=FILE --key=FILE"
                ),
            ),
        ),
        (
            {"tls.crt": PAIR["tls.crt"]},
            ("False", "KeyMissing", "Secret bought has no tls.key; add it"),
        ),
        ({}, ("False", "KeyMissing", "Secret bought has no tls.crt and no tls.key; add it")),
        (
            {**PAIR, "tls.key": pem_of(ec_key(3))},
            (
                "False",
                "InvalidCertificate",
                "Secret bought: tls.key does not belong to the certificate in tls.crt",
            ),
        ),
        (
            {**PAIR, "tls.crt": altered(PAIR["tls.crt"], P256)},
            (
                "False",
                "InvalidCertificate",
                (
                    "Secret bought: the certificate in tls.crt has a key of a kind or curve that "
                    "is not supported"
                ),
            ),
        ),
        (
            user_pair(NAMES, NOW, days=-1),
            (
                "False",
                "Expired",
                "the certificate ended at 2026-02-28T12:00:00Z; clients refuse it: replace it",
            ),
        ),
        (
            user_pair(NAMES, NOW, begins_in_days=101, days=200),
            (
                "False",
                "InvalidCertificate",
                "the certificate is valid only from 2026-03-02T12:00:00Z",
            ),
        ),
        (
            user_pair(["other.example.com"], NOW),
            (
                "False",
                "NameMismatch",
                (
                    "the certificate does not cover smtp.example.com; replace it, or correct "
                    "spec.tls.dnsNames"
                ),
            ),
        ),
        (
            user_pair(NAMES, NOW, days=29),
            (
                "True",
                "ExpiringSoon",
                "the certificate is valid until 2026-03-30T12:00:00Z; replace it",
            ),
        ),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_a_user_s_secret_is_judged(
    data: Mapping[str, bytes] | None, wanted: tuple[str, str, str]
) -> None:
    """Each fault has its reason, and says what to do."""
    assert told(BOUGHT, data) == wanted


def test_names_count_only_where_they_are_stated() -> None:
    """A user's certificate without dnsNames may have any."""
    assert told({"secretName": "bought"}, PAIR)[1] == "Issued"


def test_cert_manager_is_waited_for() -> None:
    """The Secret comes, then its content."""
    assert told(MANAGED, None)[:2] == ("False", "Pending")
    assert told(MANAGED, {"tls.key": b"x"})[:2] == ("False", "Pending")
    assert told(MANAGED, PAIR)[:2] == ("True", "Issued")


def test_without_cert_manager_there_is_advice() -> None:
    """Nothing will ever write the Secret."""
    status, reason, message = told(MANAGED, None, kinds=frozenset())
    assert (status, reason) == ("False", "IssuerFailed")
    assert "install cert-manager" in message


def test_a_certificate_that_serves_is_good_also_without_cert_manager() -> None:
    """Its end is near before anybody misses who made it."""
    none: frozenset[str] = frozenset()
    assert told(MANAGED, PAIR, kinds=none)[:2] == ("True", "Issued")
    assert told(MANAGED, user_pair(NAMES, NOW, days=9), kinds=none)[:2] == ("True", "ExpiringSoon")
    assert told(MANAGED, user_pair(NAMES, NOW, days=-1), kinds=none)[:2] == (
        "False",
        "IssuerFailed",
    )


FAILED = {"type": "Issuing", "status": "False", "reason": "Failed", "message": "no such zone"}


def test_an_issuer_s_failure_is_told_in_its_words() -> None:
    """As long as nothing serves."""
    children = {Ref("Certificate", "mail"): {"status": {"conditions": [FAILED]}}}
    assert told(MANAGED, None, children=children) == (
        "False",
        "IssuerFailed",
        "cert-manager could not issue the certificate: no such zone",
    )
    assert told(MANAGED, PAIR, children=children)[:2] == ("True", "Issued")


def test_a_self_signed_certificate_is_pending_until_it_is_read_back() -> None:
    """Then issued."""
    gateway = a_gateway()
    assert condition(decided(gateway, some_facts()), "TLSReady")[:2] == ("False", "Pending")
    secrets = issued_secrets(gateway, some_facts())
    made = decided(gateway, some_facts(secrets=secrets))
    assert condition(made, "TLSReady")[:2] == ("True", "Issued")


def test_a_renewal_does_not_unready_a_certificate_that_still_serves() -> None:
    """Nor does the loss of the CA's Secret."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    later = some_facts(secrets=secrets, now=NOW + timedelta(days=70))
    assert condition(decided(gateway, later), "TLSReady")[:2] == ("True", "ExpiringSoon")
    lost = some_facts(secrets={**secrets, "mail-ca": None})
    assert condition(decided(gateway, lost), "TLSReady")[:2] == ("True", "Issued")


def test_new_names_unready_a_self_signed_certificate_until_it_covers_them() -> None:
    """Clients would refuse it under the new name."""
    secrets = issued_secrets(a_gateway(), some_facts())
    gateway = a_gateway(tls={"selfSigned": {}, "dnsNames": NAMES})
    made = decided(gateway, some_facts(secrets=secrets))
    assert condition(made, "TLSReady")[:2] == ("False", "Pending")
    assert made.issue_certificate


def test_what_cannot_be_read_is_not_found() -> None:
    """For the status's block on the certificate."""
    gateway = a_gateway(tls=BOUGHT)
    assert found(gateway, some_facts(secrets={"bought": {**PAIR, "tls.crt": b"x"}})) is None
    assert found(gateway, some_facts(secrets={"bought": PAIR})) is not None
