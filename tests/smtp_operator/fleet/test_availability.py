"""Degraded and Ready: whether a fleet works, and whether as asked."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.availability import wanted_pods
from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.decision import Failure
from smtp_operator.fleet.draft import View, Word
from smtp_operator.fleet.model import Facts, Gateway, Ref
from smtp_operator.resources.rendering import draft
from tests.support.fleets import (
    a_gateway,
    condition,
    decided,
    issued_secrets,
    running,
    some_facts,
)

RAN = {"currentRevision": "1"}
SEE = (
    "to see why: kubectl describe pods "
    "--selector=app.kubernetes.io/instance=mail,app.kubernetes.io/name=smtp-gateway"
)


def fleet(spec: dict[str, Any], **pods: Any) -> tuple[Gateway, Facts]:
    """One that has run before, with a certificate."""
    gateway = a_gateway(status=RAN, **spec)
    facts = some_facts(secrets=issued_secrets(gateway, some_facts()))
    return gateway, running(gateway, facts, **pods)


@pytest.mark.parametrize(
    ("spec", "replicas", "wanted"),
    [
        ({"replicas": 2}, 2, 1),
        ({"replicas": 1}, 1, 1),
        ({"replicas": 0}, 0, 0),
        ({"replicas": 5}, 5, 4),
        ({"replicas": 5, "disruption": {"maxUnavailable": "25%"}}, 5, 3),
        ({"replicas": 5, "disruption": {"minAvailable": 3}}, 5, 3),
        ({"replicas": 5, "disruption": {"minAvailable": "50%"}}, 5, 3),
        ({"replicas": 2, "disruption": {"minAvailable": 9}}, 2, 2),
        ({"autoscaling": {"minReplicas": 2}}, 10, 9),
    ],
)
def test_ready_wants_what_the_disruption_budget_keeps(
    spec: dict[str, Any], replicas: int, wanted: int
) -> None:
    """Percentages are rounded up, as the budget's own controller does it."""
    gateway, facts = fleet(spec, replicas=replicas)
    assert wanted_pods(View(gateway, facts, draft(gateway, facts))) == wanted


def test_the_first_start_is_ready_when_all_pods_are() -> None:
    """`kubectl wait` after `apply` then means a whole fleet."""
    gateway = a_gateway(replicas=3)
    secrets = issued_secrets(gateway, some_facts())
    for ready, wanted in ((2, "False"), (3, "True")):
        facts = running(gateway, some_facts(secrets=secrets), replicas=3, ready=ready)
        facts.children[Ref("Deployment", "mail")]["status"]["conditions"] = []
        assert condition(decided(gateway, facts), "Ready")[0] == wanted


def test_too_few_pods_are_told_by_number() -> None:
    """Both numbers, and how many are needed."""
    gateway, facts = fleet({"replicas": 3}, replicas=3, ready=1)
    assert condition(decided(gateway, facts), "Ready") == (
        "False",
        "PodsUnavailable",
        f"1 of 3 pods are ready, at least 2 are needed; {SEE}",
    )


def test_a_fleet_scaled_to_zero_under_its_autoscaler_is_told_what_starts_it() -> None:
    """Kubernetes takes zero for a pause of the autoscaler; there are no pods to describe."""
    gateway, facts = fleet({"autoscaling": {"minReplicas": 3}}, replicas=0)
    decision = decided(gateway, facts)
    start = (
        "somebody scaled them to 0, where an autoscaler rests; to start them: "
        "kubectl scale deployment mail --replicas=3"
    )
    assert condition(decision, "Degraded") == (
        "True", "PodsUnavailable", f"0 of 3 pods are ready; {start}",
    )  # fmt: skip
    assert condition(decision, "Ready")[2].endswith(start)


def test_fewer_pods_than_the_autoscaler_keeps_are_told() -> None:
    """Until it has brought them to its lower bound."""
    gateway, facts = fleet({"autoscaling": {"minReplicas": 3}}, replicas=2)
    assert condition(decided(gateway, facts), "Degraded")[:2] == ("True", "PodsUnavailable")


def test_pods_that_have_never_been_ready_are_called_a_first_start() -> None:
    """Until the deadline; the words are the same, as a wrong image looks like this too."""
    gateway = a_gateway(replicas=3)
    facts = running(
        gateway,
        some_facts(secrets=issued_secrets(gateway, some_facts())),
        replicas=3,
        ready=1,
    )
    conditions: list[dict[str, str]] = []
    facts.children[Ref("Deployment", "mail")]["status"]["conditions"] = conditions
    assert condition(decided(gateway, facts), "Ready") == (
        "False",
        "FirstStart",
        f"1 of 3 pods are ready, at least 3 are needed; {SEE}",
    )

    conditions += [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]
    made = decided(gateway, facts)
    assert condition(made, "Ready")[:2] == ("False", "PodsUnavailable")
    assert condition(made, "Degraded") == (
        "True",
        "RolloutFailed",
        f"the first pods were not ready within 600 s; correct the spec; {SEE}",
    )


def test_ready_takes_the_reason_of_the_first_that_fails() -> None:
    """In the order ConfigAccepted, CredentialsReady, TLSReady, pods."""
    gateway = a_gateway(tls={"secretName": "bought"}, imagePullSecrets=["registry"])
    missing = {"bought": None, "registry": None}
    made = decided(gateway, some_facts(secrets=missing))
    assert "registry" in condition(made, "Ready")[2]
    there = {"bought": None, "registry": {".dockercfg": b""}}
    made = decided(gateway, some_facts(secrets=there))
    assert "bought" in condition(made, "Ready")[2]


def test_without_pods_nothing_is_ready() -> None:
    """Also with everything else in place."""
    gateway = a_gateway()
    facts = some_facts(secrets=issued_secrets(gateway, some_facts()))
    assert condition(decided(gateway, facts), "Ready")[:2] == ("False", "FirstStart")


def test_a_fleet_scaled_to_zero_is_as_asked() -> None:
    """Ready for nothing, but ready."""
    gateway, facts = fleet({"replicas": 0}, replicas=0)
    made = decided(gateway, facts)
    assert condition(made, "Ready")[:2] == ("True", "Ready")
    assert condition(made, "Degraded")[:2] == ("False", "AsExpected")


def degraded(gateway: Gateway, facts: Facts, **more: Any) -> tuple[str, str]:
    """Status and reason of Degraded."""
    return condition(decided(gateway, facts, **more), "Degraded")[:2]


def test_a_pod_that_is_missing_degrades_a_fleet_that_ran() -> None:
    """Not one that is starting."""
    assert degraded(*fleet({}, ready=1)) == ("True", "PodsUnavailable")
    fresh = a_gateway()
    facts = running(fresh, some_facts(), ready=1)
    facts.children[Ref("Deployment", "mail")]["status"]["conditions"] = []
    assert degraded(fresh, facts) == ("False", "AsExpected")


def test_pods_that_the_cluster_refuses_degrade_at_once() -> None:
    """A quota says so at the first start too."""
    gateway = a_gateway()
    facts = running(gateway, some_facts(), replicas=2, ready=0)
    facts.children[Ref("Deployment", "mail")]["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    ]
    assert condition(decided(gateway, facts), "Degraded") == (
        "True",
        "PodsUnavailable",
        "the cluster refuses to make pods: exceeded quota: small",
    )


def test_a_rollout_past_its_deadline_degrades_and_the_old_pods_stay_ready() -> None:
    """Both at once: it works, but not as asked."""
    gateway, facts = fleet({}, progress="ProgressDeadlineExceeded")
    assert degraded(gateway, facts) == ("True", "RolloutFailed")
    assert condition(decided(gateway, facts), "Ready")[0] == "True"


def test_an_upgrade_that_took_readiness_degrades_before_the_deadline() -> None:
    """It stopped for all, so its fleet says so; once the deadline has passed, both."""
    gateway, facts = fleet({}, ready=0, progress="ReplicaSetUpdated")
    made = decided(gateway, facts, word=Word(wrong=True))
    assert condition(made, "Degraded")[:2] == ("True", "RolloutFailed")
    assert "took its readiness" in condition(made, "Degraded")[2]
    gateway, facts = fleet({}, progress="ProgressDeadlineExceeded")
    made = decided(gateway, facts, word=Word(wrong=True))
    assert "within 600 s" in condition(made, "Degraded")[2]
    assert "stops for all fleets" in condition(made, "Degraded")[2]


def test_what_the_api_server_refused_degrades_with_its_words() -> None:
    """And with the child's name."""
    gateway, facts = fleet({})
    refusal = Failure(Ref("Service", "mail"), Reason.APPLY_FAILED, "port is taken")
    assert condition(decided(gateway, facts, failures=[refusal]), "Degraded") == (
        "True",
        "ApplyFailed",
        "Service mail was refused: port is taken",
    )


@pytest.mark.parametrize(
    ("field", "kind"), [("serviceMonitor", "ServiceMonitor"), ("alerts", "PrometheusRule")]
)
def test_monitoring_without_its_crds_degrades(field: str, kind: str) -> None:
    """The rest of the fleet works."""
    gateway, facts = fleet({"monitoring": {field: {"enabled": True}}})
    assert degraded(gateway, facts) == ("False", "AsExpected")
    without = some_facts(kinds=frozenset(), secrets=facts.secrets, children=facts.children)
    made = decided(gateway, without)
    assert condition(made, "Degraded")[:2] == ("True", "ApplyFailed")
    assert kind in condition(made, "Degraded")[2]
    assert f"spec.monitoring.{field}" in condition(made, "Degraded")[2]


@pytest.mark.parametrize(
    ("status", "reason", "wanted"),
    [
        ("False", "FailedGetContainerResourceMetric", ("True", "MetricUnavailable")),
        ("False", "FailedGetPodsMetric", ("True", "MetricUnavailable")),
        ("False", "ScalingDisabled", ("False", "AsExpected")),
        ("True", "ValidMetricFound", ("False", "AsExpected")),
    ],
)
def test_a_metric_that_cannot_be_read_degrades(
    status: str, reason: str, wanted: tuple[str, str]
) -> None:
    """The autoscaler then does not scale down; being switched off by hand is another matter."""
    gateway, facts = fleet({"autoscaling": {}})
    active = {"type": "ScalingActive", "status": status, "reason": reason, "message": "m"}
    scaler = {"status": {"conditions": [active]}}
    children = {**facts.children, Ref("HorizontalPodAutoscaler", "mail"): scaler}
    assert degraded(gateway, some_facts(secrets=facts.secrets, children=children)) == wanted
