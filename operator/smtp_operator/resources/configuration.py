"""The two ConfigMaps: what pods start with, and what they read again while they run.

The first is immutable and named after its content, so a pod of an older revision finds what it
was made for, also after a rollback. Neither ever holds anything of a Secret.
"""

from __future__ import annotations

from collections.abc import Mapping

from smtp_operator.fleet import names
from smtp_operator.fleet.draft import Draft
from smtp_operator.fleet.hashes import digest
from smtp_operator.fleet.model import Gateway, Key, Object
from smtp_operator.resources.child import child
from smtp_operator.resources.variables import LIVE_FILE


def start_name(key: Key, variables: Mapping[str, str]) -> str:
    """The name that follows from the content."""
    return names.start(key, digest(variables))


def start_config(gateway: Gateway, draft: Draft) -> Object:
    """Environment variables of the gateway."""
    return child(
        gateway,
        "v1",
        "ConfigMap",
        start_name(gateway.key, draft.start),
        immutable=True,
        data=dict(draft.start),
    )


def live_config(gateway: Gateway, draft: Draft) -> Object:
    """The file that the gateway reads again."""
    return child(
        gateway,
        "v1",
        "ConfigMap",
        names.live(gateway.key),
        annotations={names.CONFIG: draft.config_hash},
        data={LIVE_FILE: draft.live},
    )
