"""The HorizontalPodAutoscaler: quick up, slow down, since SMTP sessions are long."""

from __future__ import annotations

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.fleet.names import CONTAINER
from smtp_operator.fleet.spec import Autoscaling
from smtp_operator.resources.child import child

# What an adapter for custom metrics has to serve for a pod: the rate of
# `smtp_emails_received_total`.
EMAILS_METRIC = "smtp_emails_received_per_second"

BEHAVIOR: Object = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 30},
            {"type": "Pods", "value": 4, "periodSeconds": 30},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
    },
}


def autoscaler(gateway: Gateway, autoscaling: Autoscaling) -> Object:
    """It scales the Deployment, never the SmtpGateway: users and GitOps see no drift."""
    return child(
        gateway,
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        gateway.key.name,
        spec={
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": gateway.key.name,
            },
            "minReplicas": autoscaling.min_replicas,
            "maxReplicas": autoscaling.max_replicas,
            "metrics": _metrics(autoscaling),
            "behavior": _behavior(autoscaling.behavior or {}),
        },
    )


def _behavior(given: Object) -> Object:
    """Ours, where the user says nothing else.

    What is left out of a behavior gets Kubernetes' own default, and that takes all pods but the
    least away in 15 s. A field that is not among ours is one that some served version of
    autoscaling/v2 does not have.
    """
    return {
        direction: {
            name: (given.get(direction) or {}).get(name, value) for name, value in rules.items()
        }
        for direction, rules in BEHAVIOR.items()
    }


def _metrics(autoscaling: Autoscaling) -> list[Object]:
    # Of the gateway's container: a sidecar's idle request would dilute the pod's average.
    cpu: Object = {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": CONTAINER,
            "target": {
                "type": "Utilization",
                "averageUtilization": autoscaling.target_cpu_utilization_percentage,
            },
        },
    }
    emails = autoscaling.target_emails_per_second
    if emails is None:
        return [cpu]
    rate: Object = {
        "type": "Pods",
        "pods": {
            "metric": {"name": EMAILS_METRIC},
            "target": {"type": "AverageValue", "averageValue": str(emails)},
        },
    }
    return [cpu, rate]
