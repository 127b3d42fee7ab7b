"""The program as a person starts it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cakemail_sandbox.settings import from_arguments

PROGRAM = [sys.executable, "-m", "cakemail_sandbox"]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_ends_cleanly(signal_number: int) -> None:
    """Ctrl-C is a normal end: nothing on standard error."""
    with subprocess.Popen(
        [*PROGRAM, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            url = re.search(r"http://127\.0\.0\.1:\d+/", line)
            assert url is not None
            with httpx.Client() as client:
                page = client.get(url.group())
                process.send_signal(signal_number)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()

    assert (page.status_code, errors) == (200, "")
    assert process.returncode in {0, -signal.SIGTERM}


def test_a_seed_that_cannot_be_read_stops_it(tmp_path: Path) -> None:
    """With exit code 2 and a sentence."""
    ended = subprocess.run(
        [*PROGRAM, "--port", "0", "--seed", str(tmp_path / "none.json")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert ended.returncode == 2
    assert ended.stderr.startswith("cakemail_sandbox: ")
    assert "none.json" in ended.stderr


@pytest.mark.parametrize("port", ["-1", "65536", "smtp", "٣"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    """By the command line."""
    with pytest.raises(SystemExit) as ended:
        from_arguments(["--port", port])

    assert ended.value.code == 2


def test_without_arguments_it_listens_on_loopback_only() -> None:
    """Whoever reaches it reads all mail."""
    settings = from_arguments([])

    assert (settings.host, settings.port, settings.seed_path) == ("127.0.0.1", 8026, None)
