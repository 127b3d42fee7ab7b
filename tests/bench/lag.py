"""How late the gateway's loop ran, read from its own probe while a load passes."""

from __future__ import annotations

import re
import threading
import urllib.request
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.4  # the gauge shows the worst delay of the last second
LAG = re.compile(r"^smtp_event_loop_lag_seconds (\S+)$", re.MULTILINE)


class LagWatch:
    """Reads the gauge until the block ends; ``worst_ms`` is the worst delay that it showed."""

    def __init__(self, http_port: int) -> None:
        self._url = f"http://127.0.0.1:{http_port}/metrics"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.worst_ms = 0.0

    def __enter__(self) -> Self:
        self._stop.wait(2 * POLL_SECONDS + 1)  # what came before has left the gauge
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.wait(1.0)  # the last second shows in the next
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            with urllib.request.urlopen(self._url, timeout=10) as answer:  # noqa: S310  # our own http
                found = LAG.search(answer.read().decode("utf-8"))
            if found is not None:
                self.worst_ms = max(self.worst_ms, float(found[1]) * 1000)
            if self._stop.wait(POLL_SECONDS):
                return
