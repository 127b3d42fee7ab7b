"""The Services."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.resources.service import mail_service, metrics_service
from tests.support.fleets import a_gateway


def test_the_ports_of_the_service_are_the_user_s() -> None:
    """Whatever the container listens on: pods are found by the port's name."""
    spec = mail_service(a_gateway())["spec"]
    assert spec["ports"] == [
        {"name": "submission", "port": 587, "targetPort": "submission", "protocol": "TCP"},
        {"name": "submissions", "port": 465, "targetPort": "submissions", "protocol": "TCP"},
    ]
    assert spec["type"] == "ClusterIP"


def test_the_public_service_never_shows_metrics() -> None:
    """They stand on a headless Service of their own."""
    gateway = a_gateway(service={"type": "LoadBalancer"})
    assert [port["port"] for port in mail_service(gateway)["spec"]["ports"]] == [587, 465]
    assert metrics_service(gateway)["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(
    ("service", "wanted"),
    [
        ({}, None),
        ({"type": "NodePort"}, None),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, "Local"),
        ({"type": "LoadBalancer"}, "Local"),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}, "Cluster"),
    ],
)
def test_a_balancer_keeps_the_client_s_address(service: dict[str, Any], wanted: str | None) -> None:
    """Local unless told otherwise; a ClusterIP knows no such policy."""
    made = mail_service(a_gateway(service=service))
    assert made["spec"].get("externalTrafficPolicy") == wanted


def test_a_fixed_node_port_is_asked_for() -> None:
    """Others are the cluster's to choose, so they are not sent."""
    listeners = [{"name": "a", "port": 587, "nodePort": 30587}, {"name": "b", "port": 2525}]
    gateway = a_gateway(listeners=listeners, service={"type": "NodePort"})
    first, second = mail_service(gateway)["spec"]["ports"]
    assert first["nodePort"] == 30587
    assert "nodePort" not in second
