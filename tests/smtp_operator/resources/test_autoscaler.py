"""The HorizontalPodAutoscaler."""

from __future__ import annotations

from typing import Any

from smtp_operator.fleet.model import Object
from tests.support.fleets import a_gateway, find, rendered, some_facts


def scaler(**autoscaling: Any) -> Object:
    """Its spec."""
    objects = rendered(a_gateway(autoscaling=autoscaling), some_facts())
    spec: Object = find(objects, "HorizontalPodAutoscaler")["spec"]
    return spec


def test_cpu_is_measured_of_the_gateway_s_container() -> None:
    """In per cent of its request."""
    assert scaler()["metrics"] == [
        {
            "type": "ContainerResource",
            "containerResource": {
                "name": "cpu",
                "container": "gateway",
                "target": {"type": "Utilization", "averageUtilization": 70},
            },
        }
    ]


def test_mail_can_be_measured_too() -> None:
    """The larger answer of the two counts."""
    _, rate = scaler(targetEmailsPerSecond=40)["metrics"]
    assert rate == {
        "type": "Pods",
        "pods": {
            "metric": {"name": "smtp_emails_received_per_second"},
            "target": {"type": "AverageValue", "averageValue": "40"},
        },
    }


def test_it_rises_at_once_and_falls_slowly() -> None:
    """SMTP sessions are long."""
    behavior = scaler()["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_a_behavior_given_in_part_keeps_the_rest_of_ours() -> None:
    """Field by field: Kubernetes' own default takes all pods away in 15 s."""
    usual = scaler()["behavior"]
    policies = [{"type": "Pods", "value": 2, "periodSeconds": 120}]
    made = scaler(behavior={"scaleDown": {"policies": policies}})["behavior"]
    assert made["scaleUp"] == usual["scaleUp"]
    assert made["scaleDown"] == {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": policies,
    }
    assert scaler(behavior={"scaleUp": {"selectPolicy": "Disabled"}})["behavior"] == {
        "scaleUp": usual["scaleUp"] | {"selectPolicy": "Disabled"},
        "scaleDown": usual["scaleDown"],
    }


def test_a_behavior_of_nothing_is_ours() -> None:
    """An empty block, or an empty direction, asks for the default."""
    assert scaler(behavior={"scaleUp": {}})["behavior"] == scaler()["behavior"]


def test_a_field_that_not_every_kubernetes_has_is_not_sent() -> None:
    """A definition that is older than the operator still lets it through; 1.31 would refuse it."""
    made = scaler(behavior={"scaleUp": {"tolerance": "50m"}})["behavior"]
    assert made == scaler()["behavior"]


def test_it_scales_the_deployment_and_stands_before_it() -> None:
    """The Deployment loses its number only to somebody who is there."""
    objects = rendered(a_gateway(autoscaling={}), some_facts())
    kinds = [item["kind"] for item in objects]
    assert kinds.index("HorizontalPodAutoscaler") < kinds.index("Deployment")
    assert find(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "mail",
    }
