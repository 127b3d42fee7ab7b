"""What the Prometheus operator reads."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry

from smtp_gateway.telemetry import Metrics
from smtp_operator.resources.monitor import ALERTS
from smtp_operator.resources.rendering import draft
from tests.support.fleets import a_gateway, find, rendered, some_facts

BOTH = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
}


def test_the_monitor_finds_the_service_for_metrics_only() -> None:
    """By labels that the public Service does not have."""
    objects = rendered(a_gateway(monitoring=BOTH), some_facts())
    wanted = find(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    found = [
        o["metadata"]["name"]
        for o in objects
        if o["kind"] == "Service" and wanted <= o["metadata"]["labels"].items()
    ]
    assert found == ["mail-metrics"]


def test_the_labels_by_which_prometheus_selects_are_the_user_s() -> None:
    """Each installation has its own."""
    objects = rendered(a_gateway(monitoring=BOTH), some_facts())
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert find(objects, kind)["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_watch_the_pods_of_this_fleet_alone() -> None:
    """Not those of a fleet with a longer name."""
    rules = find(rendered(a_gateway(monitoring=BOTH), some_facts()), "PrometheusRule")
    (group,) = rules["spec"]["groups"]
    assert len(group["rules"]) == len(ALERTS)
    for rule in group["rules"]:
        assert "{pods}" not in rule["expr"]
        (form,) = set(re.findall(r'pod=~"([^"]+)"', rule["expr"]))
        assert 'namespace="demo"' in rule["expr"]
        assert re.fullmatch(form, "mail-7f9c7d5b4-abcde")
        assert not re.fullmatch(form, "mail-eu-7f9c7d5b4-abcde")


def test_alerts_ask_for_series_that_the_gateway_has() -> None:
    """A misspelt one would be silent for ever."""
    registry = CollectorRegistry()
    Metrics(registry)
    exported = {family.name for family in registry.collect()}
    asked = {name for alert in ALERTS for name in re.findall(r"smtp_\w+", alert.expr)}
    assert {name.removesuffix("_total") for name in asked} <= exported
    assert len(asked) == 8


def test_nothing_is_rendered_that_the_cluster_does_not_serve() -> None:
    """Applying it would fail; Degraded tells."""
    objects = rendered(a_gateway(monitoring=BOTH), some_facts(kinds=frozenset()))
    assert {o["kind"] for o in objects} & {"ServiceMonitor", "PrometheusRule"} == set()


def test_a_pod_with_old_settings_is_found_by_the_hash_it_exports() -> None:
    """As the number that the gateway's gauge shows."""
    gateway = a_gateway(monitoring=BOTH)
    wanted = int(draft(gateway, some_facts()).config_hash, 16)
    rules = find(rendered(gateway, some_facts()), "PrometheusRule")["spec"]["groups"][0]["rules"]
    (rule,) = [rule for rule in rules if rule["alert"] == "SmtpGatewaySettingsOld"]
    assert f"!= {wanted})" in rule["expr"]
