"""``Degraded`` and ``Ready``: whether the fleet works, and whether as asked.

How many pods ``Ready`` wants: at the first start all that the spec asks for, so that
``kubectl wait --for=condition=Ready`` after ``apply`` means a whole fleet; afterwards as many as
the disruption budget keeps, so that draining one node is no outage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from smtp_operator.fleet import names
from smtp_operator.fleet.conditions import Condition, ConditionType, Reason
from smtp_operator.fleet.draft import View
from smtp_operator.fleet.replicas import minimum
from smtp_operator.fleet.rollouts import Pods, State, condition, started, state

NEEDED = (
    ConditionType.CONFIG_ACCEPTED,
    ConditionType.CREDENTIALS_READY,
    ConditionType.TLS_READY,
)
# Reasons of an autoscaler whose metric cannot be read (k8s.io pkg/controller/podautoscaler).
_METRIC_REASONS = ("FailedGet", "FailedComputeMetrics", "InvalidMetric")


def wanted_pods(view: View) -> int:
    """The number of ready pods from which the fleet counts as Ready."""
    pods = Pods(view.child("Deployment"))
    lower = minimum(view.gateway)
    if not started(view):
        return lower
    total = max(pods.wanted, lower)
    return max(1, _kept(view, total)) if total else 0


def _kept(view: View, total: int) -> int:
    budget = view.gateway.spec.disruption.budget
    if "minAvailable" in budget:
        return min(total, _count(budget["minAvailable"], total))
    return total - _count(budget["maxUnavailable"], total)


def _count(amount: int | str, total: int) -> int:
    """A percentage of a budget is rounded up, as the disruption controller does it."""
    if isinstance(amount, int):
        return amount
    return math.ceil(int(amount.removesuffix("%")) * total / 100)


def ready(view: View, needed: Sequence[Condition]) -> Condition:
    """True when what it needs is True and enough pods are ready."""
    failing = next((item for item in needed if not item.holds), None)
    if failing is not None:
        return _ready(failing.reason, failing.message)
    pods = Pods(view.child("Deployment"))
    wanted = wanted_pods(view)
    if view.child("Deployment") is None:
        return _ready(Reason.FIRST_START, "the pods have not been started yet")
    text = f"{pods.ready} of {pods.wanted} pods are ready"
    if pods.ready < wanted:
        return _ready(
            _short_of_pods(view), f"{text}, at least {wanted} are needed; {_to_see_why(view)}"
        )
    return _ready(Reason.READY, text)


def _short_of_pods(view: View) -> Reason:
    starting = not started(view) and state(view) is State.PROGRESSING
    return Reason.FIRST_START if starting else Reason.PODS_UNAVAILABLE


def _to_see_why(view: View) -> str:
    """The operator may not read pods: whoever reads this may."""
    autoscaling, name = view.gateway.spec.autoscaling, view.gateway.key.name
    if autoscaling is not None and Pods(view.child("Deployment")).wanted == 0:
        return (
            "somebody scaled them to 0, where an autoscaler rests; to start them: "
            f"kubectl scale deployment {name} --replicas={autoscaling.min_replicas}"
        )
    pods = names.serialized(names.selector(view.gateway.key))
    return f"to see why: kubectl describe pods --selector={pods}"


def _ready(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.READY, reason is Reason.READY, reason, message)


def _degraded(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.DEGRADED, reason is not Reason.AS_EXPECTED, reason, message)


def _rollout_kept_its_deadline(view: View) -> Condition | None:
    if state(view) is not State.FAILED:
        return None
    seconds = view.gateway.spec.rollout.progress_deadline_seconds
    if started(view):
        text = f"the new pods were not ready within {seconds} s and the old ones serve on"
    else:
        text = f"the first pods were not ready within {seconds} s"
    if view.word.wrong:
        text = f"{text}; an operator upgrade caused it and stops for all fleets"
    return _degraded(Reason.ROLLOUT_FAILED, f"{text}; correct the spec; {_to_see_why(view)}")


def _upgrade_kept_it_ready(view: View) -> Condition | None:
    if not view.word.wrong:
        return None
    return _degraded(
        Reason.ROLLOUT_FAILED,
        "an operator upgrade took its readiness, see Ready, and stops for all fleets; set image to "
        f"the one before, or mend it; {_to_see_why(view)}",
    )


def _applied(view: View) -> Condition | None:
    failure = view.failed(Reason.APPLY_FAILED)
    if failure is None:
        return None
    text = f"{failure.ref.kind} {failure.ref.name} was refused: {failure.message}"
    return _degraded(Reason.APPLY_FAILED, text)


def _optional_kinds_served(view: View) -> Condition | None:
    monitoring = view.gateway.spec.monitoring
    asked = (
        ("ServiceMonitor", monitoring.service_monitor.enabled, "serviceMonitor"),
        ("PrometheusRule", monitoring.alerts.enabled, "alerts"),
    )
    for kind, enabled, field in asked:
        if enabled and kind not in view.facts.kinds:
            return _degraded(
                Reason.APPLY_FAILED,
                f"the cluster serves no {kind}: install the Prometheus operator's CRDs, or switch "
                f"spec.monitoring.{field} off",
            )
    return None


def _pods_can_be_made(view: View) -> Condition | None:
    """Quota, admission: the cluster refuses the pods themselves, also at the first start."""
    failure = condition(view.child("Deployment") or {}, "ReplicaFailure")
    if failure.get("status") != "True":
        return None
    return _degraded(
        Reason.PODS_UNAVAILABLE, f"the cluster refuses to make pods: {failure.get('message', '')}"
    )


def _pods_available(view: View) -> Condition | None:
    """An autoscaler that rests at zero, or is on its way to its lower bound, wants more."""
    pods = Pods(view.child("Deployment"))
    autoscaling = view.gateway.spec.autoscaling
    wanted = max(pods.wanted, autoscaling.min_replicas if autoscaling is not None else 0)
    if not started(view) or pods.ready >= wanted:
        return None
    text = f"{pods.ready} of {wanted} pods are ready; {_to_see_why(view)}"
    return _degraded(Reason.PODS_UNAVAILABLE, text)


def _metric_readable(view: View) -> Condition | None:
    scaling = condition(view.child("HorizontalPodAutoscaler") or {}, "ScalingActive")
    if not started(view) or scaling.get("status") != "False":
        return None
    if not str(scaling.get("reason", "")).startswith(_METRIC_REASONS):
        return None
    return _degraded(
        Reason.METRIC_UNAVAILABLE,
        "the autoscaler cannot read a metric and does not scale down; install metrics-server, or "
        f"the adapter for custom metrics: {scaling.get('message', '')}",
    )


def _as_expected(_: View) -> Condition | None:
    return _degraded(Reason.AS_EXPECTED, "no fault besides what Ready tells")


DEGRADED = (
    _rollout_kept_its_deadline, _upgrade_kept_it_ready, _applied, _optional_kinds_served,
    _pods_can_be_made, _pods_available, _metric_readable, _as_expected,
)  # fmt: skip
