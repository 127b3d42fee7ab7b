"""Settings that change while the gateway runs: one file, taken whole or refused whole.

The file is polled by content, since a mounted ConfigMap is swapped by a symbolic link, which a
watch on the file itself would lose. What cannot be used leaves the settings as they are.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from smtp_gateway.errors import ConfigurationError
from smtp_gateway.settings import Settings, live

POLL_SECONDS: Final = 5.0


class LiveFile:
    """The file and what was last seen in it.

    Args:
        path: in the form of ``.env``.
        variables: what the gateway was started with; the file goes on top.
        accept: takes new settings, or raises ConfigurationError.
        on_refused: told the problems, once for each content that cannot be used.
    """

    def __init__(
        self,
        path: Path,
        variables: Mapping[str, str],
        *,
        accept: Callable[[Settings], None],
        on_refused: Callable[[list[str]], None],
    ) -> None:
        self._path = path
        self._variables = variables
        self._accept = accept
        self._on_refused = on_refused
        self._seen = ""
        self.digest = ""

    def load(self) -> None:
        """The first load.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        self._seen = self._look()
        self._take()

    def poll(self) -> bool:
        """Look for a new content; true when it was taken. Never raises for a bad one."""
        found = self._look()
        if found == self._seen:
            return False
        self._seen = found
        try:
            self._take()
        except ConfigurationError as error:
            self._on_refused(error.problems)
            return False
        return True

    async def watch(self, interval_seconds: float = POLL_SECONDS) -> None:
        """Poll for ever; the owner cancels it."""
        while True:
            await asyncio.sleep(interval_seconds)
            self.poll()

    def _take(self) -> None:
        self._accept(live(self._variables, self._path))
        self.digest = self._seen

    def _look(self) -> str:
        try:
            return hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError:
            return ""
