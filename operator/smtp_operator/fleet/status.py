"""``status`` of an SmtpGateway, built whole; the core writes it only when it differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from smtp_operator.fleet import names
from smtp_operator.fleet.conditions import Condition, merge, timestamp
from smtp_operator.fleet.draft import View
from smtp_operator.fleet.model import Object
from smtp_operator.fleet.rollouts import Pods, State, current_revision, state
from smtp_operator.fleet.tls_checks import found

# Bounds of the schema: a certificate that says more must not make the status invalid.
ISSUER_LENGTH = 512
SHOWN_NAMES = 128


def build(view: View, conditions: Sequence[Condition]) -> Object:
    """All fields. Empty ones are left out, so that a first status is short."""
    status = {
        "observedGeneration": observed_generation(view),
        "conditions": merge(
            view.gateway.status.get("conditions", ()),
            conditions,
            generation=observed_generation(view),
            now=view.facts.now,
        ),
        **_pods(view),
        **_revisions(view),
        **_reachable(view),
        "tls": _tls(view),
        "rollout": _rollout(view),
    }
    return {name: value for name, value in status.items() if value not in ("", {}, [], None)}


def observed_generation(view: View) -> int:
    """Left alone while paused: what the spec says now has not been acted on."""
    if view.gateway.spec.paused:
        return int(view.gateway.status.get("observedGeneration", 0))
    return view.gateway.generation


def _pods(view: View) -> Object:
    pods = Pods(view.child("Deployment"))
    return {
        "replicas": pods.total,
        "readyReplicas": pods.ready,
        "updatedReplicas": pods.updated,
        "selector": names.serialized(names.selector(view.gateway.key)),
    }


def _revisions(view: View) -> Object:
    return {
        "image": _image(view.child("Deployment")),
        "currentRevision": current_revision(view),
        "targetRevision": view.draft.target_revision,
        "configHash": view.draft.config_hash,
    }


def _image(deployment: Object | None) -> str:
    pod = (deployment or {}).get("spec", {}).get("template", {}).get("spec", {})
    images = {item.get("name"): item.get("image", "") for item in pod.get("containers", ())}
    return str(images.get(names.CONTAINER, ""))


def _reachable(view: View) -> Object:
    if view.stopped:
        return _still_reachable(view)
    address = _address(view)
    listeners = view.gateway.spec.listeners if address else ()
    return {
        "address": address,
        "endpoints": [
            {"name": item.name, "host": address, "port": item.port, "tls": item.tls}
            for item in listeners
        ],
    }


def _still_reachable(view: View) -> Object:
    """The listeners of the last spec that was applied; a balancer may have moved meanwhile."""
    service, before = view.child("Service"), view.gateway.status
    if service is None:
        return {}
    address = _balancer(service) or before.get("address", "")
    return {
        "address": address,
        "endpoints": [{**item, "host": address} for item in before.get("endpoints", ())],
    }


def _address(view: View) -> str:
    """A balancer's address, else the Service's name; nothing before it is known."""
    service = view.child("Service")
    if service is None:
        return ""
    if view.gateway.spec.service.type != "LoadBalancer":
        return names.service_host(view.gateway.key)
    return _balancer(service)


def _balancer(service: Object) -> str:
    ingress: list[dict[str, Any]] = service.get("status", {}).get("loadBalancer", {}).get(
        "ingress"
    ) or [{}]
    return str(ingress[0].get("hostname") or ingress[0].get("ip") or "")


def _tls(view: View) -> Object:
    certificate = found(view.gateway, view.facts)
    if certificate is None:
        return {}
    tls = view.gateway.spec.tls
    made: Object = {
        "secretName": names.tls_secret(view.gateway),
        "notAfter": timestamp(certificate.not_after),
        "issuer": certificate.issuer[:ISSUER_LENGTH],
        "dnsNames": list(certificate.dns_names[:SHOWN_NAMES]),
    }
    if tls.secret_name is None:
        made["renewAt"] = timestamp(certificate.renew_at(tls.renew_before_days))
    return made


def _rollout(view: View) -> Object:
    now = state(view)
    before = view.gateway.status.get("rollout", {})
    made: Object = {"state": str(now), "wave": view.gateway.spec.rollout.wave}
    if now is not State.IDLE:
        same = before.get("state") == now and (
            view.gateway.status.get("targetRevision") == view.draft.target_revision
        )
        made["startedAt"] = (same and before.get("startedAt")) or timestamp(view.facts.now)
    return made
