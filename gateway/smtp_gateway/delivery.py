"""One accepted message, from bytes to outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from smtp_gateway.api.tokens import Login
from smtp_gateway.policy import Policy


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as the SMTP side took it.

    Attributes:
        login: who sends.
        mail_from: reverse path; "" for the null sender.
        recipients: envelope recipients in the order of RCPT, as given.
        content: the message as received, CRLF line ends.
        session_id: for the log.
        message_id: the gateway's own id of this transaction, a UUID; for the log.
        received_monotonic: when the final dot came; the deadline counts from here.
        on_settled: called once when the last API call of this message has its answer, which may
            be after ``deliver`` returned: the memory of the message is free from then on.
    """

    login: Login
    mail_from: str
    recipients: Sequence[str]
    content: bytes
    session_id: str
    message_id: str
    received_monotonic: float
    on_settled: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Every recipient has a definite answer and at least one was accepted: 250.

    Attributes:
        id: the API's UUID for one recipient, the gateway's own submission UUID for several.
        accepted: how many recipients the API has.
        refused: how many were refused for good.
    """

    id: str
    accepted: int
    refused: int


class Courier(Protocol):
    """What the SMTP handler needs of delivery."""

    def admit(self, login: Login) -> None:
        """At MAIL: refuse early what would be refused after the upload.

        Raises:
            Unavailable: breaker open, draining, or the wait for a slot would be too long.
            Throttled: the account's 429 has not passed.
            GatewayError: the login's own refusal.
        """
        ...

    async def deliver(self, letter: Letter, policy: Policy) -> Receipt:
        """Submit to every distinct recipient; the whole ends within the deadline.

        Raises:
            GatewayError: the reply that the client gets instead of 250.
        """
        ...
