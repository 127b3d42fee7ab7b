"""What follows from a field, for those who render it."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.fields import Spec
from smtp_operator.fleet.spec import read_spec


def spec(**given: Any) -> Spec:
    """The smallest spec, changed."""
    return read_spec({"tls": {"selfSigned": {}}, **given})


@pytest.mark.parametrize(
    ("port", "inside"), [(25, 2025), (465, 2465), (587, 2587), (1023, 3023), (1024, 1024)]
)
def test_a_container_needs_no_right_for_its_port(port: int, inside: int) -> None:
    """Ports below 1024 listen 2000 higher."""
    tls = "Implicit" if port == 465 else "StartTLS"
    (listener,) = spec(listeners=[{"name": "smtp", "port": port, "tls": tls}]).listeners

    assert listener.container_port == inside


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "30%"}, {"maxUnavailable": "30%"}),
        ({"minAvailable": 2}, {"minAvailable": 2}),
        ({"minAvailable": 0}, {"minAvailable": 0}),
    ],
)
def test_a_budget_has_one_field(given: dict[str, Any], budget: dict[str, Any]) -> None:
    """One pod may be away unless something else is said."""
    assert spec(disruption=given).disruption.budget == budget


@pytest.mark.parametrize(
    ("service", "policy"),
    [
        ({}, None),
        ({"type": "NodePort"}, None),
        ({"type": "LoadBalancer"}, "Local"),
        ({"type": "LoadBalancer", "externalTrafficPolicy": "Cluster"}, "Cluster"),
        ({"type": "NodePort", "externalTrafficPolicy": "Local"}, "Local"),
    ],
)
def test_a_balancer_keeps_the_clients_address(service: dict[str, Any], policy: str | None) -> None:
    """Local is the default there, and nowhere else."""
    assert spec(service=service).service.traffic_policy == policy


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "mail.team.svc"),
        ({"tls": {"secretName": "t", "dnsNames": ["*.example.com"]}}, "mail.team.svc"),
        ({"tls": {"secretName": "t", "dnsNames": ["*.b.example", "a.example"]}}, "a.example"),
        ({"tls": {"secretName": "t", "dnsNames": ["a.example"]}, "hostname": "h.example"},
         "h.example"),
    ],
)  # fmt: skip
def test_the_gateway_greets_by_a_name_that_its_certificate_has(
    given: dict[str, Any], name: str
) -> None:
    """Never by a wildcard."""
    assert spec(**given).greeting_name("mail.team.svc") == name
