"""The NetworkPolicy."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.model import Object
from tests.support.fleets import a_gateway, find, rendered, some_facts


def rules(**spec: Any) -> Object:
    """Its spec."""
    made: Object = find(rendered(a_gateway(**spec), some_facts()), "NetworkPolicy")["spec"]
    return made


def tcp(port: int) -> Object:
    """One port."""
    return {"port": port, "protocol": "TCP"}


DNS = {"ports": [{"port": 53, "protocol": "UDP"}, tcp(53)]}


def test_mail_comes_from_anywhere_and_metrics_from_the_cluster() -> None:
    """On the container's ports, not the Service's."""
    assert rules()["ingress"] == [
        {"ports": [tcp(2587), tcp(2465)]},
        {"ports": [tcp(8080)], "from": [{"namespaceSelector": {}}]},
    ]


def test_named_peers_replace_anyone() -> None:
    """For mail and for metrics."""
    clients: Object = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    scrapers: Object = {"podSelector": {}}
    made = rules(networkPolicy={"clients": [clients], "metricsFrom": [scrapers]})["ingress"]
    assert [rule["from"] for rule in made] == [[clients], [scrapers]]


@pytest.mark.parametrize(
    ("cakemail", "egress"),
    [
        ({}, [{"ports": [tcp(443)]}]),
        ({"apiUrl": "https://api.example.com:8443"}, [{"ports": [tcp(8443)]}]),
        (
            {"apiUrl": "https://a.example.com", "authUrl": "https://b.example.com/token"},
            [{"ports": [tcp(443)]}],
        ),
        (
            {"apiUrl": "https://a.example.com", "authUrl": "https://b.example.com:9443"},
            [{"ports": [tcp(443)]}, {"ports": [tcp(9443)]}],
        ),
        (
            {"apiUrl": "http://sandbox.tests.svc:8000"},
            [
                {
                    "to": [
                        {
                            "namespaceSelector": {
                                "matchLabels": {"kubernetes.io/metadata.name": "tests"}
                            }
                        }
                    ]
                }
            ],
        ),
    ],
)
def test_only_names_and_the_api_are_reached(cakemail: dict[str, str], egress: list[Object]) -> None:
    """An API in the cluster by its namespace: a policy sees pods, not a Service's port."""
    assert rules(cakemail=cakemail)["egress"] == [DNS, *egress]


def test_further_egress_is_the_user_s() -> None:
    """Appended as it is."""
    extra = {"ports": [tcp(4317)]}
    assert rules(networkPolicy={"extraEgress": [extra]})["egress"][-1] == extra


def test_it_can_be_switched_off() -> None:
    """Then there is none."""
    objects = rendered(a_gateway(networkPolicy={"enabled": False}), some_facts())
    assert [o for o in objects if o["kind"] == "NetworkPolicy"] == []
