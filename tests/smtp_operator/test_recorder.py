"""Events: one a reason and object, a series for the same again, and a limit over all."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from smtp_operator.errors import ClusterUnavailable, Refused
from smtp_operator.recorder import Recorder, Severity
from smtp_operator.telemetry import Metrics
from tests.support.cluster_double import ClusterDouble
from tests.support.faulty_api_world import noting_log
from tests.support.fleet_world import GivenClock, gateway, quiet_log


def regarding(uid: str = "u-1") -> dict[str, Any]:
    """A gateway as the API server knows it."""
    body = gateway()
    body["metadata"] |= {"uid": uid, "resourceVersion": "7"}
    return body


def recorder() -> tuple[Recorder, ClusterDouble, GivenClock, Metrics]:
    """With everything that it tells to."""
    cluster, clock, metrics = ClusterDouble(), GivenClock(), Metrics(CollectorRegistry())
    return Recorder(cluster, "pod-1", metrics, clock, quiet_log()), cluster, clock, metrics


async def test_an_event_says_what_of_whom_and_by_whom() -> None:
    """All that events.k8s.io/v1 requires."""
    events, cluster, _, _ = recorder()
    await events.record(regarding(), Severity.WARNING, "NameConflict", "the name is taken")
    (event,) = cluster.events
    name = event.pop("metadata")
    assert name["namespace"] == "mail"
    assert name["name"].startswith("alpha.")
    assert event == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "eventTime": "2026-11-24T08:00:00.000000Z",
        "reportingController": "smtp.cakemail.com/smtp-operator",
        "reportingInstance": "pod-1",
        "action": "Reconcile",
        "reason": "NameConflict",
        "type": "Warning",
        "note": "the name is taken",
        "regarding": {
            "apiVersion": "smtp.cakemail.com/v1alpha1",
            "kind": "SmtpGateway",
            "namespace": "mail",
            "name": "alpha",
            "uid": "u-1",
            "resourceVersion": "7",
        },
    }


async def test_names_of_events_are_in_the_order_of_time() -> None:
    """It is the order in which `kubectl describe` shows them."""
    events, cluster, clock, _ = recorder()
    for reason in ("FirstStart", "Issued", "RolloutComplete"):
        await events.record(regarding(), Severity.NORMAL, reason, "x")
        clock.advance(0.000_01)

    names = {event["metadata"]["name"]: event["reason"] for event in cluster.events}
    assert [names[name] for name in sorted(names)] == ["FirstStart", "Issued", "RolloutComplete"]


async def test_the_same_again_becomes_a_series() -> None:
    """Counted at once, written at most once a minute."""
    events, cluster, clock, metrics = recorder()
    for _ in range(4):
        await events.record(regarding(), Severity.NORMAL, "ApplyFailed", "x")
    assert len(cluster.events) == 1
    assert "series" not in cluster.events[0]
    clock.advance(60)
    await events.record(regarding(), Severity.NORMAL, "ApplyFailed", "x")
    assert cluster.events[0]["series"] == {
        "count": 5,
        "lastObservedTime": "2026-11-24T08:01:00.000000Z",
    }
    gathered = metrics.registry.get_sample_value(
        "smtp_operator_events_total", {"result": "gathered"}
    )
    assert gathered == 4


async def test_after_the_window_it_is_a_new_event() -> None:
    """Old Events are dropped by the API server after an hour."""
    events, cluster, clock, _ = recorder()
    await events.record(regarding(), Severity.NORMAL, "Issued", "x")
    clock.advance(600)
    await events.record(regarding(), Severity.NORMAL, "Issued", "x")
    assert len(cluster.events) == 2


async def test_more_than_the_limit_are_dropped_and_counted() -> None:
    """25 at once, then five a second."""
    events, cluster, clock, metrics = recorder()
    for number in range(40):
        await events.record(regarding(f"u-{number}"), Severity.NORMAL, "Ready", "x")
    assert len(cluster.events) == 25
    clock.advance(1)
    for number in range(40, 50):
        await events.record(regarding(f"u-{number}"), Severity.NORMAL, "Ready", "x")
    assert len(cluster.events) == 30
    dropped = metrics.registry.get_sample_value("smtp_operator_events_total", {"result": "dropped"})
    assert dropped == 20


class Leaving(ClusterDouble):
    """Its namespace is being deleted."""

    async def create_event(self, body: dict[str, Any]) -> None:
        """See ``Cluster``."""
        raise Refused("it is being terminated", status=403, reason="NamespaceTerminating")


class Forbidding(ClusterDouble):
    """Lacks a right."""

    async def create_event(self, body: dict[str, Any]) -> None:
        """See ``Cluster``."""
        raise Refused("cannot create events", status=403, reason="Forbidden")


@pytest.mark.parametrize(("cluster", "level"), [(Leaving, "debug"), (Forbidding, "info")])
async def test_a_namespace_that_is_being_deleted_is_no_news(
    cluster: type[ClusterDouble], level: str
) -> None:
    """Nobody needs to know that no Event can be made there; a lacking right is told."""
    lines: list[dict[str, Any]] = []
    events = Recorder(
        cluster(), "pod-1", Metrics(CollectorRegistry()), GivenClock(), noting_log(lines)
    )
    await events.record(regarding(), Severity.NORMAL, "Ready", "x")
    assert [line["level"] for line in lines] == [level]


class Silent(ClusterDouble):
    """Answers nothing about Events."""

    async def create_event(self, body: dict[str, Any]) -> None:
        """See ``Cluster``."""
        raise ClusterUnavailable("no answer")


async def test_an_event_that_cannot_be_written_delays_nobody() -> None:
    """Counted, and that is all."""
    metrics = Metrics(CollectorRegistry())
    events = Recorder(Silent(), "pod-1", metrics, GivenClock(), quiet_log())
    await events.record(regarding(), Severity.NORMAL, "Ready", "x")
    failed = metrics.registry.get_sample_value("smtp_operator_events_total", {"result": "failed"})
    assert failed == 1


async def test_a_series_whose_event_ran_out_begins_anew() -> None:
    """The next one is written as a first."""
    events, cluster, clock, _ = recorder()
    await events.record(regarding(), Severity.NORMAL, "Ready", "x")
    cluster.events.clear()
    clock.advance(61)
    await events.record(regarding(), Severity.NORMAL, "Ready", "x")
    await events.record(regarding(), Severity.NORMAL, "Ready", "x")
    assert len(cluster.events) == 1
