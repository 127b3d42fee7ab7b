"""What the service does, or may do, that its published document does not say.

Each fact is a row of ``DEVIATIONS`` and has a switch: a field of ``Behaviour``, or a kind of fault.
So a test can ask for either answer to an open question, and nobody mistakes a guess for the
contract. ``PATCH /sandbox/behaviour`` turns the switches while the sandbox runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class Behaviour(BaseModel):
    """The switches; the defaults follow the published document wherever it speaks.

    Attributes:
        expires_in_seconds: life of a login token.
        challenge_status: status of the answer that asks for a second factor.
        wrong_password_status: status for an unknown user or a wrong password.
        refresh_token_replaced: a refresh token works once, and its use gives a new one.
        forbidden_status: status of a call into an account or scope that is not the caller's.
        list_required: refuse a mail without ``list_id``.
        policy_enforced: refuse a list whose policy has not been accepted.
        opted_out: what happens to a mail for a contact who has opted out.
        bodies: may ``html`` and ``text`` come together? If not, the status that refuses both.
        encoding_required: refuse a mail without ``content.encoding``.
        blank_text_refused: refuse a text of white space only, when there is no html.
        without_list_management: is the field of that name obeyed (a list is then not required)?
        log_delay_seconds: age at which a mail appears in ``/logs/emails-summary``.
        body_limit_bytes: 413 above it; none: no limit but the sandbox's own.
        rate_per_second: calls of ``POST /v2/emails`` a second, by token bucket; none: no limit.
        rate_burst: size of that bucket.
        retry_after: the 429 of that limit says ``Retry-After`` in seconds, as a date, or not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expires_in_seconds: int = Field(default=432_000, ge=1)
    challenge_status: Literal[200, 401] = 200
    wrong_password_status: Literal[400, 401, 403, 422] = 401
    refresh_token_replaced: bool = True
    forbidden_status: Literal[400, 403] = 400
    list_required: bool = False
    policy_enforced: bool = True
    opted_out: Literal["rejected", "queued", "refused"] = "rejected"
    bodies: Literal["together", "one_400", "one_422"] = "together"
    encoding_required: bool = False
    blank_text_refused: bool = False
    without_list_management: bool = True
    log_delay_seconds: float = Field(default=0, ge=0)
    body_limit_bytes: int | None = Field(default=None, ge=1)
    rate_per_second: float | None = Field(default=None, gt=0)
    rate_burst: int = Field(default=1, ge=1)
    retry_after: Literal["seconds", "date", "absent"] = "seconds"


@dataclass(frozen=True, slots=True)
class Deviation:
    """One undocumented fact, the switch that shows it, and where it was met."""

    fact: str
    switch: str
    source: str


DEVIATIONS: Final[tuple[Deviation, ...]] = (
    Deviation("every call may answer 401", "token control; fault status 401", "API guides"),
    Deviation("403 means the same as Forbidden", "forbidden_status", "SDK models 1.20"),
    Deviation("Forbidden is a 400 with code 8004", "forbidden_status", "auth middleware"),
    Deviation("a challenge may come with 401", "challenge_status", "API guides"),
    Deviation("status for a wrong password", "wrong_password_status", "unverified"),
    Deviation("life of a token", "expires_in_seconds", "seen in tokens"),
    Deviation("a refresh token may be replaced", "refresh_token_replaced", "unverified"),
    Deviation("access tokens ck_pat_ with scopes", "seed access_tokens", "another integration"),
    Deviation("a list may be required", "list_required", "API guides"),
    Deviation("a list's policy must be accepted", "policy_enforced", "API guides"),
    Deviation("without_list_management", "without_list_management", "SDK models 1.20"),
    Deviation("201 with rejected or error", "fault outcome; opted_out", "schema, cause unverified"),
    Deviation("headers cc and bcc are refused", "always", "SDK models 1.20"),
    Deviation("html and text may exclude each other", "bodies", "another integration"),
    Deviation("a mail without any body is refused", "always", "API guides"),
    Deviation("encoding may be required", "encoding_required", "met in practice"),
    Deviation("a blank text may be refused", "blank_text_refused", "unverified"),
    Deviation("a suspended account may not send", "seed status", "API guides"),
    Deviation("an account without Email API may not send", "seed use_email_api", "API guides"),
    Deviation("a used-up quota refuses", "seed remaining", "API guides"),
    Deviation("an unconfirmed sender is refused", "seed confirmed", "API guides"),
    Deviation("the log lags behind", "log_delay_seconds", "unverified"),
    Deviation("413 for a large body", "body_limit_bytes", "unverified"),
    Deviation("429 and Retry-After", "rate_per_second, rate_burst, retry_after", "change log"),
    Deviation("500 with detail[].msg", "fault status 500", "SDK models 1.20"),
    Deviation("502, 503, 504, also as HTML", "fault status and body", "any proxy"),
    Deviation("404 for an unknown route", "always", "framework of the service"),
)

# Statuses that occur although the document does not list them, with the schema of their body.
EXTRA_RESPONSES: Final[dict[int, str]] = {
    400: "HTTPBadRequestError",
    401: "HTTPUnauthorizedError",
    403: "HTTPForbiddenError",
    422: "HTTPValidationError",
}


def with_extra_responses(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of the contract that also lists the undocumented statuses of every operation."""
    paths = {
        path: {method: _widened(operation) for method, operation in operations.items()}
        for path, operations in document["paths"].items()
    }
    return {**document, "paths": paths}


def _widened(operation: dict[str, Any]) -> dict[str, Any]:
    extra = {str(status): _response(name) for status, name in EXTRA_RESPONSES.items()}
    return {**operation, "responses": {**extra, **operation["responses"]}}


def _response(schema_name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{schema_name}"}
    return {"description": "", "content": {"application/json": {"schema": schema}}}
