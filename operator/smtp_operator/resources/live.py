"""The live configuration: what reaches running pods without a restart.

One JSON file in a ConfigMap that is mounted as a folder; the gateway reads it again when the
kubelet has refreshed it, whole or not at all. Field names are those of the gateway's ``Policy``.
"""

from __future__ import annotations

from typing import Any

from smtp_operator.fleet.hashes import canonical
from smtp_operator.fleet.spec import Spec


def policy(spec: Spec) -> dict[str, Any]:
    """Content of the file."""
    cakemail, limits = spec.cakemail, spec.limits
    return {
        "email_type": cakemail.email_type,
        "list_id": cakemail.list_id,
        "fallback_sender_id": cakemail.default_sender_id,
        "tracking": {
            "opens": cakemail.tracking.opens,
            "clicks_html": cakemail.tracking.clicks_html,
            "clicks_text": cakemail.tracking.clicks_text,
        },
        "tags": list(cakemail.tags),
        "rate_limit_per_ip": limits.emails_per_minute_per_client,
        "message_size_limit_bytes": limits.max_message_bytes,
        "max_recipients": limits.max_recipients,
        "log_level": spec.logging.level.upper(),
    }


def text(spec: Spec) -> str:
    """The file, in canonical form: equal wishes make equal bytes."""
    return canonical(policy(spec))
