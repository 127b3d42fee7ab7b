"""The demo as a person runs it: what is shown, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cakemail_sandbox.demo import dialogue, free_port

STOP_SECONDS = 30


def test_the_trace_of_smtplib_becomes_a_dialogue_without_secrets() -> None:
    """Credentials and the text of the mail are named, not shown."""
    trace = r"""send: 'AUTH PLAIN AGRlbW8Ac2VjcmV0\r\n'
reply: b'235 2.7.0 Authentication successful\r\n'
reply: retcode (235); Msg: b'2.7.0 Authentication successful'
send: 'data\r\n'
reply: b'354 End data with <CR><LF>.<CR><LF>\r\n'
data: (354, b'End data with <CR><LF>.<CR><LF>')
send: b'Subject: x\r\n\r\nhello\r\n.\r\n'
reply: b'250 Ok 1\r\n'"""
    assert dialogue(trace) == [
        "C: AUTH PLAIN (credentials)",
        "S: 235 2.7.0 Authentication successful",
        "C: data",
        "S: 354 End data with <CR><LF>.<CR><LF>",
        "C: (the message, 21 octets, and the final dot)",
        "S: 250 Ok 1",
    ]


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    """Two demos on one machine do not meet."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wished = int(taken.getsockname()[1])
        assert free_port(wished) != wished


@contextmanager
def running_demo(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The demo as a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-m", "cakemail_sandbox.demo", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    ) as demo:
        try:
            yield demo
        finally:
            demo.terminate()  # it ends its two programs; SIGKILL would leave them behind


def read_until(demo: subprocess.Popen[str], words: str) -> str:
    """What the demo has said up to and with a line that holds these words."""
    said = []
    assert demo.stdout is not None
    for line in demo.stdout:
        said.append(line)
        if words in line:
            return "".join(said)
    pytest.fail(f"{words!r} was not said, but: {''.join(said)}")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_both_programs_running_until_it_is_stopped(
    tmp_path: Path, stop: signal.Signals
) -> None:
    """The inbox and the SMTP port answer; then both are gone, and the demo ends with 0."""
    with running_demo(tmp_path) as demo:
        said = read_until(demo, "Ctrl-C ends both.")
        assert "S: 250 Ok " in said
        assert '"subject": "Your order"' in said
        assert "The mail arrived." in said
        ports = [int(port) for port in re.findall(r"(?:localhost|127\.0\.0\.1):(\d+)", said)]
        for port in ports:
            socket.create_connection(("127.0.0.1", port)).close()
        demo.send_signal(stop)
        assert demo.wait(STOP_SECONDS) == 0
    assert len(ports) == 3
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
