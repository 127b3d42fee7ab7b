"""Conditions follow one another as Kubernetes' tools expect."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from smtp_operator.fleet.conditions import Condition, ConditionType, Reason, merge, timestamp

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def ready(*, status: bool | None, reason: Reason = Reason.READY, text: str = "m") -> Condition:
    """One condition of type Ready."""
    return Condition(ConditionType.READY, status, reason, text)


def test_a_condition_has_the_fields_that_kubernetes_standardised() -> None:
    """All six, and nothing else: no heartbeat."""
    assert merge([], [ready(status=True)], generation=4, now=NOW) == [
        {
            "type": "Ready",
            "status": "True",
            "observedGeneration": 4,
            "lastTransitionTime": "2026-03-01T12:00:00Z",
            "reason": "Ready",
            "message": "m",
        }
    ]


def test_the_time_stays_while_the_status_stays() -> None:
    """Another reason or message is no transition."""
    before = merge([], [ready(status=False)], generation=1, now=NOW)
    changed = ready(status=False, reason=Reason.PENDING, text="other")
    (after,) = merge(before, [changed], generation=2, now=LATER)
    assert after["lastTransitionTime"] == "2026-03-01T12:00:00Z"
    assert (after["reason"], after["message"]) == ("Pending", "other")


def test_the_time_moves_when_the_status_does() -> None:
    """False to True is a transition."""
    before = merge([], [ready(status=False)], generation=1, now=NOW)
    (after,) = merge(before, [ready(status=True)], generation=1, now=LATER)
    assert after["lastTransitionTime"] == "2026-03-01T13:00:00Z"


def test_nothing_known_is_unknown() -> None:
    """None is the third status of the API."""
    (made,) = merge([], [ready(status=None)], generation=1, now=NOW)
    assert made["status"] == "Unknown"
    assert not ready(status=None).holds


def test_conditions_stand_in_one_order_and_old_types_go() -> None:
    """Ready first; a type that is spoken of no longer does not linger."""
    old = [{"type": "Gone", "status": "True"}]
    paused = Condition(ConditionType.PAUSED, status=False, reason=Reason.NOT_PAUSED, message="")
    made = merge(old, [paused, ready(status=True)], generation=1, now=NOW)
    assert [item["type"] for item in made] == ["Ready", "Paused"]


def test_a_long_message_is_cut() -> None:
    """What an API server says may be long; a status is not the place for it."""
    (made,) = merge([], [ready(status=True, text="x" * 5000)], generation=1, now=NOW)
    assert made["message"] == "x" * 1024


def test_reasons_have_the_form_that_the_api_demands() -> None:
    """metav1.Condition: ^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$."""
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]*", reason) for reason in Reason)


def test_times_are_written_in_utc() -> None:
    """Whatever zone the clock has."""
    zone = timezone(timedelta(hours=-5))
    assert timestamp(NOW.astimezone(zone)) == "2026-03-01T12:00:00Z"
