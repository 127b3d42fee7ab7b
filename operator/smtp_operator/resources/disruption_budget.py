"""The PodDisruptionBudget: it paces node drains and never blocks one."""

from __future__ import annotations

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.fleet.names import selector
from smtp_operator.resources.child import child


def disruption_budget(gateway: Gateway) -> Object:
    """Pods that are not ready may always go: a broken one holds no node."""
    return child(
        gateway,
        "policy/v1",
        "PodDisruptionBudget",
        gateway.key.name,
        spec={
            "selector": {"matchLabels": selector(gateway.key)},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            **gateway.spec.disruption.budget,
        },
    )
