"""The Deployment."""

from __future__ import annotations

import json

from smtp_operator.fleet.draft import Word
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
    """Revision and inputs; and the template itself, in case it has to be held."""
    gateway, facts = a_gateway(), some_facts()
    made = decided(gateway, facts)
    deployment = find(rendered(gateway, facts), "Deployment")
    annotations = deployment["metadata"]["annotations"]
    assert json.loads(annotations.pop("smtp.cakemail.com/template")) == made.draft.template
    assert annotations == {
        "smtp.cakemail.com/revision": made.draft.target_revision,
        "smtp.cakemail.com/inputs": made.draft.inputs_hash,
    }


def test_a_held_fleet_keeps_template_and_hashes_but_scales() -> None:
    """What does not restart pods is applied all the same."""
    gateway = a_gateway(replicas=7)
    facts = some_facts(secrets=issued_secrets(gateway, some_facts()))
    facts = running(gateway, facts, revision=OLD, image="registry.example/smtp-gateway:0")
    objects = rendered(gateway, facts, word=Word(turn=False))
    made = find(objects, "Deployment")
    live = facts.children[Ref("Deployment", "mail")]
    assert made["spec"]["template"] == live["spec"]["template"]
    assert live["metadata"]["annotations"].items() <= made["metadata"]["annotations"].items()
    assert made["spec"]["replicas"] == 7
    assert [o for o in objects if o["metadata"]["name"].startswith("mail-start-")] == []


def test_a_held_fleet_carries_what_was_applied_and_not_what_somebody_made_of_it() -> None:
    """Unless nobody knows what was applied: an older operator did not note it."""
    gateway = a_gateway()
    facts = running(gateway, some_facts(), revision=OLD, image="registry.example/edited:1")
    live = facts.children[Ref("Deployment", "mail")]
    applied = {"metadata": {"labels": {"was": "applied"}}}
    for noted, wanted in (
        (json.dumps(applied), applied),
        ("{spoilt", live["spec"]["template"]),
        ("[]", live["spec"]["template"]),
    ):
        live["metadata"]["annotations"]["smtp.cakemail.com/template"] = noted
        made = find(rendered(gateway, facts, word=Word(turn=False)), "Deployment")
        assert made["spec"]["template"] == wanted
        assert json.loads(made["metadata"]["annotations"]["smtp.cakemail.com/template"]) == wanted


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
