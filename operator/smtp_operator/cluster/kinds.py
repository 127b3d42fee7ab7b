"""Which kinds there are, and where they live: a fixed table instead of discovery.

Discovery costs requests at each start, and the library's writes a cache file that can be stale or
unwritable. This operator knows its kinds; only optional ones are asked for (``client.serves``).
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from smtp_operator.fleet import model


class Kind(NamedTuple):
    """One kind of the API.

    Attributes:
        kind: as in ``kind:``.
        group: "" for the core.
        version: of the group.
        plural: as in paths.
    """

    kind: str
    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """As in ``apiVersion:``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Path of the group and version."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """Path of an object, or of all of them; namespace "" means all namespaces."""
        parts = [self.root]
        if namespace:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/".join(parts)


KINDS: dict[str, Kind] = {
    k.kind: k
    for k in (
        Kind("SmtpGateway", "smtp.cakemail.com", "v1alpha1", "smtpgateways"),
        Kind("Deployment", "apps", "v1", "deployments"),
        Kind("Service", "", "v1", "services"),
        Kind("ServiceAccount", "", "v1", "serviceaccounts"),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("Secret", "", "v1", "secrets"),
        Kind("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
        Kind("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers"),
        Kind("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
        Kind("Certificate", "cert-manager.io", "v1", "certificates"),
        Kind("ServiceMonitor", "monitoring.coreos.com", "v1", "servicemonitors"),
        Kind("PrometheusRule", "monitoring.coreos.com", "v1", "prometheusrules"),
        Kind("Event", "events.k8s.io", "v1", "events"),
        Kind("Lease", "coordination.k8s.io", "v1", "leases"),
    )
}

GATEWAY = "SmtpGateway"
OPTIONAL_KINDS = model.OPTIONAL_KINDS
CHILD_KINDS = (
    "ServiceAccount",
    "ConfigMap",
    "Secret",
    "Service",
    "NetworkPolicy",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    *OPTIONAL_KINDS,
)
