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


@pytest.mark.parametrize(
    "host",
    ["api.backend.svc", "api.backend.svc.cluster.local", "p0.api.backend.svc.cluster.local"],
)
def test_the_namespace_of_an_api_in_the_cluster_stands_before_svc(host: str) -> None:
    """A pod of a headless Service has a name of its own before the Service's."""
    _, towards = rules(cakemail={"apiUrl": f"https://{host}"})["egress"]
    (peer,) = towards["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "backend"}


def test_a_name_without_a_namespace_is_reached_by_its_port() -> None:
    """It is no Service's name, so no namespace can be meant."""
    assert rules(cakemail={"apiUrl": "https://api.svc"})["egress"] == [DNS, {"ports": [tcp(443)]}]


def test_further_egress_is_the_user_s() -> None:
    """Appended as it is."""
    extra = {"ports": [tcp(4317)]}
    assert rules(networkPolicy={"extraEgress": [extra]})["egress"][-1] == extra


def test_it_can_be_switched_off() -> None:
    """Then there is none."""
    objects = rendered(a_gateway(networkPolicy={"enabled": False}), some_facts())
    assert [o for o in objects if o["kind"] == "NetworkPolicy"] == []
