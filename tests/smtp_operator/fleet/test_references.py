"""What ``observe`` has to read follows from the spec."""

from __future__ import annotations

from smtp_operator.fleet import references
from tests.support.fleets import a_gateway


def test_a_self_signed_fleet_reads_its_own_secrets() -> None:
    """The leaf, to know when it ends, and the CA that signs the next."""
    assert references.secret_names(a_gateway()) == {"mail-tls", "mail-ca"}


def test_a_user_s_certificate_and_pull_secrets_are_read() -> None:
    """By the names that the spec gives."""
    gateway = a_gateway(tls={"secretName": "bought"}, imagePullSecrets=["registry"])
    assert references.secret_names(gateway) == {"bought", "registry"}


def test_the_certificate_is_no_credential() -> None:
    """It is TLSReady's concern, not CredentialsReady's."""
    assert references.credentials(a_gateway(tls={"secretName": "bought"})) == ()


def test_a_private_ca_is_read_by_name_and_key() -> None:
    """The key's default is the schema's."""
    gateway = a_gateway(cakemail={"caConfigMapRef": {"name": "private-ca"}})
    assert references.config_map_names(gateway) == {"private-ca"}
    (reference,) = references.config_maps(gateway)
    assert reference.keys == (("ca.crt",),)
    assert reference.field == "spec.cakemail.caConfigMapRef"


def test_without_a_reference_no_config_map_is_read() -> None:
    """Nothing is read that decides nothing."""
    assert references.config_map_names(a_gateway()) == frozenset()
