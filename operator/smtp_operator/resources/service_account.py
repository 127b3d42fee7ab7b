"""The identity that pods run under: of their own, and with no right at all."""

from __future__ import annotations

from smtp_operator.fleet.model import Gateway, Object
from smtp_operator.resources.child import child


def service_account(gateway: Gateway) -> Object:
    """Without a token: the gateway never speaks to the API server."""
    return child(
        gateway, "v1", "ServiceAccount", gateway.key.name, automountServiceAccountToken=False
    )
