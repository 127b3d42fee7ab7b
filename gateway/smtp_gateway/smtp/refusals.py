"""A refusal is told twice: to the client from the table, to the log by codes and fields.

Whose fault it is decides the level: a client's is information, the API's a warning, ours an error.
Neither of the two ever holds an address, a subject, a body or a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from smtp_gateway.errors import Fault, GatewayError
from smtp_gateway.smtp.context import client_address, session_id
from smtp_gateway.smtp.replies import reply_for
from smtp_gateway.telemetry import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from aiosmtpd.smtp import Session

    from smtp_gateway.telemetry import Log

MAX_CHAINED: Final = 5  # exceptions behind one another that are written down
MAX_FRAMES: Final = 30  # of each


class Refusals:
    """Makes the reply of an error and writes its line."""

    def __init__(self, log: Log) -> None:
        self._error = log.error
        self._levels = {Fault.CLIENT: log.info, Fault.UPSTREAM: log.warning, Fault.OURS: log.error}

    def tell(self, event: Event, session: Session, command: str, error: GatewayError) -> str:
        """The reply line, without CRLF; the log has the same code and the error's class."""
        reference = session_id(session)
        line = reply_for(error, reference)
        self._levels[error.fault](
            event,
            session=reference,
            client=client_address(session),
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


def stack_of(error: BaseException) -> list[str]:
    """Where an error came from: classes, files, lines and functions, and no word of its text.

    The text of an exception may quote what it stumbled over, an address or a body, so it is not
    for the log either (smtp-server 6.2).
    """
    lines: list[str] = []
    link: BaseException | None = error
    for _ in range(MAX_CHAINED):
        if link is None:
            break
        lines.append(type(link).__qualname__)
        lines.extend(list(_frames(link.__traceback__))[-MAX_FRAMES:])
        link = link.__cause__ or link.__context__
    return lines


def _frames(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        yield f"{code.co_filename}:{traceback.tb_lineno} {code.co_qualname}"
        traceback = traceback.tb_next
