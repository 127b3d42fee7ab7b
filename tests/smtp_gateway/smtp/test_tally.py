"""Counts of the session machine reach the metrics they name."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway.smtp.effects import Count
from smtp_gateway.smtp.tally import Tally
from smtp_gateway.telemetry import Metrics


@pytest.mark.parametrize(
    ("count", "name", "labels"),
    [
        (
            Count("commands", {"command": "MAIL", "status": "ok"}),
            "smtp_commands_total",
            {"command": "MAIL", "status": "ok"},
        ),
        (
            Count("emails_received", {"status": "accepted"}),
            "smtp_emails_received_total",
            {"status": "accepted"},
        ),
        (Count("headers_noted"), "smtp_headers_noted_total", {}),
    ],
)
def test_counts_by_name_and_labels(count: Count, name: str, labels: dict[str, str]) -> None:
    """With two labels, one and none; twice is two."""
    registry = CollectorRegistry()
    tally = Tally(Metrics(registry))
    tally(count)
    tally(count)
    assert registry.get_sample_value(name, labels) == 2


@pytest.mark.parametrize(
    ("count", "error"),
    [
        (Count("no_such_metric"), AttributeError),
        (Count("emails_received", {"status": "invented"}), KeyError),
        (Count("message_size"), TypeError),
    ],
)
def test_what_cannot_be_counted_is_a_defect(count: Count, error: type[Exception]) -> None:
    """Label values come from closed lists."""
    with pytest.raises(error):
        Tally(Metrics(CollectorRegistry()))(count)
