"""Services whose endpoint is a process outside of pods.

On the switch (tests, webhooks) or beside the control plane (add-ons).
"""

from __future__ import annotations

from typing import Any

from tests.cluster.programs import KUBERNETES
from tests.cluster.settings import HOST_ADDRESS

# Where a webhook or an added API is: servers up to 1.33 ask Endpoints, that of 1.36 asks slices.
SLICES_SINCE = 36


def outside_service(
    namespace: str,
    name: str,
    port: int,
    target: int,
    address: str = HOST_ADDRESS,
    protocols: tuple[str, ...] = ("TCP",),
    cluster_address: str | None = None,
) -> list[dict[str, Any]]:
    """A Service without a selector, and the endpoints that a controller would have made."""
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
    ports = [
        {"name": names[protocol], "protocol": protocol, "port": target} for protocol in protocols
    ]
    return [service, _endpoints(namespace, name, address, ports)]


def _endpoints(
    namespace: str, name: str, address: str, ports: list[dict[str, Any]]
) -> dict[str, Any]:
    """Where the Service leads, in the kind that the API server itself asks."""
    if _minor() < SLICES_SINCE:
        return {
            "apiVersion": "v1",
            "kind": "Endpoints",  # a controller mirrors it into a slice, for everybody else
            "metadata": {"namespace": namespace, "name": name},
            "subsets": [{"addresses": [{"ip": address}], "ports": ports}],
        }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": ports,
    }


def _minor() -> int:
    return int(KUBERNETES.version().split(".")[1])
