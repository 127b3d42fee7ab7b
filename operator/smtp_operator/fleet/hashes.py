"""Hashes over objects: equal content gives an equal hash, in every release and on every machine.

They decide whether pods restart. So they are made from canonical JSON, and what the user asked
for is hashed without defaults: a field that a newer operator adds changes no hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from smtp_operator.fleet.spec import Spec

LENGTH = 16  # hexadecimal digits: 64 bits tell a few thousand revisions apart with room to spare

# Fields that never reach the pod, or reach it without a restart. What is not named here counts
# as reaching it: an edit then rolls at once, as the user expects of an edit.
_OUTSIDE: dict[str, Any] = {
    "replicas": True,
    "autoscaling": True,
    "disruption": True,
    "monitoring": True,
    "network_policy": True,
    "paused": True,
    "rollout": True,
    "service": {
        "type", "annotations", "labels", "ip_family_policy", "ip_families",
        "external_traffic_policy", "load_balancer_class", "load_balancer_source_ranges",
    },
    "listeners": {"__all__": {"node_port"}},
    "tls": {"validity_days", "renew_before_days", "key_algorithm"},
    # The live configuration.
    "postmaster": True,
    "authentication": True,
    "cakemail": {
        "list_id", "email_type", "default_sender_id", "tags", "tracking", "inline_images",
        "allow_second_sending",
    },
    "limits": {
        "max_message_bytes", "max_recipients", "max_connections", "max_connections_per_client",
        "max_connections_per_login", "messages_per_connection", "emails_per_minute_per_client",
        "idle_timeout_seconds",
    },
    "logging": {"level"},
}  # fmt: skip


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(*values: Any) -> str:
    """Hash of JSON values."""
    text = "\n".join(canonical(value) for value in values)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def inputs(spec: Spec, *others: Any) -> str:
    """Hash of what the user asked for of the pod.

    ``others``: content that the spec only names, such as a referenced CA.
    """
    asked = spec.model_dump(mode="json", exclude=_OUTSIDE, exclude_defaults=True)
    return digest(_stated(asked), *others)


def _stated(block: dict[str, Any]) -> dict[str, Any]:
    """Without blocks in which nothing is left: an empty one says no more than an absent one."""
    made = {k: _stated(v) if isinstance(v, dict) else v for k, v in block.items()}
    return {name: value for name, value in made.items() if value != {}}


def revision(template: Mapping[str, Any], start: Mapping[str, str]) -> str:
    """Hash of what reaches the pod; the template holds the image."""
    return digest(template, start)
