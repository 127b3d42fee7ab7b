"""Names of metrics, closed labels, and log lines."""

import errno
import io
import json
import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from smtp_gateway.telemetry import Event, LogBridge, LogLevel, Metrics, build_log

FIXED = {
    "smtp_connections_total": "counter",
    "smtp_emails_received_total": "counter",
    "smtp_emails_forwarded_total": "counter",
    "smtp_auth_failures_total": "counter",
    "smtp_api_errors_total": "counter",
    "smtp_processing_duration_seconds": "histogram",
    "smtp_api_latency_seconds": "histogram",
    "smtp_connection_duration_seconds": "histogram",
    "smtp_active_connections": "gauge",
    "smtp_api_key_cache_size": "gauge",
}


def test_the_fixed_names_are_exported_with_their_types() -> None:
    """Dashboards and alerts rest on these names."""
    registry = CollectorRegistry()
    Metrics(registry)
    exported = generate_latest(registry).decode()
    for name, kind in FIXED.items():
        assert f"# TYPE {name} {kind}\n" in exported


def test_the_number_of_series_stays_small() -> None:
    """A scrape of thousands of series would block the loop."""
    registry = CollectorRegistry()
    Metrics(registry)
    lines = generate_latest(registry).decode().splitlines()
    assert sum(not line.startswith("#") for line in lines) < 500


def test_a_label_value_outside_the_list_is_a_defect() -> None:
    """No client can make a new series."""
    metrics = Metrics(CollectorRegistry())
    with pytest.raises(KeyError):
        metrics.emails_received["surprise"]


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    """Bound fields and the event's own stand side by side."""
    stream = io.BytesIO()
    log = build_log(stream, LogLevel("INFO")).bind(session="s1")
    log.info(Event.MESSAGE, size=3)
    log.debug(Event.MESSAGE, size=4)
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert fields["event"] == "message"
    assert (fields["session"], fields["size"], fields["level"]) == ("s1", 3, "info")


class BrokenOnce(io.BytesIO):
    """A stream whose first line cannot be written."""

    broken = True

    def write(self, line: Any) -> int:
        """See ``io.BytesIO``."""
        if self.broken:
            self.broken = False
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(line)


def test_a_log_that_cannot_be_written_refuses_no_mail() -> None:
    """No error for whoever logs; the gap is told as soon as it can be."""
    stream = BrokenOnce()
    log = build_log(stream, LogLevel("INFO"))
    log.info(Event.MESSAGE, size=1)
    log.info(Event.MESSAGE, size=2)
    told, line = map(json.loads, stream.getvalue().splitlines())
    assert (told["event"], told["lines"], told["level"]) == ("log interrupted", 1, "warning")
    assert "timestamp" in told
    assert (line["event"], line["size"]) == ("message", 2)


def test_a_library_is_heard_without_what_it_was_told() -> None:
    """Templates, classes and places reach the log; arguments and exception texts do not."""
    stream = io.BytesIO()
    logger = logging.getLogger("tests.library")
    logger.propagate = False
    logger.addHandler(LogBridge(build_log(stream, LogLevel("INFO"))))
    try:
        int("secret@example.com")
    except ValueError:
        logger.exception("failed for %s", "secret@example.com")
    logger.info("unheard")
    (line,) = stream.getvalue().splitlines()
    fields = json.loads(line)
    assert (fields["event"], fields["logger"], fields["level"]) == (
        "library message",
        "tests.library",
        "error",
    )
    assert (fields["template"], fields["stack"][0]) == ("failed for %s", "ValueError")
    assert "test_telemetry.py" in fields["stack"][1]
    assert b"secret" not in line


def test_the_level_changes_while_the_program_runs() -> None:
    """Lines below the level are not written, from the change on."""
    stream = io.BytesIO()
    level = LogLevel("WARNING")
    log = build_log(stream, level)
    log.info(Event.MESSAGE, number=1)
    level.change("DEBUG")
    log.debug(Event.MESSAGE, number=2)
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [2]


def test_a_log_for_people_has_a_line_an_event_and_obeys_nobody() -> None:
    """Fields behind the event; what a client sent is quoted, control characters too."""
    stream = io.BytesIO()
    log = build_log(stream, LogLevel("INFO"), "console")
    log.warning(Event.MESSAGE, size=3, said="a\x1b[2J\nb")
    (line,) = stream.getvalue().splitlines()
    assert (
        line.partition(b"Z ")[2]
        == rb"[warning  ] message                        said='a\x1b[2J\nb' size=3"
    )


def test_a_gap_in_a_log_for_people_is_told_in_its_form() -> None:
    """Both lines are readable."""
    stream = BrokenOnce()
    log = build_log(stream, LogLevel("INFO"), "console")
    log.info(Event.MESSAGE, size=1)
    log.info(Event.MESSAGE, size=2)
    told, line = stream.getvalue().splitlines()
    assert b"log interrupted" in told
    assert b"lines=1" in told
    assert line.endswith(b"size=2")
