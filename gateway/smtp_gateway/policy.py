"""What may change while the gateway runs: one immutable snapshot.

A session takes the snapshot at connect, a transaction at MAIL; no transaction ever sees two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class EmailType(StrEnum):
    """``content.type`` of the API."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


class InlineImages(StrEnum):
    """What happens to an image that the html shows by content id (cakemail-api 7.3)."""

    ATTACH = "attach"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Tracking:
    """``tracking`` of the API. The API takes absent for true, so all three are always sent."""

    opens: bool = False
    clicks_html: bool = False
    clicks_text: bool = False


@dataclass(frozen=True, slots=True)
class LockoutRules:
    """How many distinct wrong credentials are borne (smtp-server 3.7).

    Attributes:
        per_user_name: from one client address for one user name.
        per_address: from one client address (IPv6: one /64) for all user names.
        window_seconds: a wrong credential counts for so long.
        lock_seconds: life of a lock.
    """

    per_user_name: int = 5
    per_address: int = 50
    window_seconds: float = 600
    lock_seconds: float = 900


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits and defaults of this gateway.

    Attributes:
        email_type: type of a message that does not say its own.
        list_id: list of a message that names none; None lets the gateway discover one.
        fallback_sender_id: sender of a message whose From is no confirmed sender; None refuses it.
        tracking: for each field that no header states.
        tags: the operator's own, added after the message's.
        inline_images: what to do with ``cid:`` images.
        allow_second_sending: send again after an unconfirmed attempt that cannot be looked up.
        rate_limit_per_ip: mails a minute from one client address; 0 means no limit.
        message_size_limit_bytes: as sent over SMTP; the value of SIZE in EHLO.
        max_recipients: per message; the value of LIMITS RCPTMAX in EHLO.
        postmaster: where `RCPT TO:<Postmaster>` goes; empty refuses it.
        max_connections: at once, in this process.
        connections_per_address: at once from one client; 0 means no limit.
        connections_per_login: at once with one credential; 0 means no limit.
        messages_per_connection: before the client has to connect again.
        idle_timeout_seconds: of a client, and of one that does not log in.
        mechanisms: of AUTH, in the order in which they are offered.
        lockout: what wrong credentials cost.
        login_cache_seconds: how long a credential found good is believed; None: its token's life.
    """

    email_type: EmailType = EmailType.TRANSACTIONAL
    list_id: int | None = None
    fallback_sender_id: str | None = None
    tracking: Tracking = field(default_factory=Tracking)
    tags: tuple[str, ...] = ()
    inline_images: InlineImages = InlineImages.ATTACH
    allow_second_sending: bool = False
    rate_limit_per_ip: int = 100
    message_size_limit_bytes: int = 26_214_400
    max_recipients: int = 100
    postmaster: str = ""
    max_connections: int = 1000
    connections_per_address: int = 0
    connections_per_login: int = 0
    messages_per_connection: int = 1000
    idle_timeout_seconds: float = 300
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    lockout: LockoutRules = field(default_factory=LockoutRules)
    login_cache_seconds: float | None = None


class PolicyHolder:
    """The one place where the current snapshot stands; replaced whole, never changed."""

    def __init__(self, policy: Policy) -> None:
        self.current = policy
