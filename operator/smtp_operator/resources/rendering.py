"""All children of one fleet, in the order in which they are applied."""

from __future__ import annotations

from smtp_operator.fleet import hashes, names
from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import Decision, Draft, Fault
from smtp_operator.fleet.model import Facts, Gateway, Object
from smtp_operator.resources import live, overlay, pod, pod_security, variables
from smtp_operator.resources.autoscaler import autoscaler
from smtp_operator.resources.certificate import cert_manager_certificate, self_signed_secrets
from smtp_operator.resources.configuration import live_config, start_config, start_name
from smtp_operator.resources.deployment import deployment
from smtp_operator.resources.disruption_budget import disruption_budget
from smtp_operator.resources.key_material import KeySource, RandomKeys
from smtp_operator.resources.monitor import prometheus_rule, service_monitor
from smtp_operator.resources.network_policy import network_policy
from smtp_operator.resources.service import mail_service, metrics_service
from smtp_operator.resources.service_account import service_account

__all__ = ["Draft", "draft", "render"]


def draft(gateway: Gateway, facts: Facts) -> Draft:
    """What would reach the pod, and its hashes. Never raises; see ``Draft.faults``."""
    start = variables.start(gateway)
    text = live.text(gateway.spec)
    trust = _trust(gateway, facts)
    plain = pod.template(gateway, facts, start=start_name(gateway.key, start), trust=trust)
    template, faults = _overlaid(gateway, plain)
    return Draft(
        template=template,
        start=start,
        live=text,
        target_revision=hashes.revision(template, start),
        config_hash=live.content_hash(text),
        inputs_hash=hashes.inputs(gateway.spec, trust),
        faults=tuple(faults),
    )


def _trust(gateway: Gateway, facts: Facts) -> str:
    ref = gateway.spec.cakemail.ca_config_map_ref
    if ref is None:
        return ""
    return hashes.digest((facts.config_maps.get(ref.name) or {}).get(ref.key, ""))


def _overlaid(gateway: Gateway, plain: Object) -> tuple[Object, list[Fault]]:
    """The user's layer on top, and what speaks against it."""
    layer = gateway.spec.pod_template
    if layer is None:
        return plain, []
    metadata = layer.metadata.model_dump()
    try:
        template = overlay.merge(plain, {"metadata": metadata, "spec": layer.spec})
    except overlay.OverlayMalformed as error:
        return plain, [Fault(Reason.POD_TEMPLATE_REJECTED, f"spec.{error}")]
    return template, [*_identity_faults(gateway, template), *_security_faults(template)]


def _identity_faults(gateway: Gateway, template: Object) -> list[Fault]:
    """What the Deployment, the Service and the autoscaler find pods by must stay."""
    labels = template["metadata"]["labels"]
    changed = [
        name for name, value in names.labels(gateway.key).items() if labels.get(name) != value
    ]
    return [
        Fault(
            Reason.POD_TEMPLATE_REJECTED,
            f"spec.podTemplate.metadata.labels must not change {name}; pods are found by it",
        )
        for name in changed
    ]


def _security_faults(template: Object) -> list[Fault]:
    found = pod_security.violations(template)
    if not found:
        return []
    text = "spec.podTemplate breaks Pod Security restricted; correct it: " + "; ".join(found)
    return [Fault(Reason.POD_SECURITY_VIOLATION, text)]


def render(
    gateway: Gateway, facts: Facts, decision: Decision, keys: KeySource | None = None
) -> list[Object]:
    """The children, complete with names, labels and owner references.

    Equal arguments give equal objects, unless ``decision.issue_certificate`` asks for a new key,
    which then comes from ``keys``, by default from the operating system.
    """
    return [
        service_account(gateway),
        *_certificate(gateway, facts, decision, keys or RandomKeys()),
        *_configuration(gateway, decision),
        *_network(gateway),
        *_pods(gateway, facts, decision),
        *_monitoring(gateway, facts, decision.draft),
    ]


def _certificate(
    gateway: Gateway, facts: Facts, decision: Decision, keys: KeySource
) -> list[Object]:
    tls = gateway.spec.tls
    if tls.self_signed is not None:
        return self_signed_secrets(gateway, facts, keys, issue=decision.issue_certificate)
    if tls.cert_manager is not None and "Certificate" in facts.kinds:
        return [cert_manager_certificate(gateway, tls.cert_manager)]
    return []


def _configuration(gateway: Gateway, decision: Decision) -> list[Object]:
    """A held fleet keeps its old start configuration; the live one it gets at once."""
    kept = [live_config(gateway, decision.draft)]
    return kept if decision.hold else [start_config(gateway, decision.draft), *kept]


def _network(gateway: Gateway) -> list[Object]:
    spec = gateway.spec
    services = [mail_service(gateway)]
    if spec.monitoring.service_monitor.enabled:
        services.append(metrics_service(gateway))
    return [*services, network_policy(gateway)] if spec.network_policy.enabled else services


def _pods(gateway: Gateway, facts: Facts, decision: Decision) -> list[Object]:
    """The autoscaler first: the Deployment loses ``replicas`` only to somebody who is there."""
    spec = gateway.spec
    scaler = [autoscaler(gateway, spec.autoscaling)] if spec.autoscaling is not None else []
    budget = [disruption_budget(gateway)] if spec.disruption.enabled else []
    return [*scaler, deployment(gateway, facts, decision), *budget]


def _monitoring(gateway: Gateway, facts: Facts, made: Draft) -> list[Object]:
    monitoring = gateway.spec.monitoring
    objects = []
    if monitoring.service_monitor.enabled and "ServiceMonitor" in facts.kinds:
        objects.append(service_monitor(gateway))
    if monitoring.alerts.enabled and "PrometheusRule" in facts.kinds:
        objects.append(prometheus_rule(gateway, made.config_hash))
    return objects
