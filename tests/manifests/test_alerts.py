"""The alerts: on series that exist, for states that exist, and with a page that helps."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from smtp_operator.resources import monitor
from smtp_operator.telemetry import ROLLOUT_STATES, Metrics
from tests.support.installs import OPERATOR_CHART
from tests.support.pages import ROOT

FILE = OPERATOR_CHART / "files" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks.md"


def rules() -> list[dict[str, Any]]:
    """Of the operator."""
    (group,) = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


RULES = {rule["alert"]: rule for rule in rules()}


def exported() -> dict[str, list[dict[str, str]]]:
    """Labels of each series that the operator has, with one gateway under way."""
    metrics = Metrics(CollectorRegistry())
    metrics.watch_age.labels("Deployment").set(0)
    metrics.certificate_not_after.labels("mail", "smtp").set(0)
    for state in ROLLOUT_STATES:
        metrics.rollout_state.labels("mail", "smtp", state).set(0)
    found: dict[str, list[dict[str, str]]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_of_the_operator_asks_for_what_the_operator_exports(alert: str) -> None:
    """Series and values of labels; on anything else it would be silent for ever."""
    series = exported()
    expr = RULES[alert]["expr"]
    asked = re.findall(r"(smtp_\w+)(?:\{([^}]*)\})?", expr)
    assert asked
    for name, matchers in asked:
        assert name in series
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', matchers):
            there = {labels[label] for labels in series[name]}
            assert set(value.split("|")) <= there, f"{name} {label}"


@pytest.mark.parametrize("alert", RULES)
def test_an_alert_of_the_operator_says_what_is_wrong_and_how_bad_it_is(alert: str) -> None:
    """With names only of labels that its expression keeps."""
    rule = RULES[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert re.fullmatch(r"[1-9][0-9]*[mh]", rule["for"])
    assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{alert.lower()}"
    summary = rule["annotations"]["summary"]
    (kept,) = set(re.findall(r"by \(([^)]*)\)", rule["expr"])) or {""}
    named = re.findall(r"\$labels\.(\w+)", summary)
    assert summary.endswith((".", ")."))
    assert set(named) <= set(kept.split(", "))


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    """In the order in which they stand, each with something to do."""
    text = RUNBOOKS.read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [
        *RULES,
        *(alert.name for alert in monitor.ALERTS),
    ]
    marks = [m.start() for m in re.finditer(r"^##", text, re.MULTILINE)] + [len(text)]
    pages = [text[begin:end] for begin, end in pairwise(marks)]
    for page in pages:
        if page.startswith("### "):
            assert "\n* " in page, page
