"""A refusal is told twice: to the client from the table, to the log by codes and fields.

Whose fault it is decides the level: a client's is information, the API's a warning, ours an error.
Neither of the two ever holds an address, a subject, a body or a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtp_gateway.errors import Fault, GatewayError
from smtp_gateway.smtp.context import client_address, session_id
from smtp_gateway.smtp.replies import reply_for
from smtp_gateway.telemetry import Event
from smtp_gateway.utils.stack import stack_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmtpd.smtp import Session

    from smtp_gateway.telemetry import Log


class Refusals:
    """Makes the reply of an error and writes its line.

    Args:
        log: where the lines go.
        shown: a client's address as the log may have it.
    """

    def __init__(self, log: Log, shown: Callable[[str], str] = str) -> None:
        self._shown = shown
        self._error = log.error
        self._levels = {Fault.CLIENT: log.info, Fault.UPSTREAM: log.warning, Fault.OURS: log.error}

    def tell(self, event: Event, session: Session, command: str, error: GatewayError) -> str:
        """The reply line, without CRLF; the log has the same code and the error's class."""
        reference = session_id(session)
        line = reply_for(error, reference)
        self._levels[error.fault](
            event,
            session=reference,
            client=self._shown(client_address(session)),
            command=command,
            code=int(line[:3]),
            error=type(error).__name__,
            detail=error.detail,
        )
        return line

    def defect(self, session: Session, command: str, error: Exception) -> str:
        """The reply of an exception that is no error of ours: 451, with the id of the session."""
        reference = session_id(session)
        self._error(Event.HOOK_FAILED, session=reference, command=command, stack=stack_of(error))
        return reply_for(error, reference)
