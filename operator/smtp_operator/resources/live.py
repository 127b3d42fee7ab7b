"""The live configuration: what reaches running pods without a restart.

One file in the form of ``.env``, with the names of the gateway's settings, in a ConfigMap that is
mounted as a folder; the gateway reads it again when the kubelet has refreshed it, whole or not at
all. What is not stated is left out, so that ``podTemplate`` may state it as a variable. So is what
says no more than the gateway's default, where a gateway of an older image may not know the name:
it would refuse the whole file.
"""

from __future__ import annotations

import hashlib
import re

from smtp_operator.fleet.spec import Lockout, Spec

HASH_LENGTH = 12  # 48 bits: as many as the gateway's gauge `smtp_live_hash` shows exactly
_PLAIN = re.compile(r"[A-Za-z0-9_.,:@/+=-]*")


def settings(spec: Spec) -> dict[str, str]:
    """Names and values."""
    cakemail, limits = spec.cakemail, spec.limits
    values = {
        "CAKEMAIL_EMAIL_TYPE": cakemail.email_type,
        "CAKEMAIL_FALLBACK_SENDER_ID": cakemail.default_sender_id or "",
        "CAKEMAIL_LIST_ID": _number(cakemail.list_id),
        "CAKEMAIL_TAGS": ",".join(cakemail.tags),
        "CAKEMAIL_TRACK_CLICKS_HTML": _truth(cakemail.tracking.clicks_html),
        "CAKEMAIL_TRACK_CLICKS_TEXT": _truth(cakemail.tracking.clicks_text),
        "CAKEMAIL_TRACK_OPENS": _truth(cakemail.tracking.opens),
        "CONNECTION_TIMEOUT": str(limits.idle_timeout_seconds),
        "LOG_LEVEL": spec.logging.level.upper(),
        "MAX_CONNECTIONS_PER_POD": str(limits.max_connections),
        "MESSAGE_SIZE_LIMIT": str(limits.max_message_bytes),
        "RATE_LIMIT_PER_IP": str(limits.emails_per_minute_per_client),
        "SMTP_MAX_RECIPIENTS": str(limits.max_recipients),
        "SMTP_MESSAGES_PER_CONNECTION": str(limits.messages_per_connection),
    }
    return {name: value for name, value in {**values, **_younger(spec)}.items() if value != ""}


def _younger(spec: Spec) -> dict[str, str]:
    """Settings that the first gateways did not know; those at their default are empty."""
    limits, auth, plain = spec.limits, spec.authentication, Lockout()
    lockout = {
        "SMTP_LOCKOUT_PER_LOGIN": (auth.lockout.per_login, plain.per_login),
        "SMTP_LOCKOUT_PER_ADDRESS": (auth.lockout.per_client, plain.per_client),
        "SMTP_LOCKOUT_WINDOW": (auth.lockout.window_seconds, plain.window_seconds),
        "SMTP_LOCKOUT_SECONDS": (auth.lockout.lock_seconds, plain.lock_seconds),
    }
    cakemail = spec.cakemail
    return {
        **{name: "" if value == usual else str(value) for name, (value, usual) in lockout.items()},
        "CAKEMAIL_ALLOW_SECOND_SENDING": "true" if cakemail.allow_second_sending else "",
        "CAKEMAIL_INLINE_IMAGES": "refuse" if cakemail.inline_images == "Refuse" else "",
        "CAKEMAIL_LOGIN_CACHE": _number(auth.max_cache_seconds),
        # Two are both, which is what the gateway offers anyway.
        "SMTP_AUTH_MECHANISMS": "".join(auth.mechanisms[:1]) if len(auth.mechanisms) == 1 else "",
        "SMTP_CONNECTIONS_PER_ADDRESS": _number(limits.max_connections_per_client),
        "SMTP_CONNECTIONS_PER_LOGIN": _number(limits.max_connections_per_login),
        "SMTP_POSTMASTER": spec.postmaster or "",
    }


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _truth(value: bool) -> str:  # noqa: FBT001  # the value is what it is about
    return str(value).lower()


def text(spec: Spec) -> str:
    """The file; equal wishes make equal bytes."""
    lines = [f"{name}={_quoted(value)}" for name, value in sorted(settings(spec).items())]
    return "\n".join(lines) + "\n"


def _quoted(value: str) -> str:
    """In single quotes, with the two marks that mean something there.

    ``$`` needs none: the library that reads the file would replace ``${NAME}`` in any quotes, so
    the schema lets no such sign into the fields that stand here.
    """
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def content_hash(file: str) -> str:
    """The hash that pods export of the file that they run with, in hexadecimal."""
    return hashlib.sha256(file.encode()).hexdigest()[:HASH_LENGTH]
