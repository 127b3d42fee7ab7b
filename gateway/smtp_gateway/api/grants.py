"""What the token service and the account resource say, read into values: pure.

Nothing is trusted because of a token's unchecked signature: its claims only spare a call, for
numbers that the API checks again at each request (cakemail-api 1.2).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from smtp_gateway.api.submitter import Answer
from smtp_gateway.errors import (
    AuthenticationUnavailable,
    CredentialsInvalid,
    GatewayError,
    MultiFactorRequired,
    NotPermitted,
)
from smtp_gateway.utils import codec

REFUSED = frozenset({400, 401, 403, 422})  # cakemail-api 7.6, AUTH
CHALLENGED = frozenset({200, 401})  # cakemail-api D3: the schema says 200, its text 401

SHORTEST_LIFE_SECONDS = 600.0  # cakemail-api 1.2: the least that can be asked for
LONGEST_LIFE_SECONDS = 2_592_000.0  # 30 days; five have been seen, more is a mistake

OK = 200

# RFC 6750 2.1: what can stand in the Authorization field; no space, so no second field.
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]{1,16384}=*")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_JWT_PARTS = 3
_MAX_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Grant:
    """A token as granted.

    Attributes:
        access_token: the bearer.
        refresh_token: "" when none was given.
        life_seconds: from now.
        account_id: of the login, as the token claims; None when it is not readable.
        accounts: numbers the login can reach.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    life_seconds: float
    account_id: int | None
    accounts: frozenset[int]


@dataclass(frozen=True, slots=True)
class Standing:
    """An account as it stands.

    Attributes:
        account_id: its number, None when unreadable.
        refusal: why it may not send, or None.
    """

    account_id: int | None
    refusal: GatewayError | None


def is_bearer(text: object) -> bool:
    """Whether a text can be sent as bearer token (RFC 6750 2.1)."""
    return isinstance(text, str) and _BEARER.fullmatch(text) is not None


def describe(answer: Answer) -> str:
    """An answer for the log: status and the API's own id of the request."""
    if _REQUEST_ID.fullmatch(answer.request_id):
        return f"status {answer.status}, request {answer.request_id}"
    return f"status {answer.status}"


def read_object(body: bytes) -> dict[str, Any] | None:
    """A JSON object; None for anything else, a body that was cut included."""
    try:
        document = codec.loads(body)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def number(value: object) -> int | None:
    """A positive id: accounts are strings in bodies and integers in queries (cakemail-api 4)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    return None


def read_grant(answer: Answer, *, now_wall: float) -> Grant:
    """Read the answer to ``POST /token`` (cakemail-api 7.6, AUTH).

    Args:
        answer: as received.
        now_wall: seconds since 1970, for a token that tells its end but not its life.

    Raises:
        CredentialsInvalid: 400, 401, 403, 422.
        MultiFactorRequired: a challenge, with 200 or 401.
        AuthenticationUnavailable: anything else, an unreadable 200 included.
    """
    document = read_object(answer.body) or {}
    token = document.get("access_token")
    if answer.status in CHALLENGED and token is None and document.get("challenge"):
        raise MultiFactorRequired(describe(answer))
    if answer.status in REFUSED:
        raise CredentialsInvalid(describe(answer))
    if answer.status != OK:
        raise AuthenticationUnavailable(describe(answer))
    if not isinstance(token, str) or not is_bearer(token):
        raise AuthenticationUnavailable(f"unreadable, {describe(answer)}")
    return _granted(token, document, now_wall)


def _granted(token: str, document: dict[str, Any], now_wall: float) -> Grant:
    claims = _claims(token)
    refresh_token = document.get("refresh_token")
    own = number(claims.get("account_id"))
    return Grant(
        access_token=token,
        refresh_token=refresh_token if isinstance(refresh_token, str) else "",
        life_seconds=_life(document.get("expires_in"), claims.get("exp"), now_wall),
        account_id=own,
        accounts=_numbers(document.get("accounts", claims.get("accounts"))),
    )


def _claims(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != _JWT_PARTS:
        return {}
    try:
        return read_object(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))) or {}
    except ValueError:  # not a JWT: then its claims cannot spare a call, and that is all
        return {}


def _life(expires_in: object, end: object, now_wall: float) -> float:
    if _is_time(expires_in):
        return min(float(expires_in), LONGEST_LIFE_SECONDS)
    if _is_time(end) and end > now_wall:
        return min(float(end) - now_wall, LONGEST_LIFE_SECONDS)
    return SHORTEST_LIFE_SECONDS


def _is_time(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _numbers(values: object) -> frozenset[int]:
    if not isinstance(values, list):
        return frozenset()
    return frozenset(n for n in map(number, values) if n is not None)


_STATUS_REASONS = {
    "suspended": "the account is suspended",
    "suspended_by_partner": "the account is suspended by its partner",
    "deleted": "the account is deleted",
}
_NO_EMAIL_API = "the account may not use the Email API"


def read_standing(body: bytes) -> Standing | None:
    """Read ``GET /accounts/self`` with 200; None when it is not readable."""
    document = read_object(body)
    account = document.get("data") if document is not None else None
    if not isinstance(account, dict):
        return None
    reason = _reason(account)
    refusal = NotPermitted(reason, reason=reason) if reason else None
    return Standing(number(account.get("id")), refusal)


def _reason(account: dict[str, Any]) -> str:
    status = account.get("status")
    if isinstance(status, str) and status in _STATUS_REASONS:
        return _STATUS_REASONS[status]
    limits = account.get("usage_limits")
    if isinstance(limits, dict) and limits.get("use_email_api") is False:
        return _NO_EMAIL_API
    return ""
