"""Services whose endpoint is a process outside of pods.

On the switch (tests, webhooks) or beside the control plane (add-ons).
"""

from __future__ import annotations

from typing import Any

from tests.cluster.settings import HOST_ADDRESS


def outside_service(
    namespace: str,
    name: str,
    port: int,
    target: int,
    address: str = HOST_ADDRESS,
    protocols: tuple[str, ...] = ("TCP",),
    cluster_address: str | None = None,
) -> list[dict[str, Any]]:
    """A Service without a selector, and the EndpointSlice that a controller would have made."""
    names = {protocol: f"{name}-{protocol.lower()}" for protocol in protocols}
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "ports": [
                {"name": names[protocol], "protocol": protocol, "port": port, "targetPort": target}
                for protocol in protocols
            ]
        },
    }
    if cluster_address:
        service["spec"]["clusterIP"] = cluster_address
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [
            {"name": names[protocol], "protocol": protocol, "port": target}
            for protocol in protocols
        ],
    }
    return [service, endpoints]
