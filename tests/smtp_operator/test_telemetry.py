"""Names of metrics, and one form for all log lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from smtp_operator.telemetry import Event, Metrics, build_log

SERIES = [
    "smtp_operator_reconcile_total", "smtp_operator_reconcile_seconds",
    "smtp_operator_queue_depth", "smtp_operator_queue_wait_seconds",
    "smtp_operator_key_oldest_seconds", "smtp_operator_apply_total", "smtp_operator_apply_seconds",
    "smtp_operator_watch_age_seconds", "smtp_operator_leader", "smtp_operator_loop_lag_seconds",
    "smtp_operator_gateways", "smtp_operator_paused",
    "smtp_operator_certificate_not_after_seconds", "smtp_operator_rollout_state",
    "smtp_operator_rollout_halted",
    "smtp_operator_build_info",
]  # fmt: skip


@pytest.fixture
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before[0], before[1]


@pytest.mark.parametrize("name", SERIES)
def test_a_metric_of_the_reference_is_there(name: str) -> None:
    """Dashboards and alerts are written against these names."""
    text = generate_latest(Metrics(CollectorRegistry()).registry).decode()
    assert f"# HELP {name} " in text


def test_the_series_of_a_gateway_that_is_gone_are_dropped() -> None:
    """Else an alert on it would never end."""
    metrics = Metrics(CollectorRegistry())
    metrics.paused.labels("mail", "alpha").set(1)
    metrics.rollout_state.labels("mail", "alpha", "Idle").set(1)
    metrics.forget("mail", "alpha")
    metrics.forget("mail", "never-there")
    assert b'name="alpha"' not in generate_latest(metrics.registry)


@pytest.mark.usefixtures("_restored_logging")
def test_our_lines_and_those_of_libraries_have_one_form() -> None:
    """JSON, with the fields that are bound to the run."""
    stream = io.StringIO()
    log = build_log("INFO", "json", stream)
    structlog.contextvars.bind_contextvars(run="r-1")
    log.info(Event.APPLIED, kind="Service")
    logging.getLogger("kopf.reactor").warning("watch of %s ended", "things")
    structlog.contextvars.clear_contextvars()
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["kind"], ours["run"], ours["level"]) == (
        "child applied", "Service", "r-1", "info",
    )  # fmt: skip
    assert (theirs["event"], theirs["run"], theirs["logger"], theirs["level"]) == (
        "watch of things ended", "r-1", "kopf.reactor", "warning",
    )  # fmt: skip


@pytest.mark.usefixtures("_restored_logging")
def test_what_kopf_says_of_each_object_is_not_repeated() -> None:
    """A line for each event of a thousand fleets helps nobody."""
    stream = io.StringIO()
    build_log("DEBUG", "console", stream)
    logging.getLogger("kopf.objects").info("Handler 'event' succeeded.")
    assert stream.getvalue() == ""
