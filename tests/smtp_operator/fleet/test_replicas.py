"""Who says how many pods there are (the table at the top of ``replicas.py``)."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.model import Ref
from smtp_operator.fleet.replicas import Replicas, minimum, owns_replicas, plan
from tests.support.fleets import a_gateway, running, some_facts

SCALER = {Ref("HorizontalPodAutoscaler", "mail"): {"metadata": {"name": "mail"}}}


def test_without_autoscaling_the_spec_says() -> None:
    """And says so whatever runs now."""
    gateway = a_gateway(replicas=3)
    assert plan(gateway, some_facts()) == Replicas(3)
    assert plan(gateway, running(gateway, some_facts(), replicas=9)) == Replicas(3)


def test_zero_is_a_number() -> None:
    """A fleet may be switched off."""
    assert plan(a_gateway(replicas=0), some_facts()) == Replicas(0)


def test_switched_off_the_autoscaler_goes_first() -> None:
    """Else it would fight the spec for a moment."""
    facts = some_facts(children=SCALER)
    assert plan(a_gateway(), facts) == Replicas(2, autoscaler_first=True)


@pytest.mark.parametrize(("asked", "sent"), [(1, 3), (5, 5), (50, 8)])
def test_the_first_apply_carries_a_number_within_bounds(asked: int, sent: int) -> None:
    """A Deployment made without one would start with one pod."""
    gateway = a_gateway(replicas=asked, autoscaling={"minReplicas": 3, "maxReplicas": 8})
    assert plan(gateway, some_facts()) == Replicas(sent)


def test_the_live_number_is_handed_over_before_ours_is_dropped() -> None:
    """A field that only we own is reset when we drop it."""
    gateway = a_gateway(autoscaling={})
    facts = running(gateway, some_facts(), replicas=7)
    assert plan(gateway, facts) == Replicas(None, handover=7)


def test_zero_is_never_handed_over() -> None:
    """A Deployment of zero switches its autoscaler off, so it is started first as a new one is."""
    gateway = a_gateway(replicas=0, autoscaling={"minReplicas": 3})
    facts = running(gateway, some_facts(), replicas=0)
    assert plan(gateway, facts) == Replicas(3)


def test_once_handed_over_nothing_is_sent() -> None:
    """The autoscaler's controller writes the field."""
    gateway = a_gateway(autoscaling={})
    facts = running(gateway, some_facts(), replicas_owner="smtp-operator-handover")
    assert plan(gateway, facts) == Replicas(None)


@pytest.mark.parametrize(
    "entry",
    [
        {"manager": "kubectl", "operation": "Apply"},
        {"manager": "smtp-operator", "operation": "Update"},
        {"manager": "smtp-operator", "operation": "Apply", "subresource": "scale"},
    ],
)
def test_only_our_own_apply_counts_as_ours(entry: dict[str, str]) -> None:
    """Another manager, an update, or the scale subresource is somebody else."""
    fields: dict[str, Any] = {"fieldsV1": {"f:spec": {"f:replicas": {}}}}
    assert not owns_replicas({"metadata": {"managedFields": [{**entry, **fields}]}})


def test_the_wanted_minimum_is_the_lower_bound() -> None:
    """Of the autoscaler if there is one."""
    assert minimum(a_gateway(replicas=4)) == 4
    assert minimum(a_gateway(replicas=4, autoscaling={"minReplicas": 3})) == 3
