"""Was a mail accepted although its answer was lost? The API's own log may know.

The gateway asks when a client repeats after an unclear answer (cakemail-api 7.5.3): rows for the
recipient since shortly before the attempt, and in each stored mail the ``Message-ID`` among the
headers that the gateway gave along.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from smtp_gateway.api.reader import Reader, Reading, Verdict
from smtp_gateway.api.tokens import Login
from smtp_gateway.errors import LookupUnavailable, NotPermitted

BEFORE_SECONDS = 60  # cakemail-api 7.5.3: from one minute before the attempt
AFTER_SECONDS = 3_600  # what came later than this is another mail
PAGE_ROWS = 50
MAX_PAGES = 2

_FIRST_TIME = 1
_LAST_TIME = 2_147_483_647  # both: the parameter's bounds in the OpenAPI document
# A mail that the API has given up is not "accepted": it has to be answered as what it is.
_NOT_SENT = frozenset({"rejected", "error"})
_OPERATORS = ("==", "!=", "~~", "!~")


class SentLog:
    """Looks for one mail.

    Args:
        reader: reads for a login.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def find(
        self,
        login: Login,
        account: int | None,
        recipient: str,
        message_id: str,
        since_wall: float,
    ) -> str | None:
        """The API's id of the mail, or None when the log does not hold it.

        Args:
            login: who sent.
            account: the account in which the call acted; None: the login's own.
            recipient: as submitted.
            message_id: value of the header, angle brackets included.
            since_wall: when the attempt was made, seconds since 1970.

        Raises:
            NotPermitted: this login may not read the log.
            LookupUnavailable: the log could not be read, or not to its end.
            Throttled, CredentialsRevoked: as ``Reader.read``.
        """
        async with contextlib.aclosing(self._rows(login, account, recipient, since_wall)) as rows:
            async for row in rows:
                if _is_candidate(row, since_wall):
                    email_id = self._id(row)
                    if await self._has_message_id(login, account, email_id, message_id):
                        return email_id
        return None

    async def _rows(
        self, login: Login, account: int | None, recipient: str, since_wall: float
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        for page in range(1, MAX_PAGES + 1):
            reading = await self._reader.read(
                login,
                "/logs/emails-summary",
                account=account,
                email=_exactly(recipient),
                start_time=_start(since_wall),
                page=page,
                per_page=PAGE_ROWS,
                sort="+submitted_time",
            )
            document = self._permitted(reading).require()
            rows = document.get("data")
            if not isinstance(rows, list):
                raise self._reader.unreadable(reading.detail)
            for row in rows:
                if isinstance(row, dict):
                    yield row
            if not _has_more(document, len(rows)):
                return
        raise LookupUnavailable("more mails in the log than are read")

    @staticmethod
    def _permitted(reading: Reading) -> Reading:
        if reading.verdict is Verdict.FORBIDDEN:
            raise NotPermitted(reading.detail, reason="this login may not read the log")
        return reading

    def _id(self, row: Mapping[str, Any]) -> str:
        try:
            return str(uuid.UUID(str(row.get("email_id"))))
        except ValueError as error:
            raise self._reader.unreadable("a row without an id") from error

    async def _has_message_id(
        self, login: Login, account: int | None, email_id: str, message_id: str
    ) -> bool:
        reading = await self._reader.read(login, f"/v2/emails/{email_id}", account=account)
        document = self._permitted(reading).require()
        if document.get("status") in _NOT_SENT:
            return False
        headers = document.get("additional_headers") or []
        if not isinstance(headers, list):
            raise self._reader.unreadable(reading.detail)
        return any(_is_message_id(header, message_id) for header in headers)


def _is_candidate(row: Mapping[str, Any], since_wall: float) -> bool:
    submitted = row.get("submitted_time")
    if isinstance(submitted, int) and submitted > since_wall + AFTER_SECONDS:
        return False
    return row.get("status") not in _NOT_SENT


def _is_message_id(header: object, message_id: str) -> bool:
    if not isinstance(header, dict):
        return False
    name, value = header.get("name"), header.get("value")
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and name.lower() == "message-id"
        and value.strip() == message_id.strip()
    )


def _exactly(recipient: str) -> str:
    # The parameter may begin with an operator, and so may a local part (RFC 5321 4.1.2).
    return f"=={recipient}" if recipient.startswith(_OPERATORS) else recipient


def _start(since_wall: float) -> int:
    return min(max(int(since_wall) - BEFORE_SECONDS, _FIRST_TIME), _LAST_TIME)


def _has_more(document: Mapping[str, Any], rows: int) -> bool:
    pagination = document.get("pagination")
    more = pagination.get("has_more") if isinstance(pagination, dict) else None
    return more if isinstance(more, bool) else rows >= PAGE_ROWS
