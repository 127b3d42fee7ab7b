"""Answers of the API server as errors of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from smtp_operator.cluster.answers import failure
from smtp_operator.errors import (
    ClusterUnavailable,
    Conflict,
    NotFound,
    OperatorError,
    Refused,
)


def said(message: str = "m", reason: str = "", **details: Any) -> bytes:
    """A Status object."""
    return json.dumps({"kind": "Status", "message": message, "reason": reason,
                       "details": details}).encode()  # fmt: skip


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, NotFound), (409, Conflict), (403, Refused), (422, Refused), (400, Refused),
        (401, ClusterUnavailable), (410, ClusterUnavailable), (429, ClusterUnavailable),
        (500, ClusterUnavailable), (503, ClusterUnavailable), (504, ClusterUnavailable),
    ],
)  # fmt: skip
def test_each_status_has_its_class(status: int, kind: type[OperatorError]) -> None:
    """Try again, look again, or tell the user."""
    assert type(failure(status, {}, said())) is kind


def test_patience_that_is_asked_for_is_kept() -> None:
    """By the header, else by the body."""
    by_header = failure(429, {"Retry-After": "7"}, b"")
    by_body = failure(503, {}, said(retryAfterSeconds=3))
    neither = failure(429, {"Retry-After": "soon"}, b"<html>")
    for error, seconds in ((by_header, 7.0), (by_body, 3.0), (neither, None)):
        assert isinstance(error, ClusterUnavailable)
        assert error.retry_after_seconds == seconds


def test_410_says_that_a_version_is_too_old() -> None:
    """The watch lists anew then."""
    error = failure(410, {}, said())
    assert isinstance(error, ClusterUnavailable)
    assert error.expired


def test_another_uid_is_a_conflict() -> None:
    """The API server calls it an invalid change of an immutable field."""
    body = said("x", "Invalid", causes=[{"field": "metadata.uid", "reason": "FieldValueInvalid"}])
    assert type(failure(422, {}, body)) is Conflict


def test_an_unknown_field_is_refused_for_good_though_it_comes_as_500() -> None:
    """Server-side apply answers so; trying again would never end."""
    error = failure(500, {}, said("failed to create typed patch object (mail/a): .spec.nosuch"))
    assert isinstance(error, Refused)
    assert error.reason == "Invalid"


def test_a_terminating_namespace_is_told_from_a_missing_right() -> None:
    """Both are 403."""
    body = said("x", "Forbidden", causes=[{"reason": "NamespaceTerminating"}])
    terminating, forbidden = failure(403, {}, body), failure(403, {}, said("x", "Forbidden"))
    assert isinstance(terminating, Refused)
    assert isinstance(forbidden, Refused)
    assert (terminating.reason, forbidden.reason) == ("NamespaceTerminating", "Forbidden")


def test_a_long_sentence_is_cut_and_none_is_replaced() -> None:
    """It goes into a condition."""
    assert len(failure(422, {}, said("x" * 5000)).detail) == 1000
    assert failure(500, {}, b"").detail == "HTTP 500"
