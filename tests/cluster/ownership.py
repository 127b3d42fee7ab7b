"""Who owns a run: a file lock, which the kernel drops when its holder dies, in whatever way."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from tests.cluster.commands import ClusterError
from tests.cluster.settings import state_folder


class InUse(ClusterError):
    """Another process is at work on this cluster."""

    def __init__(self, name: str) -> None:
        super().__init__(f"cluster {name} belongs to a process that is still at work on it")


class Ownership:
    """The right to build and to end the cluster of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._held: IO[str] | None = None

    def acquire(self) -> None:
        """Take it, if this object does not have it already.

        Raises:
            InUse: another process has it.
        """
        if self._held is None:
            self._held = _try_lock(_lock_file(self._name))
        if self._held is None:
            raise InUse(self._name)

    def release(self) -> None:
        """Give it up."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def forget(self) -> None:
        """Give it up and leave no trace that there was one."""
        if self._held is not None:
            _lock_file(self._name).unlink(missing_ok=True)
        self.release()


def known_names() -> list[str]:
    """Names of all runs that were not ended in order, whether their owner lives or not."""
    return sorted(file.stem for file in state_folder().glob("*.lock"))


def _lock_file(name: str) -> Path:
    state_folder().mkdir(parents=True, exist_ok=True)
    return state_folder() / f"{name}.lock"


def _try_lock(path: Path) -> IO[str] | None:
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        if _is_at(path, file):
            return file
        # Its former holder removed the file between our two steps: lock the one that counts.
        file.close()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
