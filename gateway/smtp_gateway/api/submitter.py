"""The hot POST behind a small interface (performance.md 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API said, as read: at most 64 KiB of the body.

    Attributes:
        status: HTTP status.
        body: raw bytes, perhaps cut, perhaps no JSON.
        retry_after: the header's text, "" when absent.
        request_id: the header ``x-request-id``, "" when absent.
    """

    status: int
    body: bytes
    retry_after: str = ""
    request_id: str = ""


class Submitter(Protocol):
    """Sends one prepared request body; never follows a redirect, never repeats."""

    async def submit(
        self, body: Sequence[bytes], *, bearer: str, account_id: int | None, timeout_seconds: float
    ) -> Answer:
        """POST ``{base}/v2/emails``.

        Args:
            body: pieces of the JSON document, sent one after the other.
            bearer: access token.
            account_id: query parameter, left out when None.
            timeout_seconds: for the whole call.

        Raises:
            Unreachable: nothing was sent.
            NotConfirmed: time-out or reset after the first byte of the request was sent.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
