"""Who says how many pods there are: the spec, or the autoscaler; and how one follows the other.

The trap: with server-side apply, dropping a field that only we own resets it, here to one pod.
So before the Deployment is applied without ``replicas``, another manager of ours takes the number
over as it is.

    autoscaling   Deployment               sent          first
    -----------   ----------------------   -----------   -----------------------------------------
    absent        any                      spec's        delete the autoscaler, if there is one
    present       absent                   max(min, …)   autoscaler before the Deployment
    present       ours says 0 replicas     max(min, …)   autoscaler before the Deployment
    present       ours says replicas       nothing       autoscaler, then hand over the live number
    present       somebody else's          nothing

A Deployment of zero switches its autoscaler off: ours is started first, and handed over at the next
look. A zero of somebody else's stays, as Kubernetes takes it for a pause; ``Degraded`` tells of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref
from smtp_operator.fleet.spec import Autoscaling


@dataclass(frozen=True, slots=True)
class Replicas:
    """One row.

    Attributes:
        sent: value in the Deployment's apply; None leaves the field out.
        handover: value to apply **first**, alone, by the manager ``smtp-operator-handover``.
        autoscaler_first: delete the autoscaler before the Deployment is applied.
    """

    sent: int | None
    handover: int | None = None
    autoscaler_first: bool = False


def plan(gateway: Gateway, facts: Facts) -> Replicas:
    """The row of the table that holds now."""
    deployment = facts.children.get(Ref("Deployment", gateway.key.name))
    autoscaling = gateway.spec.autoscaling
    if autoscaling is None:
        scaler = Ref("HorizontalPodAutoscaler", gateway.key.name)
        return Replicas(gateway.spec.replicas, autoscaler_first=scaler in facts.children)
    if deployment is not None and not owns_replicas(deployment):
        return Replicas(None)
    live = _live(deployment) if deployment is not None else 0
    if live == 0:
        return Replicas(_at_creation(autoscaling, gateway.spec.replicas))
    return Replicas(None, handover=live)


def _at_creation(autoscaling: Autoscaling, asked: int) -> int:
    return min(max(autoscaling.min_replicas, asked), autoscaling.max_replicas)


def _live(deployment: Object) -> int:
    return int(deployment.get("spec", {}).get("replicas", 1))


def owns_replicas(deployment: Object) -> bool:
    """Whether our own apply is what holds ``spec.replicas``."""
    entries = deployment.get("metadata", {}).get("managedFields", ())
    return any(
        entry.get("manager") == names.OPERATOR
        and entry.get("operation") == "Apply"
        and not entry.get("subresource")
        and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in entries
    )


def minimum(gateway: Gateway) -> int:
    """Pods that are wanted at least: the spec's, or the autoscaler's lower bound."""
    autoscaling = gateway.spec.autoscaling
    return gateway.spec.replicas if autoscaling is None else autoscaling.min_replicas
