"""What the API server answers, as errors of our own; the library's and aiohttp's end here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from smtp_operator.errors import (
    ClusterUnavailable,
    Conflict,
    NotFound,
    OperatorError,
    Refused,
)

NOT_FOUND, CONFLICT, GONE, TOO_MANY = 404, 409, 410, 429
UNAUTHORIZED = 401
LONGEST_DETAIL = 1000
TERMINATING = "NamespaceTerminating"
UNTYPED = "failed to create typed patch object"


def failure(status: int, headers: Mapping[str, str], body: bytes) -> OperatorError:
    """The error that an answer outside 2xx means."""
    said = _status_object(body)
    detail = str(said.get("message") or f"HTTP {status}")[:LONGEST_DETAIL]
    reason = str(said.get("reason") or "")
    if status == NOT_FOUND:
        return NotFound(detail)
    if status == CONFLICT:
        # AlreadyExists and a lost precondition alike: what we believed is no longer so.
        return Conflict(detail)
    if any(field == "metadata.uid" for field in _fields(said)):
        # An apply names the UID that it means; another object has the name by now.
        return Conflict(detail)
    if detail.startswith(UNTYPED):
        # The API server says 500 to a field that is in no schema; trying again is no use.
        return Refused(detail, status=status, reason="Invalid")
    # 401: a token that ran out is read anew from its file, so it is worth another try.
    if status in {GONE, TOO_MANY, UNAUTHORIZED} or status >= 500:  # noqa: PLR2004  # 5xx
        return ClusterUnavailable(detail, _retry_after(headers, said), expired=status == GONE)
    return Refused(detail, status=status, reason=_cause(said) or reason)


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:  # a proxy's page, or nothing
        return {}
    return said if isinstance(said, dict) else {}


def _retry_after(headers: Mapping[str, str], said: Mapping[str, Any]) -> float | None:
    """Seconds asked for: the header (RFC 9110 10.2.3), else ``details.retryAfterSeconds``."""
    header = headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    details = said.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else None


def _causes(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [cause for cause in causes or [] if isinstance(cause, dict)]


def _fields(said: Mapping[str, Any]) -> list[str]:
    return [str(cause.get("field", "")) for cause in _causes(said)]


def _cause(said: Mapping[str, Any]) -> str:
    """``NamespaceTerminating`` is hidden among the causes of a 403."""
    reasons = [str(cause.get("reason", "")) for cause in _causes(said)]
    return TERMINATING if TERMINATING in reasons else ""
