"""The one place that makes names, labels and annotations.

A gateway's name has at most 40 characters (a rule of the CRD), so the longest name made here,
``<name>-start-<hash>``, stays a DNS label of at most 63.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtp_operator.fleet.model import Gateway, Key, Object, Ref

GROUP = "smtp.cakemail.com"
API_VERSION = f"{GROUP}/v1alpha1"
KIND = "SmtpGateway"

MANAGED_BY = "app.kubernetes.io/managed-by"
OPERATOR = "smtp-operator"
COMPONENT = "smtp-gateway"
CONTAINER = "gateway"

REVISION = f"{GROUP}/revision"  # of what reaches the pod, on the Deployment
INPUTS = f"{GROUP}/inputs"  # of what the user asked for of the pod, on the Deployment
CONFIG = f"{GROUP}/config"  # of the live configuration, on its ConfigMap
UPGRADED = f"{GROUP}/upgraded"  # the revision that an upgrade brought to a sound fleet, likewise
TEMPLATE = f"{GROUP}/template"  # the pod template that we applied last, likewise
APPROVE = f"{GROUP}/approve"  # the user's: a target revision that may be rolled out

CHILDREN = {MANAGED_BY: OPERATOR}  # the label by which children are watched

HASH_LENGTH = 10


def selector(key: Key) -> dict[str, str]:
    """Labels that tell this fleet's pods from all others; immutable in a Deployment."""
    return {"app.kubernetes.io/name": COMPONENT, "app.kubernetes.io/instance": key.name}


def serialized(labels: Mapping[str, str]) -> str:
    """A label selector as ``status.selector`` holds it."""
    return ",".join(f"{name}={value}" for name, value in sorted(labels.items()))


def labels(key: Key) -> dict[str, str]:
    """Labels of every child."""
    return {
        **selector(key),
        "app.kubernetes.io/part-of": "cakemail-smtp",
        MANAGED_BY: OPERATOR,
    }


def tls(key: Key) -> str:
    """The Secret with certificate and key that we make."""
    return f"{key.name}-tls"


def issued(key: Key) -> str:
    """The Secret that cert-manager writes; another name, so that neither takes the other's."""
    return f"{key.name}-cert-manager-tls"


def ca(key: Key) -> str:
    """The Secret with our own certification authority; no pod mounts it."""
    return f"{key.name}-ca"


def live(key: Key) -> str:
    """The ConfigMap that is read again while pods run."""
    return f"{key.name}-live"


def start(key: Key, digest: str) -> str:
    """The immutable ConfigMap that a pod starts with."""
    return f"{start_prefix(key)}{digest[:HASH_LENGTH]}"


def start_prefix(key: Key) -> str:
    """What all start ConfigMaps of a fleet begin with."""
    return f"{key.name}-start-"


def metrics(key: Key) -> str:
    """The headless Service that a ServiceMonitor finds; the public one has no such port."""
    return f"{key.name}-metrics"


def service_host(key: Key) -> str:
    """The Service's name inside the cluster."""
    return f"{key.name}.{key.namespace}.svc"


def service_names(key: Key) -> tuple[str, ...]:
    """All names under which pods of the cluster reach the Service, the fullest first."""
    return (
        f"{key.name}.{key.namespace}.svc.cluster.local",
        service_host(key),
        f"{key.name}.{key.namespace}",
        key.name,
    )


def tls_secret(gateway: Gateway) -> str:
    """The Secret that pods mount: the user's, or the one that is made for them."""
    if gateway.spec.tls.cert_manager is not None:
        return issued(gateway.key)
    return gateway.spec.tls.secret_name or tls(gateway.key)


def refs(gateway: Gateway) -> frozenset[Ref]:
    """Every fixed name that this fleet uses; what to look for strangers under."""
    key = gateway.key
    name = key.name
    found = {
        Ref("ServiceAccount", name),
        Ref("ConfigMap", live(key)),
        Ref("Service", name),
        Ref("Deployment", name),
    }
    spec = gateway.spec
    wanted = (
        (spec.tls.self_signed is not None, Ref("Secret", ca(key))),
        (spec.tls.self_signed is not None, Ref("Secret", tls(key))),
        (spec.tls.cert_manager is not None, Ref("Certificate", name)),
        (spec.autoscaling is not None, Ref("HorizontalPodAutoscaler", name)),
        (spec.disruption.enabled, Ref("PodDisruptionBudget", name)),
        (spec.network_policy.enabled, Ref("NetworkPolicy", name)),
        (spec.monitoring.service_monitor.enabled, Ref("Service", metrics(key))),
        (spec.monitoring.service_monitor.enabled, Ref("ServiceMonitor", name)),
        (spec.monitoring.alerts.enabled, Ref("PrometheusRule", name)),
    )
    return frozenset(found | {ref for asked, ref in wanted if asked})


def metadata(
    gateway: Gateway, name: str, *, annotations: Mapping[str, str] | None = None
) -> Object:
    """``metadata`` of a child: labels, and an owner reference by which it dies with the gateway.

    No ``blockOwnerDeletion``: setting it needs a right on the owner's ``finalizers``.
    """
    made: Object = {
        "name": name,
        "namespace": gateway.key.namespace,
        "labels": labels(gateway.key),
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": gateway.key.name,
                "uid": gateway.uid,
                "controller": True,
            }
        ],
    }
    if annotations:
        made["annotations"] = dict(annotations)
    return made
