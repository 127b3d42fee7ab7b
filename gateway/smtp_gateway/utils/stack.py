"""Where an exception came from, without a word of what it says."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Final

MAX_CHAINED: Final = 5  # exceptions behind one another that are written down
MAX_FRAMES: Final = 30  # of each


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
