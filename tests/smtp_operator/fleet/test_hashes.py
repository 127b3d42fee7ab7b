"""Hashes change when pods must restart, and at no other time."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet import hashes
from smtp_operator.fleet.spec import Spec
from tests.support.fleets import a_gateway


def test_the_order_of_keys_does_not_count() -> None:
    """Canonical JSON sorts them."""
    assert hashes.digest({"a": 1, "b": 2}) == hashes.digest({"b": 2, "a": 1})


def test_a_hash_is_the_same_in_every_release() -> None:
    """It is compared with one that an older operator wrote: this text may never change."""
    assert hashes.digest({"a": ["é", 1, None]}, "x") == "5bb1ba5a4ea3f429"


def test_two_values_are_not_one() -> None:
    """Their border counts."""
    assert hashes.digest("ab", "c") != hashes.digest("a", "bc")


OUTSIDE: list[dict[str, Any]] = [
    {"replicas": 7},
    {"autoscaling": {}},
    {"disruption": {"enabled": False}},
    {"monitoring": {"alerts": {"enabled": True}}},
    {"networkPolicy": {"enabled": False}},
    {"paused": True},
    {"rollout": {"wave": 1}},
    {"service": {"type": "LoadBalancer", "annotations": {"a": "b"}}},
    {"cakemail": {"tags": ["a"], "tracking": {"opens": True}, "listId": 4}},
    {"limits": {"maxRecipients": 5, "maxConnections": 9, "idleTimeoutSeconds": 60}},
    {"logging": {"level": "debug"}},
    {"postmaster": "postmaster@example.com"},
    {"authentication": {"mechanisms": ["LOGIN"], "maxCacheSeconds": 0, "lockout": {"perLogin": 3}}},
    {"cakemail": {"inlineImages": "Refuse", "allowSecondSending": True}},
    {"limits": {"maxConnectionsPerClient": 5, "maxConnectionsPerLogin": 5}},
]


@pytest.mark.parametrize("change", OUTSIDE, ids=lambda change: next(iter(change)))
def test_what_never_reaches_a_pod_is_no_users_edit_of_it(change: dict[str, Any]) -> None:
    """Scaling a fleet must not let a waiting operator upgrade through."""
    assert hashes.inputs(a_gateway(**change).spec) == hashes.inputs(a_gateway().spec)


INSIDE: list[dict[str, Any]] = [
    {"image": "registry.example/other:1"},
    {"hostname": "smtp.example.com"},
    {"tls": {"secretName": "bought"}},
    {"tls": {"selfSigned": {}, "minVersion": "1.3"}},
    {"limits": {"submissionDeadlineSeconds": 20}},
    {"logging": {"clientAddress": "None"}},
    {"logging": {"format": "console"}},
    {"cakemail": {"connectTimeoutSeconds": 3}},
    {"cakemail": {"readTimeoutSeconds": 20}},
    {"drain": {"delaySeconds": 1}},
    {"resources": {"limits": {"memory": "2Gi"}}},
    {"service": {"proxyProtocol": {"enabled": True, "trustedCIDRs": ["10.0.0.0/8"]}}},
    {"podTemplate": {"metadata": {"labels": {"a": "b"}}}},
    {"listeners": [{"name": "submission", "port": 587}]},
]


@pytest.mark.parametrize("change", INSIDE, ids=str)
def test_what_reaches_a_pod_is_a_users_edit(change: dict[str, Any]) -> None:
    """It rolls at once."""
    assert hashes.inputs(a_gateway(**change).spec) != hashes.inputs(a_gateway().spec)


def test_a_stated_default_is_no_edit() -> None:
    """The API server fills defaults in, those of a newer schema too."""
    stated = a_gateway(lineEndings="Normalize", drain={"delaySeconds": 5}).spec
    assert hashes.inputs(stated) == hashes.inputs(a_gateway().spec)


def test_content_that_the_spec_only_names_counts() -> None:
    """Another CA is the user's change."""
    spec: Spec = a_gateway().spec
    assert hashes.inputs(spec, "one") != hashes.inputs(spec, "two")


def test_a_revision_is_template_and_start_configuration() -> None:
    """Either alone makes another one."""
    first = hashes.revision({"spec": {}}, {"A": "1"})
    assert hashes.revision({"spec": {}}, {"A": "2"}) != first
    assert hashes.revision({"spec": {"x": 1}}, {"A": "1"}) != first


def test_the_inputs_hash_is_the_same_in_every_release() -> None:
    """Another one for the same spec would make every operator upgrade look like users' edits."""
    gateway = a_gateway(
        hostname="smtp.example.com",
        tls={"secretName": "bought", "minVersion": "1.3"},
        limits={"submissionDeadlineSeconds": 20},
        podTemplate={"spec": {"dnsPolicy": "Default"}},
    )
    assert hashes.inputs(gateway.spec, "") == "4bba32cf2ab1b081"
