"""What the Prometheus operator reads: where metrics are, and when somebody is to be called.

Alerts name the pods of this fleet by the form of their names, so they hold whichever way metrics
are collected. Their texts stand in annotations; thresholds are where mail begins to suffer.
"""

from __future__ import annotations

from typing import NamedTuple

from smtp_operator.fleet.model import Gateway, Key, Object
from smtp_operator.fleet.names import selector
from smtp_operator.fleet.spec import HEALTH_PORT_NAME
from smtp_operator.resources.child import child
from smtp_operator.resources.service import METRICS_COMPONENT

API_VERSION = "monitoring.coreos.com/v1"


class Alert(NamedTuple):
    """One row.

    ``expr``: PromQL with ``{pods}`` for this fleet's label matchers, ``{live}`` for the hash of
    its live settings as the gateway's gauge has it.
    """

    name: str
    expr: str
    minutes: int
    severity: str
    summary: str


ALERTS = (
    Alert(
        "SmtpGatewayApiUnreachable",
        "max(smtp_circuit_breaker_state{{{pods}}}) == 2",
        2,
        "critical",
        "The Cakemail API fails and mail is put off; clients are told to try again.",
    ),
    Alert(
        "SmtpGatewayMailDeferred",
        'sum(rate(smtp_emails_received_total{{{pods},status="deferred"}}[5m]))'
        " / sum(rate(smtp_emails_received_total{{{pods}}}[5m])) > 0.05",
        10,
        "warning",
        "More than 5 % of messages are put off.",
    ),
    Alert(
        "SmtpGatewayOverloaded",
        "sum(rate(smtp_admission_refusals_total{{{pods}}}[5m])) > 0",
        10,
        "warning",
        "Connections or messages are refused for lack of room; raise replicas or limits.",
    ),
    Alert(
        "SmtpGatewayLoopLag",
        "max(smtp_event_loop_lag_seconds{{{pods}}}) > 0.25",
        5,
        "warning",
        "A pod answers late; it needs more CPU.",
    ),
    Alert(
        "SmtpGatewayCertificateEnds",
        "min(smtp_certificate_expiry_timestamp_seconds{{{pods}}}) - time() < 7 * 86400",
        10,
        "critical",
        "The certificate that pods serve ends within 7 days.",
    ),
    Alert(
        "SmtpGatewayCertificateRefused",
        "sum(increase(smtp_certificate_reload_failures_total{{{pods}}}[15m])) > 0",
        0,
        "warning",
        "A new certificate could not be used; the old one is served on.",
    ),
    Alert(
        "SmtpGatewaySettingsRefused",
        "sum(increase(smtp_live_reload_failures_total{{{pods}}}[15m])) > 0",
        0,
        "warning",
        "New live settings could not be used; the old ones hold on.",
    ),
    Alert(
        "SmtpGatewaySettingsOld",
        "count(smtp_live_hash{{{pods}}} != {live}) > 0",
        10,
        "warning",
        "A pod runs with other live settings than the SmtpGateway asks for.",
    ),
)


def service_monitor(gateway: Gateway) -> Object:
    """Finds the Service for metrics, nothing else."""
    wanted = gateway.spec.monitoring.service_monitor
    return child(
        gateway,
        API_VERSION,
        "ServiceMonitor",
        gateway.key.name,
        labels=wanted.labels,
        spec={
            "selector": {"matchLabels": {**selector(gateway.key), **METRICS_COMPONENT}},
            "endpoints": [
                {
                    "port": HEALTH_PORT_NAME,
                    "path": "/metrics",
                    "interval": f"{wanted.interval_seconds}s",
                }
            ],
        },
    )


def prometheus_rule(gateway: Gateway, config_hash: str) -> Object:
    """The gateway's alerts for this fleet; ``config_hash`` is what its pods should export."""
    rules = [_rule(alert, gateway.key, int(config_hash, 16)) for alert in ALERTS]
    return child(
        gateway,
        API_VERSION,
        "PrometheusRule",
        gateway.key.name,
        labels=gateway.spec.monitoring.alerts.labels,
        spec={"groups": [{"name": "smtp-gateway", "rules": rules}]},
    )


def _rule(alert: Alert, key: Key, live: int) -> Object:
    # `<name>-<hash of the template>-<five>`; another fleet's longer name does not match.
    pods = f'namespace="{key.namespace}",pod=~"{key.name}-[a-z0-9]+-[a-z0-9]{{5}}"'
    return {
        "alert": alert.name,
        "expr": alert.expr.format(pods=pods, live=live),
        "for": f"{alert.minutes}m",
        "labels": {"severity": alert.severity, "smtpgateway": key.name},
        "annotations": {
            "summary": alert.summary,
            "runbook": f"docs/runbooks.md#{alert.name.lower()}",
        },
    }
