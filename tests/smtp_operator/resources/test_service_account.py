"""The identity of pods."""

from __future__ import annotations

from smtp_operator.resources.service_account import service_account
from tests.support.fleets import a_gateway


def test_no_token_is_mounted() -> None:
    """Pods have nothing to ask of the API server."""
    made = service_account(a_gateway())
    assert (made["kind"], made["metadata"]["name"]) == ("ServiceAccount", "mail")
    assert made["automountServiceAccountToken"] is False
