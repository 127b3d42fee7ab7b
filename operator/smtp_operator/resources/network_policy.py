"""The NetworkPolicy: mail and metrics in, names and the API out, nothing else.

Probes need no rule: traffic between a pod and its own node is always allowed.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.fleet.names import selector
from smtp_operator.fleet.rules import CLUSTER_SUFFIXES
from smtp_operator.fleet.spec import HEALTH_PORT, Spec
from smtp_operator.resources.child import child, filled

DNS_PORT = 53
DEFAULT_PORTS = {"https": 443, "http": 80}


def network_policy(gateway: Gateway) -> Object:
    """For this fleet's pods only."""
    return child(
        gateway,
        "networking.k8s.io/v1",
        "NetworkPolicy",
        gateway.key.name,
        spec={
            "podSelector": {"matchLabels": selector(gateway.key)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(gateway.spec),
            "egress": _egress(gateway.spec),
        },
    )


def _ingress(spec: Spec) -> list[Object]:
    mail = [_tcp(listener.container_port) for listener in spec.listeners]
    everyone_in_the_cluster: list[Object] = [{"namespaceSelector": {}}]
    return [
        filled(ports=mail, **{"from": list(spec.network_policy.clients)}),
        {
            "ports": [_tcp(HEALTH_PORT)],
            "from": list(spec.network_policy.metrics_from) or everyone_in_the_cluster,
        },
    ]


def _egress(spec: Spec) -> list[Object]:
    # To anywhere: a node-local DNS cache has an address outside of the cluster's ranges.
    dns: Object = {"ports": [{"port": DNS_PORT, "protocol": "UDP"}, _tcp(DNS_PORT)]}
    urls = [spec.cakemail.api_url, spec.cakemail.auth_url or spec.cakemail.api_url]
    rules = [_towards(url) for url in dict.fromkeys(urls)]
    distinct = [rule for place, rule in enumerate(rules) if rule not in rules[:place]]
    return [dns, *distinct, *spec.network_policy.extra_egress]


def _towards(url: str) -> Object:
    """A public API by its port; one in the cluster by its namespace.

    A policy sees a Service's pods, on ports of their own, not the Service's port; and a name
    outside of the cluster has no address that would stay.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    namespace = _namespace(host)
    if namespace:
        labels = {"kubernetes.io/metadata.name": namespace}
        return {"to": [{"namespaceSelector": {"matchLabels": labels}}]}
    return {"ports": [_tcp(parts.port or DEFAULT_PORTS[parts.scheme])]}


def _namespace(host: str) -> str:
    """Of a name in the cluster, "" of any other.

    A Service's is ``api.backend.svc``; one of its pods has a name of its own before that, as
    ``p0.api.backend.svc`` (DNS-based service discovery, Kubernetes 1.1.0, 2.4.1).
    """
    for suffix in CLUSTER_SUFFIXES:
        service, _, namespace = host.removesuffix(suffix).rpartition(".")
        if host.endswith(suffix) and service:
            return namespace
    return ""


def _tcp(port: int) -> Object:
    return {"port": port, "protocol": "TCP"}
