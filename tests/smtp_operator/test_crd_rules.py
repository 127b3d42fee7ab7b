"""A real API server takes the CRD, refuses bad examples with their messages, fills in defaults."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from smtp_operator.fleet.spec import read_spec
from tests.support.gateways import Gateways
from tests.support.kubernetes import Kubernetes
from tests.support.smtpgateway import MINIMAL, Example, documents, examples, gateway, samples

pytestmark = pytest.mark.needs("api")

INTRODUCTIONS = {  # the API server's words before a rule's message, by its reason
    "FieldValueInvalid": "Invalid value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
}


@pytest.mark.parametrize("example", [e for e in examples() if e.accepted], ids=str)
def test_a_good_example_is_taken(gateways: Gateways, example: Example) -> None:
    """Every rule has something that passes it."""
    answer = gateways.try_out(example.body())

    assert answer.causes == []
    assert answer.status == 201


@pytest.mark.parametrize("example", [e for e in examples() if not e.accepted], ids=str)
def test_a_bad_example_is_refused_with_exactly_its_message(
    gateways: Gateways, example: Example
) -> None:
    """One cause: the field that has to change, the reason, and what to do."""
    answer = gateways.try_out(example.body())

    assert answer.status == 422
    (cause,) = answer.causes
    assert (cause.field, cause.reason) == (example.at, example.reason)
    introduction, message, rest = cause.message.partition(example.message)
    assert message == example.message
    assert rest == ""
    assert introduction.startswith(INTRODUCTIONS[example.reason])
    assert introduction.endswith(": ")


def test_two_listeners_of_one_name_are_refused(gateways: Gateways) -> None:
    """The list is a map by name."""
    listeners = [{"name": "smtp", "port": 25}, {"name": "smtp", "port": 2526}]

    (cause,) = gateways.try_out(gateway("mail", {**MINIMAL, "listeners": listeners})).causes

    assert (cause.reason, cause.field) == ("FieldValueDuplicate", "spec.listeners[1]")
    assert cause.message.endswith('{"name":"smtp"}')  # older servers name a type of Go before it


def test_an_unknown_field_is_refused_by_its_name(gateways: Gateways) -> None:
    """What kubectl asks for by default: a misspelt field does not get lost."""
    answer = gateways.try_out(gateway("mail", {**MINIMAL, "replica": 3}))

    assert answer.status == 400
    assert 'unknown field "spec.replica"' in answer.body["message"]


def test_the_api_server_and_the_model_fill_in_the_same_defaults(gateways: Gateways) -> None:
    """What is stored reads as what was written."""
    for spec in (MINIMAL, {**MINIMAL, "autoscaling": {}, "podTemplate": {}}):
        stored = gateways.try_out(gateway("mail", spec)).body["spec"]

        assert stored != spec
        assert read_spec(stored) == read_spec(spec)


def test_the_largest_spec_is_within_the_cost_of_rules(gateways: Gateways) -> None:
    """Lists and maps at their upper bounds, all of which rules walk through."""
    answer = gateways.try_out(gateway("m" * 40, largest()))

    assert answer.causes == []
    assert answer.status == 201
    assert read_spec(largest()).service.type == "LoadBalancer"


def largest() -> dict[str, Any]:
    """As much of everything with a rule as the schema allows."""
    quantities = {f"example.com/{'r' * 50}{number}": "1.5e2" for number in range(8)}
    host = ".".join(["a" * 60] * 4)
    url = f"https://{host}/".ljust(512, "p")
    return {
        "tls": {
            "certManager": {"issuerRef": {"name": host, "group": host, "kind": "K" * 63}},
            "dnsNames": [host] * 64,
        },
        "cakemail": {"apiUrl": url, "authUrl": url},
        "listeners": [
            {"name": f"listener-{number}", "port": 60000 + number, "nodePort": 30000 + number}
            for number in range(8)
        ],
        "service": {
            "type": "LoadBalancer",
            "loadBalancerSourceRanges": ["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128"] * 64,
            "proxyProtocol": {
                "enabled": True,
                "trustedCIDRs": ["2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128"] * 32,
            },
        },
        "resources": {"requests": quantities, "limits": quantities},
    }


@pytest.mark.parametrize("sample", samples(), ids=lambda path: str(path.name))
def test_every_sample_is_taken(kubernetes: Kubernetes, gateways: Gateways, sample: Any) -> None:
    """With all its fields known, and every other object in it as well."""
    for body in documents(sample):
        if body["kind"] == "SmtpGateway":
            answer = gateways.try_out(body)
            assert (answer.causes, answer.status) == ([], 201)
        else:
            options = ("--dry-run=server", "--validate=strict", "--filename=-")
            assert "created" in kubernetes.kubectl("apply", *options, stdin=yaml.safe_dump(body))


def test_the_columns_are_printed(kubernetes: Kubernetes, gateways: Gateways) -> None:
    """The list of gateways has a heading for each column."""
    with kubernetes.namespace() as namespace:
        body = gateway("mail", MINIMAL)
        body["metadata"]["namespace"] = namespace
        kubernetes.apply(body)
        where = ("--namespace", namespace)

        plain = kubernetes.kubectl("get", "smtpgw", *where).split()
        wide = kubernetes.kubectl("get", "cakemail", "--output=wide", *where).split()
        kubernetes.kubectl("scale", "smtpgw/mail", "--replicas=5", *where)

        assert plain[:6] == ["NAME", "READY", "REASON", "PODS", "ADDRESS", "AGE"]
        assert wide[6:10] == ["IMAGE", "REVISION", "CERT-UNTIL", "PAUSED"]
        assert kubernetes.get("smtpgw/mail", namespace)["spec"]["replicas"] == 5
