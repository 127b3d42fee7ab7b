"""The status is built whole, within the bounds of its schema."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from smtp_operator.fleet.model import Ref
from tests.support.certificates import user_pair
from tests.support.fleets import NOW, a_gateway, decided, running, settled, some_facts


def test_a_settled_fleet_s_status_is_stable() -> None:
    """Deciding again, an hour later, changes nothing: nothing is written in a quiet cluster."""
    gateway, facts = settled(a_gateway())
    again = decided(gateway, replace(facts, now=NOW + timedelta(hours=1)))
    assert again.status == gateway.status


def test_counts_and_selector_serve_the_scale_subresource() -> None:
    """From the Deployment."""
    gateway = a_gateway()
    status = decided(gateway, running(gateway, some_facts(), replicas=3, ready=2)).status
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 2, 3)
    assert status["selector"] == (
        "app.kubernetes.io/instance=mail,app.kubernetes.io/name=smtp-gateway"
    )


def test_the_address_inside_the_cluster_is_the_service_s_name() -> None:
    """With one endpoint a listener."""
    gateway = a_gateway()
    status = decided(gateway, running(gateway, some_facts())).status
    assert status["address"] == "mail.demo.svc"
    assert status["endpoints"] == [
        {"name": "submission", "host": "mail.demo.svc", "port": 587, "tls": "StartTLS"},
        {"name": "submissions", "host": "mail.demo.svc", "port": 465, "tls": "Implicit"},
    ]


def test_a_balancer_s_address_is_shown_once_it_has_one() -> None:
    """Before that there is none: the Service's name would not work from outside."""
    gateway = a_gateway(service={"type": "LoadBalancer"})
    facts = running(gateway, some_facts())
    assert "address" not in decided(gateway, facts).status
    assert "endpoints" not in decided(gateway, facts).status
    for ingress, address in (
        ({"ip": "192.0.2.7"}, "192.0.2.7"),
        ({"hostname": "lb.example", "ip": "192.0.2.7"}, "lb.example"),
    ):
        facts.children[Ref("Service", "mail")]["status"] = {"loadBalancer": {"ingress": [ingress]}}
        assert decided(gateway, facts).status["address"] == address


@pytest.mark.parametrize(
    "edit",
    [
        {"paused": True},
        {"podTemplate": {"spec": {"hostNetwork": True}}},
    ],
    ids=["paused", "not accepted"],
)
def test_listeners_that_are_not_applied_are_no_endpoints(edit: dict[str, Any]) -> None:
    """What the Service has is what was last applied: the rest refuses connections."""
    before, facts = settled(a_gateway())
    listener = {"name": "plain", "port": 2525, "tls": "StartTLS"}
    service = {"type": "LoadBalancer"}
    edited = a_gateway(listeners=[listener], service=service, status=before.status, **edit)
    made = decided(edited, facts).status
    assert made["address"] == before.status["address"] == "mail.demo.svc"
    assert [item["port"] for item in made["endpoints"]] == [587, 465]


def test_a_balancer_s_new_address_is_shown_while_paused_too() -> None:
    """It is the cluster's to give, and no part of the spec that waits."""
    gateway = a_gateway(service={"type": "LoadBalancer"})
    facts = running(gateway, some_facts())
    balancer: dict[str, Any] = {}
    facts.children[Ref("Service", "mail")]["status"] = balancer
    balancer["loadBalancer"] = {"ingress": [{"ip": "192.0.2.7"}]}
    before = decided(gateway, facts).status
    balancer["loadBalancer"] = {"ingress": [{"ip": "192.0.2.8"}]}
    paused = a_gateway(paused=True, service={"type": "LoadBalancer"}, status=before)
    made = decided(paused, facts).status
    assert made["address"] == "192.0.2.8"
    assert {item["host"] for item in made["endpoints"]} == {"192.0.2.8"}


def test_a_fleet_that_was_never_applied_has_no_endpoints() -> None:
    """Nor one whose Service is gone."""
    paused = a_gateway(paused=True, status={"address": "mail.demo.svc"})
    assert "address" not in decided(paused, some_facts()).status


def test_a_user_s_certificate_has_no_time_of_renewal() -> None:
    """The operator does not renew it."""
    gateway = a_gateway(tls={"secretName": "bought"})
    facts = some_facts(secrets={"bought": user_pair(["a.example"], NOW)})
    assert decided(gateway, facts).status["tls"] == {
        "secretName": "bought",
        "notAfter": "2026-05-30T12:00:00Z",
        "issuer": "CN=tests",
        "dnsNames": ["a.example"],
    }


def test_a_certificate_of_many_names_does_not_break_the_status() -> None:
    """The schema takes 128."""
    many = [f"n{number}.example" for number in range(200)]
    gateway = a_gateway(tls={"secretName": "bought"})
    facts = some_facts(secrets={"bought": user_pair(many, NOW)})
    assert len(decided(gateway, facts).status["tls"]["dnsNames"]) == 128


def test_a_paused_fleet_speaks_of_the_generation_that_was_acted_on() -> None:
    """Tools such as kstatus then take it for unfinished, which it is."""
    status = {"observedGeneration": 3}
    gateway = a_gateway(paused=True, generation=4, status=status)
    made = decided(gateway, some_facts()).status
    assert made["observedGeneration"] == 3
    assert {item["observedGeneration"] for item in made["conditions"]} == {3}


def test_a_rollout_keeps_the_time_of_its_beginning() -> None:
    """As long as state and target are the same."""
    gateway = a_gateway()
    facts = running(gateway, some_facts(), progress="ReplicaSetUpdated")
    first = decided(gateway, facts).status
    later = replace(facts, now=NOW + timedelta(minutes=5))
    second = decided(replace(gateway, status=first), later).status
    assert second["rollout"]["startedAt"] == "2026-03-01T12:00:00Z"
    other = replace(gateway, status={**first, "targetRevision": "another"})
    third = decided(other, later).status
    assert third["rollout"]["startedAt"] == "2026-03-01T12:05:00Z"
