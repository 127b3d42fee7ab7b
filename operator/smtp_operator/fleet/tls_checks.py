"""``TLSReady``: a certificate is in place, valid, and covers the names."""

from __future__ import annotations

from collections.abc import Mapping

from smtp_operator.fleet.certificates import (
    CHAIN,
    KEY,
    Certificate,
    CertificateUnreadable,
    issue_due,
    read,
)
from smtp_operator.fleet.conditions import Condition, ConditionType, Reason, timestamp
from smtp_operator.fleet.draft import View
from smtp_operator.fleet.model import Facts, Gateway
from smtp_operator.fleet.names import tls_secret
from smtp_operator.fleet.rollouts import condition

SOUND = frozenset({Reason.ISSUED, Reason.EXPIRING_SOON})


def _tls(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.TLS_READY, reason in SOUND, reason, message)


def found(gateway: Gateway, facts: Facts) -> Certificate | None:
    """The certificate that pods mount, None when there is none that can be read."""
    data = facts.secrets.get(tls_secret(gateway))
    if not data or not data.get(CHAIN) or not data.get(KEY):
        return None
    try:
        return read(data)
    except CertificateUnreadable:
        return None


def _cert_manager_served(view: View) -> Condition | None:
    if view.gateway.spec.tls.cert_manager is None or "Certificate" in view.facts.kinds:
        return None
    if _usable(view) is not None:
        return None  # nobody renews it now: ExpiringSoon says so in time
    return _tls(
        Reason.ISSUER_FAILED,
        "the cluster serves no cert-manager.io Certificate: install cert-manager, or use "
        "spec.tls.secretName or selfSigned",
    )


def _issuer_works(view: View) -> Condition | None:
    if view.gateway.spec.tls.cert_manager is None:
        return None
    issuing = condition(view.child("Certificate") or {}, "Issuing")
    if issuing.get("status") != "False" or issuing.get("reason") != "Failed":
        return None
    if _usable(view) is not None:
        return None  # a failed renewal: ExpiringSoon says so in time
    return _tls(
        Reason.ISSUER_FAILED,
        f"cert-manager could not issue the certificate: {issuing.get('message', '')}",
    )


def _usable(view: View) -> Certificate | None:
    """The certificate that serves until its end, whoever fails to make the next."""
    certificate = found(view.gateway, view.facts)
    return certificate if certificate and certificate.not_after > view.facts.now else None


def _issued_by_us(view: View) -> Condition | None:
    """A due renewal of what still serves is no trouble; anything else waits for this pass."""
    if not issue_due(view.gateway, view.facts):
        return None
    certificate = _usable(view)
    if certificate is not None and not certificate.missing(view.gateway.spec.tls.dns_names):
        return None
    return _tls(Reason.PENDING, "waits for the operator to make a self-signed certificate")


def _secret_there(view: View) -> Condition | None:
    secret = tls_secret(view.gateway)
    if view.facts.secrets.get(secret) is not None:
        return None
    if view.gateway.spec.tls.cert_manager is not None:
        return _tls(
            Reason.PENDING,
            f"waits for cert-manager to write Secret {secret}; to see why: kubectl describe "
            f"certificate,certificaterequest,issuer",
        )
    return _tls(
        Reason.SECRET_NOT_FOUND,
        f"Secret {secret} (named by spec.tls.secretName) does not exist; create it: kubectl "
        f"create secret tls {secret} --cert=FILE --key=FILE",
    )


def _keys_there(view: View) -> Condition | None:
    secret = tls_secret(view.gateway)
    data: Mapping[str, bytes] = view.facts.secrets.get(secret) or {}
    missing = [key for key in (CHAIN, KEY) if not data.get(key)]
    if not missing:
        return None
    if view.gateway.spec.tls.cert_manager is not None:
        return _tls(Reason.PENDING, f"waits for cert-manager to fill Secret {secret}")
    return _tls(Reason.KEY_MISSING, f"Secret {secret} has no {' and no '.join(missing)}; add it")


def _sound(view: View) -> Condition | None:
    """Reads the pair once; the checks below look at what it says."""
    secret = tls_secret(view.gateway)
    try:
        certificate = read(view.facts.secrets.get(secret) or {})
    except CertificateUnreadable as error:
        return _tls(Reason.INVALID_CERTIFICATE, f"Secret {secret}: {error}")
    answers = (check(view, certificate) for check in OF_CERTIFICATE)
    return next(answer for answer in answers if answer is not None)


def _in_time(view: View, certificate: Certificate) -> Condition | None:
    if certificate.not_after <= view.facts.now:
        ended = timestamp(certificate.not_after)
        return _tls(
            Reason.EXPIRED, f"the certificate ended at {ended}; clients refuse it: replace it"
        )
    if certificate.not_before > view.facts.now:
        begins = timestamp(certificate.not_before)
        return _tls(Reason.INVALID_CERTIFICATE, f"the certificate is valid only from {begins}")
    return None


def _names_covered(view: View, certificate: Certificate) -> Condition | None:
    missing = certificate.missing(view.gateway.spec.tls.dns_names)
    if not missing:
        return None
    return _tls(
        Reason.NAME_MISMATCH,
        f"the certificate does not cover {', '.join(missing)}; replace it, or correct "
        "spec.tls.dnsNames",
    )


def _lasting(view: View, certificate: Certificate) -> Condition | None:
    if view.facts.now < certificate.renew_at(view.gateway.spec.tls.renew_before_days):
        return None
    until = timestamp(certificate.not_after)
    advice = "replace it" if view.gateway.spec.tls.secret_name is not None else "its renewal is due"
    return _tls(Reason.EXPIRING_SOON, f"the certificate is valid until {until}; {advice}")


def _issued(_: View, certificate: Certificate) -> Condition | None:
    return _tls(Reason.ISSUED, f"the certificate is valid until {timestamp(certificate.not_after)}")


OF_CERTIFICATE = (_in_time, _names_covered, _lasting, _issued)
CHECKS = (
    _cert_manager_served, _issuer_works, _issued_by_us, _secret_there, _keys_there, _sound,
)  # fmt: skip
