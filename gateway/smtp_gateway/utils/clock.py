"""Time as a value that is handed in, so that no test waits and no decision reads a clock itself."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two times: one to measure with, one to tell people."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never backwards."""
        ...

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clocks, without a call of ours around them: a mail asks sixty times."""

    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)
