"""What is said about a fleet: condition types, reasons, and how a new set follows an old one.

Reasons are part of the public API: people alert on them, so they are constants and none is built
from parts. A condition has no heartbeat; its only time is that of its last change, since each
write of a status costs every watcher (KEP 1623, standardised conditions).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

MESSAGE_LENGTH = 1024  # the API allows 32,768; a terminal shows less


class ConditionType(StrEnum):
    """In the order in which ``kubectl describe`` shows them."""

    READY = "Ready"
    CONFIG_ACCEPTED = "ConfigAccepted"
    CREDENTIALS_READY = "CredentialsReady"
    TLS_READY = "TLSReady"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"
    PAUSED = "Paused"


class Reason(StrEnum):
    """Why a condition has its status; upper case first, one word (the API's rule)."""

    # ConfigAccepted
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    POD_TEMPLATE_REJECTED = "PodTemplateRejected"
    POD_SECURITY_VIOLATION = "PodSecurityViolation"
    NAME_CONFLICT = "NameConflict"
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    # CredentialsReady and TLSReady
    FOUND = "Found"
    NOT_EVALUATED = "NotEvaluated"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  # the name of a reason
    KEY_MISSING = "KeyMissing"
    ISSUED = "Issued"
    EXPIRING_SOON = "ExpiringSoon"
    PENDING = "Pending"
    ISSUER_FAILED = "IssuerFailed"
    EXPIRED = "Expired"
    NAME_MISMATCH = "NameMismatch"
    INVALID_CERTIFICATE = "InvalidCertificate"
    # Progressing
    FIRST_START = "FirstStart"
    ROLLOUT_PROGRESSING = "RolloutProgressing"
    ROLLOUT_WAITING = "RolloutWaiting"
    ROLLOUT_HELD = "RolloutHeld"
    ROLLOUT_COMPLETE = "RolloutComplete"
    # Degraded
    AS_EXPECTED = "AsExpected"
    PODS_UNAVAILABLE = "PodsUnavailable"
    ROLLOUT_FAILED = "RolloutFailed"
    METRIC_UNAVAILABLE = "MetricUnavailable"
    APPLY_FAILED = "ApplyFailed"
    # Paused
    PAUSED = "Paused"
    NOT_PAUSED = "NotPaused"
    # Ready
    READY = "Ready"


@dataclass(frozen=True, slots=True)
class Condition:
    """One statement. ``status`` None is ``Unknown``; the message says what to do about it."""

    type: ConditionType
    status: bool | None
    reason: Reason
    message: str

    @property
    def holds(self) -> bool:
        """Whether it is True."""
        return self.status is True


_STATUS = {True: "True", False: "False", None: "Unknown"}


def timestamp(moment: datetime) -> str:
    """As the API server writes a time: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def merge(
    previous: Sequence[Mapping[str, Any]],
    conditions: Iterable[Condition],
    *,
    generation: int,
    now: datetime,
) -> list[dict[str, Any]]:
    """The new list for ``status.conditions``, in the order of ``ConditionType``.

    A condition keeps its ``lastTransitionTime`` while its status stays; reason and message may
    change meanwhile. Types that we do not speak of are dropped: all of the list is ours.
    """
    before = {str(item.get("type")): item for item in previous}
    order = list(ConditionType)
    return [
        _merged(before.get(condition.type), condition, generation, now)
        for condition in sorted(conditions, key=lambda item: order.index(item.type))
    ]


def _merged(
    old: Mapping[str, Any] | None, new: Condition, generation: int, now: datetime
) -> dict[str, Any]:
    status = _STATUS[new.status]
    kept = old.get("lastTransitionTime") if old and old.get("status") == status else None
    return {
        "type": str(new.type),
        "status": status,
        "observedGeneration": generation,
        "lastTransitionTime": kept or timestamp(now),
        "reason": str(new.reason),
        "message": new.message[:MESSAGE_LENGTH],
    }
