"""The Deployment."""

from __future__ import annotations

from smtp_operator.fleet.model import Ref
from smtp_operator.resources.deployment import handover
from tests.support.fleets import (
    a_gateway,
    decided,
    find,
    issued_secrets,
    rendered,
    running,
    some_facts,
)

OLD = "0000000000000000"


def test_capacity_never_drops_in_a_rollout() -> None:
    """One new pod first, by default."""
    spec = find(rendered(a_gateway(), some_facts()), "Deployment")["spec"]
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0},
    }
    assert spec["progressDeadlineSeconds"] == 600


def test_it_carries_the_hashes_by_which_the_next_look_compares() -> None:
    """Revision and inputs."""
    gateway, facts = a_gateway(), some_facts()
    made = decided(gateway, facts)
    deployment = find(rendered(gateway, facts), "Deployment")
    assert deployment["metadata"]["annotations"] == {
        "smtp.cakemail.com/revision": made.draft.target_revision,
        "smtp.cakemail.com/inputs": made.draft.inputs_hash,
    }


def test_a_held_fleet_keeps_template_and_hashes_but_scales() -> None:
    """What does not restart pods is applied all the same."""
    gateway = a_gateway(replicas=7)
    facts = some_facts(secrets=issued_secrets(gateway, some_facts()))
    facts = running(gateway, facts, revision=OLD, image="registry.example/smtp-gateway:0")
    objects = rendered(gateway, facts, turn=False)
    made = find(objects, "Deployment")
    live = facts.children[Ref("Deployment", "mail")]
    assert made["spec"]["template"] == live["spec"]["template"]
    assert made["metadata"]["annotations"] == live["metadata"]["annotations"]
    assert made["spec"]["replicas"] == 7
    assert [o for o in objects if o["metadata"]["name"].startswith("mail-start-")] == []


def test_an_autoscaled_fleet_sends_no_number() -> None:
    """The field belongs to the autoscaler's controller."""
    gateway = a_gateway(autoscaling={})
    facts = running(gateway, some_facts(), replicas_owner="smtp-operator-handover")
    assert "replicas" not in find(rendered(gateway, facts), "Deployment")["spec"]


def test_the_handover_holds_the_number_and_nothing_else() -> None:
    """Whatever more it held, its manager would own."""
    assert handover(a_gateway(), 7) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "mail", "namespace": "demo"},
        "spec": {"replicas": 7},
    }
