"""What follows from the conditions: proceed, hold, keep, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import Failure, refused
from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Object, Ref
from tests.support.certificates import user_pair
from tests.support.fleets import NOW, a_gateway, decided, running, settled, some_facts

OLD = "0000000000000000"


def test_a_new_fleet_is_rendered_at_once() -> None:
    """Also while its certificate is still to come."""
    made = decided(a_gateway(), some_facts())
    assert (made.proceed, made.hold, made.issue_certificate) == (True, False, True)


@pytest.mark.parametrize(
    ("spec", "facts"),
    [
        ({"paused": True}, {}),
        ({}, {"strangers": frozenset({Ref("Deployment", "mail")})}),
        ({"podTemplate": {"spec": {"hostNetwork": True}}}, {}),
        ({"cakemail": {"caConfigMapRef": {"name": "ca"}}}, {"config_maps": {"ca": None}}),
    ],
    ids=["paused", "stranger", "unsafe", "missing"],
)
def test_nothing_is_written_but_the_status(spec: dict[str, Any], facts: dict[str, Any]) -> None:
    """And nobody is woken every second for a certificate that is not made."""
    made = decided(a_gateway(**spec), some_facts(**facts))
    assert not made.proceed
    assert made.requeue_seconds is None


def test_a_failed_apply_does_not_stop_the_next() -> None:
    """A quota may be raised meanwhile."""
    failure = Failure(Ref("Service", "mail"), Reason.APPLY_FAILED, "quota")
    assert decided(a_gateway(), some_facts(), failures=[failure]).proceed


@pytest.mark.parametrize(("turn", "hold"), [(True, False), (False, True)])
def test_only_a_waiting_upgrade_holds_the_template(*, turn: bool, hold: bool) -> None:
    """A user's edit never does."""
    gateway = a_gateway()
    upgrade = running(gateway, some_facts(), revision=OLD)
    edit = running(gateway, some_facts(), revision=OLD, inputs=OLD)
    assert decided(gateway, upgrade, word=Word(turn=turn)).hold is hold
    assert decided(gateway, edit, word=Word(turn=turn)).hold is False


def start(number: int) -> tuple[Ref, Object]:
    """A start configuration, made on that day of January."""
    name = f"mail-start-{number}"
    return Ref("ConfigMap", name), {
        "metadata": {"name": name, "creationTimestamp": f"2026-01-{number:02}T00:00:00Z"}
    }


def test_the_newest_three_start_configurations_are_kept() -> None:
    """For pods that a rollback brings back."""
    gateway = a_gateway()
    made = decided(gateway, some_facts(children=dict(start(n) for n in (5, 2, 9, 3, 7))))
    assert made.keep == {Ref("ConfigMap", f"mail-start-{n}") for n in (5, 7, 9)}


def test_what_running_pods_mount_is_kept_however_old() -> None:
    """A pod that starts again needs it: its start configuration, and a certificate of before."""
    gateway = a_gateway(tls={"secretName": "bought"})
    template = {
        "spec": {
            "containers": [{"envFrom": [{"configMapRef": {"name": "mail-start-1"}}]}],
            "volumes": [{"name": "tls", "secret": {"secretName": "mail-tls"}}, {"name": "tmp"}],
        }
    }
    children: dict[Ref, Object] = dict(start(n) for n in range(1, 7))
    children[Ref("Secret", "mail-tls")] = {"metadata": {"name": "mail-tls"}}
    children[Ref("Secret", "mail-ca")] = {"metadata": {"name": "mail-ca"}}
    children[Ref("Deployment", "mail")] = {"spec": {"template": template}}
    keep = decided(gateway, some_facts(children=children)).keep
    assert keep == {
        *(Ref("Secret", name) for name in ("mail-tls", "mail-ca")),
        *(Ref("ConfigMap", f"mail-start-{n}") for n in (1, 4, 5, 6)),
    }


def test_the_certificate_of_before_stays_until_the_last_pod_has_another() -> None:
    """Old pods mount it until they are replaced, and so does one that takes an old pod's place."""
    gateway = a_gateway(tls={"secretName": "bought"})
    issued = {Ref("Secret", name): {"metadata": {"name": name}} for name in ("mail-tls", "mail-ca")}
    facts = running(gateway, some_facts(secrets={"bought": user_pair(["mail"], NOW)}))
    facts = replace(facts, children={**facts.children, **issued})
    rolled = facts.children[Ref("Deployment", "mail")]["status"]["conditions"]

    assert decided(gateway, facts).keep & issued.keys() == set()
    rolled[0]["reason"] = "ReplicaSetUpdated"
    assert decided(gateway, facts).keep & issued.keys() == issued.keys()


@pytest.mark.parametrize("kind", ["Certificate", "ServiceMonitor", "PrometheusRule"])
def test_what_is_not_served_now_is_kept(kind: str) -> None:
    """A discovery may miss a kind, and an object that went for it is not made again as it was."""
    children = {Ref(kind, "mail"): {"metadata": {"name": "mail"}}}
    missed = some_facts(children=children, kinds=frozenset())
    assert decided(a_gateway(), missed).keep == children.keys()
    assert decided(a_gateway(), some_facts(children=children)).keep == frozenset()


def test_another_fleet_s_start_configuration_is_not_ours_to_count() -> None:
    """`mail` and `mail-eu` share a beginning; the children of each are its own."""
    made = decided(a_gateway("ma"), some_facts(children=dict(start(n) for n in (1, 2))))
    assert made.keep == frozenset()


def test_a_certificate_just_made_is_looked_at_in_the_next_pass() -> None:
    """Reading it back makes TLSReady true; no watch may tell of it."""
    assert decided(a_gateway(), some_facts()).requeue_seconds == 1.0


def test_the_next_look_is_at_the_next_date_of_the_certificate() -> None:
    """Renewal, then the end; after that only an event helps."""
    gateway = a_gateway(tls={"secretName": "bought"})
    facts = some_facts(secrets={"bought": user_pair(["a.example"], NOW, days=90)})
    day = 86_400.0
    assert decided(gateway, facts).requeue_seconds == 60 * day
    late = replace(facts, now=NOW + timedelta(days=61))
    assert decided(gateway, late).requeue_seconds == 29 * day
    ended = replace(facts, now=NOW + timedelta(days=91))
    assert decided(gateway, ended).requeue_seconds is None


def test_a_decision_shows_no_secret() -> None:
    """Wherever it is printed."""
    gateway, facts = settled(a_gateway())
    key = facts.secrets["mail-tls"]
    assert key is not None
    assert key["tls.key"].decode()[30:60] not in repr(decided(gateway, facts))


def test_an_unreadable_spec_leaves_what_runs_and_says_why() -> None:
    """Conditions of the last good spec stay, those that the new one breaks are new."""
    gateway, _ = settled(a_gateway())
    later = NOW + timedelta(hours=1)
    made = refused(gateway.status, generation=2, now=later, detail="spec.tls: is required")
    assert made["readyReplicas"] == 2
    assert made["observedGeneration"] == 2
    told = {item["type"]: item for item in made["conditions"]}
    assert list(told)[:2] == ["Ready", "ConfigAccepted"]
    for kind in ("Ready", "ConfigAccepted"):
        assert told[kind]["status"] == "False"
        assert told[kind]["reason"] == "InvalidSpec"
        assert told[kind]["message"] == "spec.tls: is required"
        assert told[kind]["lastTransitionTime"] == "2026-03-01T13:00:00Z"
    assert told["TLSReady"]["status"] == "True"


def test_an_unreadable_first_spec_has_a_status_too() -> None:
    """There is nothing to keep."""
    made = refused({}, generation=1, now=NOW, detail="no")
    assert [item["type"] for item in made["conditions"]] == ["Ready", "ConfigAccepted"]
