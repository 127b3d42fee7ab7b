"""Certificates: cert-manager's, and our own."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from smtp_operator.fleet.certificates import read, signer
from smtp_operator.fleet.model import Facts, Gateway
from smtp_operator.resources.rendering import render
from tests.support.certificates import FixedKeys
from tests.support.fleets import (
    NOW,
    a_gateway,
    decided,
    find,
    issued_secrets,
    rendered,
    some_facts,
)


def test_the_wish_to_cert_manager_holds_every_field() -> None:
    """Durations in hours, since cert-manager knows no days."""
    tls = {
        "certManager": {"issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer"}},
        "dnsNames": ["smtp.example.com"],
        "keyAlgorithm": "RSA",
        "validityDays": 60,
        "renewBeforeDays": 20,
    }
    assert find(rendered(a_gateway(tls=tls), some_facts()), "Certificate")["spec"] == {
        "secretName": "mail-cert-manager-tls",
        "dnsNames": ["smtp.example.com"],
        "duration": "1440h0m0s",
        "renewBefore": "480h0m0s",
        "privateKey": {"algorithm": "RSA", "size": 2048, "rotationPolicy": "Always"},
        "usages": ["digital signature", "server auth"],
        "issuerRef": {"name": "letsencrypt", "kind": "ClusterIssuer", "group": "cert-manager.io"},
    }


def test_a_user_s_secret_is_left_to_the_user() -> None:
    """No Secret and no Certificate is rendered."""
    objects = rendered(a_gateway(tls={"secretName": "bought"}), some_facts())
    assert {o["kind"] for o in objects} & {"Secret", "Certificate"} == set()


def test_the_leaf_serves_the_names_of_the_service() -> None:
    """For 90 days, signed by a CA that lasts twenty years."""
    secrets = issued_secrets(a_gateway(), some_facts())
    leaf, authority = read(secrets["mail-tls"]), read(secrets["mail-ca"])
    assert leaf.dns_names == ("mail.demo.svc.cluster.local", "mail.demo.svc", "mail.demo", "mail")
    assert leaf.not_after == NOW + timedelta(days=90)
    assert authority.not_after == NOW + timedelta(days=7300)
    leaf.parsed.verify_directly_issued_by(authority.parsed)
    constraints = leaf.parsed.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.value.ca is False


@pytest.mark.parametrize("algorithm", ["ECDSA", "RSA"])
def test_a_client_that_trusts_the_ca_accepts_the_leaf(algorithm: str, tmp_path: Path) -> None:
    """By the standard library's own verification, name included, on today's clock."""
    tls = {"selfSigned": {}, "keyAlgorithm": algorithm, "validityDays": 3000}
    gateway = a_gateway(tls=tls)
    secret = issued_secrets(gateway, some_facts())["mail-tls"]
    for name, content in secret.items():
        (tmp_path / name).write_bytes(content)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    # OpenSSL checks dates by the machine's clock, which may be before the test's.
    client.verify_flags |= ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME
    shake(server, client, "mail.demo.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client, "other.demo.svc")


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    """Both halves of a TLS handshake, in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname=name)
    theirs = server.wrap_bio(up, down, server_side=True)
    waiting = [ours, theirs]
    for _ in range(8):
        for half in list(waiting):
            try:
                half.do_handshake()
                waiting.remove(half)
            except ssl.SSLWantReadError:
                continue
    assert waiting == []


def render_next(gateway: Gateway, facts: Facts) -> Mapping[str, Mapping[str, bytes]]:
    """The Secrets of a pass over these facts."""
    objects = render(gateway, facts, decided(gateway, facts), FixedKeys())
    return {
        o["metadata"]["name"]: {k: base64.b64decode(v) for k, v in o["data"].items()}
        for o in objects
        if o["kind"] == "Secret"
    }


def test_what_is_good_is_rendered_as_it_is() -> None:
    """Without a new key, so nothing is written."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    assert render_next(gateway, some_facts(secrets=secrets)) == secrets


def test_a_renewal_keeps_the_authority() -> None:
    """Clients that trust it need no change."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    later = some_facts(secrets=secrets, now=NOW + timedelta(days=61))
    renewed = render_next(gateway, later)
    assert renewed["mail-ca"] == secrets["mail-ca"]
    assert read(renewed["mail-tls"]).not_after == NOW + timedelta(days=61 + 90)
    read(renewed["mail-tls"]).parsed.verify_directly_issued_by(read(secrets["mail-ca"]).parsed)


def test_an_authority_near_its_end_is_replaced_with_the_leaf() -> None:
    """It must outlive what it signs."""
    gateway = a_gateway()
    secrets = issued_secrets(gateway, some_facts())
    late = NOW + timedelta(days=7300 - 60)
    renewed = render_next(gateway, some_facts(secrets=secrets, now=late))
    assert renewed["mail-ca"]["tls.crt"] != secrets["mail-ca"]["tls.crt"]
    assert read(renewed["mail-ca"]).not_after == late + timedelta(days=7300)


def test_an_authority_too_old_for_another_leaf_is_no_reason_to_make_one() -> None:
    """Clients trust it, and it outlives the leaf that is there."""
    gateway = a_gateway(tls={"selfSigned": {}, "validityDays": 3650})
    secrets = issued_secrets(gateway, some_facts())
    renewed = render_next(gateway, some_facts(secrets=secrets, now=NOW + timedelta(days=3620)))
    assert renewed["mail-ca"] == secrets["mail-ca"]
    later = some_facts(secrets=renewed, now=NOW + timedelta(days=3700))
    assert signer(gateway, later) is None
    assert render_next(gateway, later) == renewed


def test_the_pod_s_secret_does_not_hold_the_authority_s_key() -> None:
    """Only its certificate, for clients."""
    secrets = issued_secrets(a_gateway(), some_facts())
    assert secrets["mail-tls"]["ca.crt"] == secrets["mail-ca"]["tls.crt"]
    assert secrets["mail-tls"]["tls.key"] != secrets["mail-ca"]["tls.key"]


def test_a_long_first_name_stands_in_the_extension_alone() -> None:
    """A common name has at most 64 characters (X.520)."""
    long = "a" * 60 + ".example.com"
    gateway = a_gateway(tls={"selfSigned": {}, "dnsNames": [long]})
    assert read(issued_secrets(gateway, some_facts())["mail-tls"]).dns_names == (long,)
