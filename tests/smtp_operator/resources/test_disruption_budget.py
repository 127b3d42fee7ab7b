"""The PodDisruptionBudget."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fleets import a_gateway, find, rendered, some_facts


@pytest.mark.parametrize(
    ("disruption", "budget"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"minAvailable": 2}, {"minAvailable": 2}),
    ],
)
def test_one_bound_is_stated(disruption: dict[str, Any], budget: dict[str, Any]) -> None:
    """The API takes only one; a pod that is broken may always go."""
    objects = rendered(a_gateway(disruption=disruption), some_facts())
    spec = find(objects, "PodDisruptionBudget")["spec"]
    assert spec.pop("selector")["matchLabels"]["app.kubernetes.io/instance"] == "mail"
    assert spec == {"unhealthyPodEvictionPolicy": "AlwaysAllow", **budget}


def test_it_can_be_switched_off() -> None:
    """Then there is none."""
    objects = rendered(a_gateway(disruption={"enabled": False}), some_facts())
    assert [o for o in objects if o["kind"] == "PodDisruptionBudget"] == []
