"""Rendering as a whole: order, determinism, and what must never be in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_operator.fleet.model import Facts, Gateway, Object
from smtp_operator.resources.rendering import draft, render
from tests.support.certificates import FixedKeys
from tests.support.fleets import (
    a_gateway,
    condition,
    decided,
    find,
    issued_secrets,
    rendered,
    settled,
    some_facts,
)

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

LISTENERS: Any = st.lists(
    st.tuples(st.integers(1, 65535), st.sampled_from(["StartTLS", "Implicit"])),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item[0] + 2000 if item[0] < 1024 else item[0],
).map(
    lambda items: [
        {"name": f"p{port}", "port": port, "tls": {465: "Implicit", 587: "StartTLS"}.get(port, tls)}
        for port, tls in items
        if port != 8080
    ]
)
SPECS: Any = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 200),
        "image": st.just("registry.example/own:1"),
        "hostname": st.just("smtp.example.com"),
        "listeners": LISTENERS.filter(bool),
        "limits": st.fixed_dictionaries({"maxRecipients": st.integers(1, 1000)}),
        "autoscaling": st.fixed_dictionaries({"minReplicas": st.integers(1, 20)}),
        "disruption": st.fixed_dictionaries({"enabled": st.booleans()}),
        "networkPolicy": st.fixed_dictionaries({"enabled": st.booleans()}),
        "service": st.fixed_dictionaries({"type": st.sampled_from(["ClusterIP", "LoadBalancer"])}),
        "monitoring": st.fixed_dictionaries(
            {"serviceMonitor": st.fixed_dictionaries({"enabled": st.booleans()})}
        ),
        "podTemplate": st.just({"metadata": {"labels": {"team": "mail"}}}),
    },
)
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", fullmatch=True)


@settings(deadline=None, max_examples=50)
@given(NAMES, SPECS)
def test_equal_arguments_give_equal_objects(name: str, spec: dict[str, Any]) -> None:
    """Nothing depends on time, order or chance once the certificate is there."""
    gateway, facts = settled(a_gateway(name, **spec))
    decision = decided(gateway, facts)
    assert not decision.issue_certificate
    # RandomKeys: a key made here would show.
    assert render(gateway, facts, decision) == render(gateway, facts, decision)


@settings(deadline=None, max_examples=50)
@given(NAMES, SPECS)
def test_names_are_dns_labels_and_none_stands_twice(name: str, spec: dict[str, Any]) -> None:
    """At most 63 characters, whatever the gateway is called."""
    objects = rendered(a_gateway(name, **spec), some_facts())
    named = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(set(named)) == len(named)
    assert [found for _, found in named if not DNS_LABEL.fullmatch(found)] == []
    assert {item["metadata"]["namespace"] for item in objects} == {"demo"}


@settings(deadline=None, max_examples=50)
@given(NAMES, SPECS)
def test_what_a_pod_refers_to_is_rendered_before_it(name: str, spec: dict[str, Any]) -> None:
    """ConfigMaps, Secrets and the account: a first pod starts at once."""
    objects = rendered(a_gateway(name, **spec), some_facts())
    place = [item["kind"] for item in objects].index("Deployment")
    before = {(item["kind"], item["metadata"]["name"]) for item in objects[:place]}
    pod = objects[place]["spec"]["template"]["spec"]
    volumes = pod["volumes"]
    wanted = {("ServiceAccount", pod["serviceAccountName"])}
    wanted |= {("Secret", v["secret"]["secretName"]) for v in volumes if "secret" in v}
    wanted |= {("ConfigMap", v["configMap"]["name"]) for v in volumes if "configMap" in v}
    for source in pod["containers"][0]["envFrom"]:
        wanted.add(("ConfigMap", source["configMapRef"]["name"]))
    assert wanted <= before


def secrets_of(facts: Facts) -> list[str]:
    """Every private part that a decision has seen, in the forms in which it could leak."""
    found = []
    for data in facts.secrets.values():
        body = (data or {}).get("tls.key", b"").decode()
        found += [line for line in body.splitlines() if len(line) > 20 and line[0] != "-"]
    return found


@settings(deadline=None, max_examples=50)
@given(SPECS)
def test_no_secret_leaves_its_secret(spec: dict[str, Any]) -> None:
    """Not into another kind, an annotation, the status, or anything that may be logged."""
    gateway, facts = settled(a_gateway(**spec))
    decision = decided(gateway, facts)
    objects = render(gateway, facts, decision)
    shown = [_shown(item) for item in objects]
    text = json.dumps([shown, decision.status]) + repr(decision) + repr(draft(gateway, facts))
    assert secrets_of(facts) != []
    assert [line for line in secrets_of(facts) if line in text] == []


def _shown(item: Object) -> Object:
    return {k: v for k, v in item.items() if item["kind"] != "Secret" or k != "data"}


def test_a_malformed_overlay_is_told_and_stops_rendering() -> None:
    """The schema lets any shape through; the plain template stands in the draft."""
    gateway = a_gateway(podTemplate={"spec": {"containers": "none"}})
    made = decided(gateway, some_facts())
    assert condition(made, "ConfigAccepted") == (
        "False",
        "PodTemplateRejected",
        "spec.podTemplate.spec.containers must be a list",
    )
    assert made.draft.template == draft(a_gateway(), some_facts()).template


def test_an_overlay_must_not_take_pods_from_their_fleet() -> None:
    """The Deployment would be refused, the Service would lose them."""
    labels = {"app.kubernetes.io/instance": "other"}
    gateway = a_gateway(podTemplate={"metadata": {"labels": labels}})
    assert condition(decided(gateway, some_facts()), "ConfigAccepted") == (
        "False",
        "PodTemplateRejected",
        (
            "spec.podTemplate.metadata.labels must not change app.kubernetes.io/instance; "
            "pods are found by it"
        ),
    )


def test_an_overlay_reaches_the_pod() -> None:
    """For gateway settings that have no field here."""
    env = [{"name": "SMTP_POSTMASTER", "value": "postmaster@example.com"}]
    layer = {"spec": {"containers": [{"name": "gateway", "env": env}]}}
    objects = rendered(a_gateway(podTemplate=layer), some_facts())
    (container,) = find(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["env"] == env
    assert container["image"] == "registry.example/smtp-gateway:1.0.0"


def revision(gateway: Gateway, facts: Facts) -> str:
    """What would reach the pod."""
    return draft(gateway, facts).target_revision


def test_the_content_of_a_private_ca_is_part_of_the_revision() -> None:
    """And of the user's inputs: another CA rolls at once."""
    gateway = a_gateway(cakemail={"caConfigMapRef": {"name": "private-ca"}})
    one = some_facts(config_maps={"private-ca": {"ca.crt": "one"}})
    two = replace(one, config_maps={"private-ca": {"ca.crt": "two"}})
    assert revision(gateway, one) != revision(gateway, two)
    assert draft(gateway, one).inputs_hash != draft(gateway, two).inputs_hash


def test_a_new_leaf_is_not_part_of_the_revision() -> None:
    """Pods read it again while they run."""
    gateway = a_gateway()
    with_secrets = some_facts(secrets=issued_secrets(gateway, some_facts()))
    assert revision(gateway, some_facts()) == revision(gateway, with_secrets)


def test_a_key_is_made_only_when_one_is_due() -> None:
    """The source is not even asked."""
    gateway, facts = settled(a_gateway())
    keys = FixedKeys()
    render(gateway, facts, decided(gateway, facts), keys)
    assert keys.given == 0
    render(gateway, some_facts(), decided(gateway, some_facts()), keys)
    assert keys.given == 2
