"""Health as plain facts: what makes the gateway ready, and what merely stands beside it.

The API's state is told but never turns readiness red: an outage would then empty every endpoint of
the Service, and clients would see refused connections where a 451 tells them to come back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Health:
    """Facts at one moment.

    Attributes:
        listening: every SMTP listener accepts.
        draining: SIGTERM has come.
        certificate_usable: a certificate is loaded and within its life.
        memory_left: a message can still be taken.
        details: shown beside, without effect: the API's breakers, sessions, ledger.
    """

    listening: bool
    draining: bool
    certificate_usable: bool
    memory_left: bool
    details: dict[str, Any]

    @property
    def faults(self) -> list[str]:
        """Why the gateway is not ready; empty when it is."""
        checks = (
            (self.listening, "not listening"),
            (not self.draining, "draining"),
            (self.certificate_usable, "no usable certificate"),
            (self.memory_left, "no memory left"),
        )
        return [reason for good, reason in checks if not good]


class HealthSource(Protocol):
    """Whoever knows the facts."""

    def health(self) -> Health:
        """The facts now."""
        ...
