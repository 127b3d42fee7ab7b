"""Running programs and waiting for what they do."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.cluster.settings import environment


class ClusterError(RuntimeError):
    """Something of the cluster did not work. The message says what and, where known, what to do."""


class CommandFailed(ClusterError):
    """A program ended with another status than 0."""

    def __init__(self, argv: Sequence[str], status: int, output: str) -> None:
        super().__init__(f"{' '.join(argv)}: exit status {status}\n{output.strip()}")
        self.status = status
        self.output = output


def run(
    *argv: str | Path,
    stdin: str | None = None,
    variables: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 120,
    prefix: Sequence[str] = (),
) -> str:
    """Run a program to its end and return its standard output.

    Args:
        argv: the program and its arguments.
        stdin: what it reads; none: nothing.
        variables: environment variables beside those of this process.
        cwd: where it runs; none: here.
        timeout: seconds until it is killed.
        prefix: goes before the command (where to run it) and stays out of the messages.

    Raises:
        CommandFailed: it ended with another status than 0; the error holds both its outputs.
        ClusterError: it was not done in time.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            [*prefix, *command],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            env=environment(variables),
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        raise ClusterError(f"{' '.join(command)}: not done after {timeout:g} s") from expired
    if done.returncode != 0:
        raise CommandFailed(command, done.returncode, done.stdout + done.stderr)
    return done.stdout


def wait_until(
    what: str, condition: Callable[[], bool], timeout: float, interval: float = 0.1
) -> None:
    """Poll every ``interval`` seconds until the condition holds.

    Raises:
        ClusterError: it did not within ``timeout`` seconds; the message says ``what``.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not so after {timeout:g} s")
        time.sleep(interval)
