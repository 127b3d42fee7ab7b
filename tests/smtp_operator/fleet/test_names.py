"""Names and labels fit into what Kubernetes allows, for every name that the CRD allows."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Key, Ref
from tests.support.fleets import a_gateway

ALLOWED = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@settings(deadline=None)
@given(ALLOWED)
def test_every_made_name_is_a_dns_label(name: str) -> None:
    """At most 63 characters, also the longest."""
    key = Key("demo", name)
    made = [
        names.tls(key),
        names.ca(key),
        names.issued(key),
        names.live(key),
        names.metrics(key),
        names.start(key, "0123456789abcdef"),
    ]
    assert [item for item in made if not LABEL.fullmatch(item)] == []
    assert len(set(made)) == len(made)


def test_the_labels_are_the_recommended_ones() -> None:
    """https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/."""
    assert names.labels(Key("demo", "mail")) == {
        "app.kubernetes.io/name": "smtp-gateway",
        "app.kubernetes.io/instance": "mail",
        "app.kubernetes.io/part-of": "cakemail-smtp",
        "app.kubernetes.io/managed-by": "smtp-operator",
    }


def test_the_selector_never_changes() -> None:
    """A Deployment's selector is immutable: another one would strand every fleet."""
    assert names.selector(Key("demo", "mail")) == {
        "app.kubernetes.io/name": "smtp-gateway",
        "app.kubernetes.io/instance": "mail",
    }


def test_a_selector_is_written_as_the_scale_subresource_reads_it() -> None:
    """Sorted, so that it does not change from one status to the next."""
    assert names.serialized({"b": "2", "a": "1"}) == "a=1,b=2"


def test_children_die_with_their_gateway_and_need_no_right_on_finalizers() -> None:
    """A controller reference without blockOwnerDeletion."""
    (owner,) = names.metadata(a_gateway(), "mail")["ownerReferences"]
    assert owner == {
        "apiVersion": "smtp.cakemail.com/v1alpha1",
        "kind": "SmtpGateway",
        "name": "mail",
        "uid": "0b6c2bd4-5a0c-4b4e-9f0e-000000000001",
        "controller": True,
    }


def test_only_the_names_that_a_spec_uses_can_be_taken_by_strangers() -> None:
    """A user's own Secret `mail-tls` harms nobody who brings a certificate."""
    used = names.refs(a_gateway(tls={"secretName": "bought"}, disruption={"enabled": False}))
    assert used == {
        Ref("ServiceAccount", "mail"),
        Ref("ConfigMap", "mail-live"),
        Ref("Service", "mail"),
        Ref("Deployment", "mail"),
        Ref("NetworkPolicy", "mail"),
    }


def test_the_mounted_secret_depends_on_where_the_certificate_comes_from() -> None:
    """Three sources, three names: a switch from one to the next takes nothing from the other."""
    manager = {"certManager": {"issuerRef": {"name": "ca"}}, "dnsNames": ["smtp.example.com"]}
    assert names.tls_secret(a_gateway()) == "mail-tls"
    assert names.tls_secret(a_gateway(tls={"secretName": "bought"})) == "bought"
    assert names.tls_secret(a_gateway(tls=manager)) == "mail-cert-manager-tls"
