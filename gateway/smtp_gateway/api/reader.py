"""Reading one resource for a login: the table "Look-ups" of cakemail-api 7.6.

What "no" means depends on the question, so a clear no is a value and only the rest is an error:

    200 with a JSON object     FOUND
    400 "Forbidden", 403       FORBIDDEN: this login may not read it, yet may be able to send
    400, 404                   ABSENT
    401                        the login is renewed once; again: CredentialsRevoked
    429                        Throttled
    anything else, or nothing  LookupUnavailable
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from smtp_gateway.api.client import ApiClient
from smtp_gateway.api.errors import THROTTLED, read_problem, retry_after_seconds
from smtp_gateway.api.grants import OK, describe, read_object
from smtp_gateway.api.submitter import Answer
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import (
    CredentialsRevoked,
    GatewayError,
    LookupUnavailable,
    Throttled,
    UpstreamError,
)
from smtp_gateway.utils.clock import Clock

_UNAUTHORIZED = 401
_BAD_REQUEST = 400
_FORBIDDEN = 403
_NOT_FOUND = 404


class Verdict(Enum):
    """What the API says about a resource."""

    FOUND = "found"
    FORBIDDEN = "forbidden"
    ABSENT = "absent"


_VERDICTS = {
    OK: Verdict.FOUND,
    _BAD_REQUEST: Verdict.ABSENT,
    _FORBIDDEN: Verdict.FORBIDDEN,
    _NOT_FOUND: Verdict.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Reading:
    """A definite answer.

    Attributes:
        verdict: what was said.
        document: the object; empty unless found.
        detail: for the log.
    """

    verdict: Verdict
    document: Mapping[str, Any]
    detail: str

    def require(self) -> Mapping[str, Any]:
        """The object, where its absence makes no sense.

        Raises:
            LookupUnavailable: it was not found.
        """
        if self.verdict is not Verdict.FOUND:
            raise LookupUnavailable(self.detail)
        return self.document


class Reader:
    """Reads for logins.

    Args:
        client: the way to the API.
        clock: to read a date in Retry-After.
    """

    def __init__(self, client: ApiClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def read(
        self, login: Login, path: str, *, account: int | None = None, **query: str | int
    ) -> Reading:
        """GET ``path`` as this login.

        Args:
            login: whose bearer is used.
            path: begins with a slash; its segments are already percent-encoded.
            account: the account in which the call acts; None: the login's own.
            query: further parameters.

        Raises:
            CredentialsRevoked: refused with 401, and again after a renewal.
            Throttled: 429.
            LookupUnavailable: no answer, or one that says nothing.
        """
        if account is not None:
            query["account_id"] = account
        answer = await self._ask_twice(login, path, query)
        verdict = _verdict(answer)
        if verdict is None:
            raise self._failure(answer)
        if verdict is not Verdict.FOUND:
            return Reading(verdict, {}, describe(answer))
        document = read_object(answer.body)
        if document is None:
            raise self.unreadable(describe(answer))
        return Reading(verdict, document, describe(answer))

    def unreadable(self, detail: str) -> LookupUnavailable:
        """The error for a document that does not hold what it should; counted here."""
        self._client.note_unreadable()
        return LookupUnavailable(f"unreadable, {detail}")

    async def _ask_twice(self, login: Login, path: str, query: dict[str, str | int]) -> Answer:
        bearer = await login.bearer()
        answer = await self._ask(path, bearer, query)
        if answer.status != _UNAUTHORIZED:
            return answer
        answer = await self._ask(path, await login.renewed(bearer), query)
        if answer.status == _UNAUTHORIZED:
            login.forget()
            raise CredentialsRevoked(describe(answer))
        return answer

    async def _ask(self, path: str, bearer: str, query: dict[str, str | int]) -> Answer:
        try:
            return await self._client.get(path, bearer=bearer, query=query)
        except UpstreamError as error:  # nothing is ambiguous about a read
            detail = error.detail
        raise LookupUnavailable(detail)

    def _failure(self, answer: Answer) -> GatewayError:
        if answer.status != THROTTLED:
            return LookupUnavailable(describe(answer))
        seconds = retry_after_seconds(answer.retry_after, now_wall=self._clock.wall())
        return Throttled(describe(answer), seconds=seconds or 0.0)


def _verdict(answer: Answer) -> Verdict | None:
    if answer.status == _BAD_REQUEST and read_problem(answer.body).is_forbidden:
        return Verdict.FORBIDDEN  # cakemail-api 1.4: a forbidden account is answered 400
    return _VERDICTS.get(answer.status)
