"""An output that may fail without its writer failing with it.

A full disk or a reader that has gone must not refuse mail: an exception from a log line would, in
the middle of a session, after the API has accepted the message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO


class SteadyStream:
    """Whole lines to a stream; those that cannot be written at once are counted.

    What the stream itself has buffered may still come out when it works again.

    Args:
        stream: where the lines go.
        notice: the line that tells how many there were, once writing works again.
    """

    def __init__(self, stream: BinaryIO, notice: Callable[[int], bytes]) -> None:
        self._write, self._flush = stream.write, stream.flush
        self._notice = notice
        self.failed = 0

    def write(self, line: bytes) -> int:
        """Write and flush one line."""
        try:
            if self.failed:
                self._write(self._notice(self.failed))
                self._flush()
                self.failed = 0
            self._write(line)
            self._flush()
        except OSError:
            self.failed += 1
        return len(line)

    def flush(self) -> None:
        """Nothing is held back here."""
