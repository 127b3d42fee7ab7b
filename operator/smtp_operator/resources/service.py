"""The Services: one for mail, and, if metrics are collected, a headless one for those.

Metrics have a Service of their own, so that a load balancer never publishes port 8080.
"""

from __future__ import annotations

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.fleet.names import metrics, selector
from smtp_operator.fleet.spec import HEALTH_PORT, HEALTH_PORT_NAME, Listener
from smtp_operator.resources.child import child, filled

METRICS_COMPONENT = {"app.kubernetes.io/component": "metrics"}


def mail_service(gateway: Gateway) -> Object:
    """What clients connect to."""
    service = gateway.spec.service
    return child(
        gateway,
        "v1",
        "Service",
        gateway.key.name,
        annotations=service.annotations,
        labels=service.labels,
        spec=filled(
            type=service.type,
            selector=selector(gateway.key),
            ports=[_port(listener) for listener in gateway.spec.listeners],
            externalTrafficPolicy=service.traffic_policy,
            ipFamilyPolicy=service.ip_family_policy,
            ipFamilies=list(service.ip_families),
            loadBalancerClass=service.load_balancer_class,
            loadBalancerSourceRanges=list(service.load_balancer_source_ranges),
        ),
    )


def _port(listener: Listener) -> Object:
    return filled(
        name=listener.name,
        port=listener.port,
        targetPort=listener.name,
        protocol="TCP",
        nodePort=listener.node_port,
    )


def metrics_service(gateway: Gateway) -> Object:
    """What a ServiceMonitor finds. Pods that are not ready are measured too."""
    return child(
        gateway,
        "v1",
        "Service",
        metrics(gateway.key),
        labels=METRICS_COMPONENT,
        spec={
            "type": "ClusterIP",
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector(gateway.key),
            "ports": [
                {
                    "name": HEALTH_PORT_NAME,
                    "port": HEALTH_PORT,
                    "targetPort": HEALTH_PORT_NAME,
                    "protocol": "TCP",
                }
            ],
        },
    )
