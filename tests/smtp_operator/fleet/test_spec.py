"""Reading a spec: defaults, errors that help, and what is left aside."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from smtp_operator.errors import SpecInvalid
from smtp_operator.fleet.fields import FORMS
from smtp_operator.fleet.spec import Autoscaling, Listener, check_name, read_spec
from tests.support.smtpgateway import said_by_model

MINIMAL: dict[str, Any] = {"tls": {"selfSigned": {}}}


def fault(**given: Any) -> str:
    """What is wrong with the smallest spec, changed."""
    with pytest.raises(SpecInvalid) as refusal:
        read_spec({**MINIMAL, **given})
    return refusal.value.detail


def test_only_a_certificate_has_to_be_named() -> None:
    """Everything else has a default, the same as the API server's."""
    spec = read_spec(MINIMAL)

    assert spec.replicas == 2
    assert spec.image is None
    assert spec.listeners == (
        Listener(name="submission", port=587, tls="StartTLS"),
        Listener(name="submissions", port=465, tls="Implicit"),
    )
    assert spec.cakemail.api_url == "https://api.cakemail.dev"
    assert not spec.cakemail.tracking.opens
    assert spec.limits.max_message_bytes == 26_214_400
    assert spec.drain.grace_period_seconds == 120
    assert spec.rollout.max_surge == "25%"
    assert spec.resources.limits == {"cpu": "1000m", "memory": "1Gi"}
    assert spec.network_policy.enabled
    assert spec.autoscaling is None
    assert spec.pod_template is None


def test_a_block_that_is_there_has_its_own_defaults() -> None:
    """``autoscaling: {}`` switches it on."""
    assert read_spec({**MINIMAL, "autoscaling": {}}).autoscaling == Autoscaling(
        min_replicas=2, max_replicas=20, target_cpu_utilization_percentage=70
    )


def test_names_with_capitals_are_read() -> None:
    """CPU and CIDRs are written as Kubernetes writes them."""
    proxies = {"enabled": True, "trustedCIDRs": ["10.0.0.0/8"]}
    spec = read_spec(
        {
            **MINIMAL,
            "autoscaling": {"targetCPUUtilizationPercentage": 55},
            "service": {"proxyProtocol": proxies},
        }
    )

    assert spec.autoscaling is not None
    assert spec.autoscaling.target_cpu_utilization_percentage == 55
    assert spec.service.proxy_protocol.trusted_cidrs == ("10.0.0.0/8",)


def test_what_belongs_to_another_api_is_passed_on_as_it_is() -> None:
    """Affinity, tolerations, peers and the pod template are not looked into."""
    toleration = {"key": "spot", "operator": "Exists"}
    container = {"name": "gateway", "env": [{"name": "SMTP_POSTMASTER", "value": "p@example.com"}]}
    spec = read_spec(
        {
            **MINIMAL,
            "scheduling": {"tolerations": [toleration]},
            "podTemplate": {"spec": {"containers": [container]}},
        }
    )

    assert spec.scheduling.tolerations == (toleration,)
    assert spec.pod_template is not None
    assert spec.pod_template.spec == {"containers": [container]}
    assert spec.pod_template.metadata.labels == {}


def test_a_field_of_a_newer_schema_is_left_aside() -> None:
    """CRDs are upgraded before the operator; that must not stop a fleet."""
    assert read_spec({**MINIMAL, "workers": 4}) == read_spec(MINIMAL)


def test_a_spec_cannot_be_changed() -> None:
    """What was decided on is what is rendered."""
    spec = read_spec(MINIMAL)

    with pytest.raises(ValidationError):
        spec.replicas = 3


def test_reading_does_not_share_a_default_between_two_specs() -> None:
    """A map of one is not a map of the other."""
    assert read_spec(MINIMAL).resources.limits is not read_spec(MINIMAL).service.labels


def test_a_missing_block_is_named() -> None:
    """The one thing that has no default."""
    with pytest.raises(SpecInvalid) as refusal:
        read_spec({})

    assert refusal.value.detail == "spec.tls: is required"


@pytest.mark.parametrize(
    ("given", "detail"),
    [
        ({"replicas": -1}, "spec.replicas: must be at least 0"),
        ({"replicas": 201}, "spec.replicas: must be at most 200"),
        ({"replicas": "2"}, "spec.replicas: must be a whole number"),
        ({"replicas": None}, "spec.replicas: must be a whole number"),
        ({"paused": "yes"}, "spec.paused: must be true or false"),
        ({"image": 7}, "spec.image: must be text"),
        ({"image": ""}, "spec.image: must not be shorter than 1 characters"),
        ({"image": "x" * 513}, "spec.image: must not be longer than 512 characters"),
        ({"limits": []}, "spec.limits: must be an object"),
        ({"podTemplate": {"spec": []}}, "spec.podTemplate.spec: must be an object"),
        ({"listeners": []}, "spec.listeners: needs at least 1"),
        ({"listeners": {}}, "spec.listeners: must be a list"),
        ({"logging": {"level": "trace"}},
         "spec.logging.level: must be 'debug', 'info', 'warning' or 'error'"),
        ({"hostname": "mail_1"},
         "spec.hostname: must be a DNS name in lower case, such as mail.example.com"),
        ({"listeners": [{"name": "a", "port": 25}, {"name": "b"}]},
         "spec.listeners[1].port: is required"),
        ({"rollout": {"maxSurge": "half"}},
         "spec.rollout.maxSurge: must be a number from 0 to 200, or one such as 25%"),
        ({"rollout": {"maxSurge": 201}},
         "spec.rollout.maxSurge: must be a number from 0 to 200, or one such as 25%"),
        ({"resources": {"limits": {"memory": "1 GB"}}},
         "spec.resources.limits.memory: must be a quantity such as 500m, 2 or 512Mi"),
        ({"resources": {"limits": {str(n): 1 for n in range(9)}}},
         "spec.resources.limits: must have at most 8 entries"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_told_with_its_path_and_what_to_do(
    given: dict[str, Any], detail: str
) -> None:
    """The sentence stands in a condition, where its reader has nothing else."""
    assert fault(**given) == detail


def test_a_value_is_never_repeated() -> None:
    """A pod template may hold what nobody should read in a condition."""
    assert "hunter2" not in fault(image={"password": "hunter2"}, hostname="hunter2!")


def test_all_faults_are_told_at_once() -> None:
    """One line for a condition."""
    assert fault(replicas=-1, paused=1) == (
        "spec.replicas: must be at least 0; spec.paused: must be true or false"
    )


def test_a_name_that_children_cannot_carry_is_refused() -> None:
    """The API server says the same, unless the rule came later than the object."""
    with pytest.raises(SpecInvalid) as refusal:
        check_name("1st")

    assert refusal.value.detail == (
        "metadata.name: name must be a DNS label of at most 40 characters that starts with a "
        "letter; Services are named after it"
    )
    check_name("first")


def test_every_pattern_is_told_in_words() -> None:
    """A reader of a condition gets no regular expression."""
    patterns = {
        str(facts.stated["pattern"])
        for facts in said_by_model().values()
        if facts.stated.get("type") == "string" and "pattern" in facts.stated
    }
    assert patterns == FORMS.keys()


@pytest.mark.parametrize("sender", ["${HOME}", "a b", "a\nLOG_LEVEL=DEBUG", "é"])
def test_a_sender_cannot_become_another_setting(sender: str) -> None:
    """It is written into a file of settings, one a line."""
    assert fault(cakemail={"defaultSenderId": sender}) == (
        "spec.cakemail.defaultSenderId: must be ASCII letters, digits and signs, "
        "without spaces and $"
    )
