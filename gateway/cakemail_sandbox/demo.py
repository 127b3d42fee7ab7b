"""One mail through everything, on this machine: sandbox, gateway, and the README's own example.

Both programs run as they would anywhere, as processes of their own; the mail is sent by the text of
the README with nothing replaced but host, port and login. With ``--once`` the exit status says
whether the mail arrived.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from cakemail_sandbox.certificate import write_self_signed

START_SECONDS = 30
SEND_SECONDS = 30
STOP_SECONDS = 20
USER, PASSWORD = "demo@example.com", "cakemail-demo"  # of the packaged seed

# smtplib's trace shows both sides; the README's text itself stays as it is.
TRACED = "import smtplib\nsmtplib.SMTP.debuglevel = 1\n"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the demo listens: the usual ports plus 2000, or free ones where those are taken."""

    sandbox: int
    submission: int
    submissions: int
    health: int


class DemoFailed(Exception):
    """Something did not start or the mail did not arrive; the sentence says what to look at."""


def free_port(wished: int) -> int:
    """The wished port of loopback, or another when it is taken."""
    with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", wished)):
        return wished
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        return int(chosen.getsockname()[1])


def choose_ports() -> Ports:
    """Four free ports."""
    return Ports(
        sandbox=free_port(8026),
        submission=free_port(2587),
        submissions=free_port(2465),
        health=free_port(8087),
    )


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)  # noqa: T201  # the demo speaks to a person


def gateway_variables(ports: Ports, folder: Path) -> dict[str, str]:
    """The gateway's settings, on top of an environment without any of its own."""
    return {
        "CAKEMAIL_API_URL": f"http://127.0.0.1:{ports.sandbox}",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_HOSTNAME": "localhost",
        "SMTP_PORT": str(ports.submission),
        "SMTPS_PORT": str(ports.submissions),
        "SMTP_PRE_STOP": "0",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(ports.health),
        "TLS_CERT_PATH": str(folder / "tls.crt"),
        "TLS_KEY_PATH": str(folder / "tls.key"),
    }


def start(command: Sequence[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A program of its own process group, so that Ctrl-C reaches the demo alone."""
    kept = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "SYSTEMROOT"}}  # noqa: TID251  # what a child process needs
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  # our own programs
            [sys.executable, "-m", *command],
            env=kept | variables,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def fetch(url: str, *, seconds: float) -> bytes:
    """The body of a page on this machine.

    Raises:
        OSError: no answer, or one that is no success.
    """
    with urllib.request.urlopen(url, timeout=seconds) as answer:  # noqa: S310  # http to loopback
        body: bytes = answer.read()
        return body


def wait_until_answers(program: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return once ``url`` answers with success.

    Raises:
        DemoFailed: the program ended, or did not answer in time.
    """
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        if program.poll() is not None:
            raise DemoFailed(f"a program ended at its start:\n{log.read_text(encoding='utf-8')}")
        try:
            fetch(url, seconds=2)
        except OSError:
            time.sleep(0.1)
        else:
            return
    said = log.read_text(encoding="utf-8")
    raise DemoFailed(f"no answer from {url} in {START_SECONDS} s:\n{said}")


def stop(program: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL only for a program that does not end."""
    program.terminate()
    try:
        program.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


@contextlib.contextmanager
def running(ports: Ports, folder: Path) -> Iterator[None]:
    """Sandbox and gateway, both answering; both stopped at the end, the gateway first."""
    with contextlib.ExitStack() as programs:
        say("   starting the sandbox (stand-in of the Cakemail API)")
        log = folder / "sandbox.log"
        sandbox = start(["cakemail_sandbox", "--port", str(ports.sandbox)], {}, log)
        programs.callback(stop, sandbox)
        wait_until_answers(sandbox, f"http://127.0.0.1:{ports.sandbox}/", log)
        say("   starting the gateway")
        log = folder / "gateway.log"
        gateway = start(["smtp_gateway"], gateway_variables(ports, folder), log)
        programs.callback(stop, gateway)
        wait_until_answers(gateway, f"http://127.0.0.1:{ports.health}/health/ready", log)
        yield


def example(ports: Ports) -> str:
    """The README's smtplib example with this demo's host, port and login."""
    text = files("cakemail_sandbox").joinpath("example.txt").read_text(encoding="utf-8")
    return (
        text.replace('"smtp.example.com", 587', f'"localhost", {ports.submission}')
        .replace("you@example.com", USER)
        .replace("your-password", PASSWORD)
    )


def send(ports: Ports, folder: Path) -> list[str]:
    """Run the example; returns the dialogue, one line a step.

    Raises:
        DemoFailed: the example ended with an error.
    """
    done = subprocess.run(  # noqa: S603  # our own text
        [sys.executable, "-c", TRACED + example(ports)],
        env={"SSL_CERT_FILE": str(folder / "tls.crt")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SEND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise DemoFailed(f"the example did not send its mail:\n{done.stderr}")
    return dialogue(done.stderr)


# What smtplib writes behind these words is a literal of Python.
_TRACED = re.compile(r"^(send|reply): (b?['\"].*['\"])$")


def dialogue(trace: str) -> list[str]:
    """The trace of smtplib as ``C:`` and ``S:`` lines, without credentials and text."""
    lines: list[str] = []
    uploading = False
    for entry in trace.splitlines():
        traced = _TRACED.match(entry)
        if traced is None:
            continue
        text = _text(traced[2])
        if traced[1] == "reply":
            uploading = text.startswith("354")
            lines.append(f"S: {text}")
            continue
        if uploading:
            text = f"(the message, {len(text) - 1} octets, and the final dot)"
        elif text.upper().startswith("AUTH "):
            text = " ".join([*text.split()[:2], "(credentials)"])
        lines.append(f"C: {text}")
    return lines


def _text(literal: str) -> str:
    """One line, or the message with its dot, without the line end behind it."""
    sent: str | bytes = ast.literal_eval(literal)
    text = sent if isinstance(sent, str) else sent.decode("latin-1")
    return text.removesuffix("\r\n")


def arrived(ports: Ports) -> dict[str, Any]:
    """The request that the sandbox got.

    Raises:
        DemoFailed: none came.
    """
    url = f"http://127.0.0.1:{ports.sandbox}/sandbox/emails?wait=10&count=1"
    mails: list[dict[str, Any]] = json.loads(fetch(url, seconds=15))
    if not mails:
        raise DemoFailed("the gateway said 250, and the sandbox holds no mail")
    return mails[-1]


def shown(request: dict[str, Any]) -> str:
    """The body of a request for a person: long attachment contents are cut."""
    body = dict(request["body"])
    body["attachment"] = [
        {**each, "content": f"{each['content'][:24]}... ({len(each['content'])} characters)"}
        for each in body.get("attachment", [])
    ]
    return json.dumps(body, indent=2, ensure_ascii=False)


def demonstrate(ports: Ports, folder: Path) -> None:
    """Send one mail and show what became of it."""
    say("\n2. The mail, sent by the README's example (smtplib, STARTTLS, AUTH)\n")
    for line in send(ports, folder):
        say(f"   {line}")
    request = arrived(ports)
    say(f"\n3. The API request that came out: POST {request['path']}\n")
    say(shown(request))
    if not request["accepted"]:
        raise DemoFailed("the sandbox did not accept the mail")
    say("\nThe mail arrived.")


def keep_open(ports: Ports) -> None:
    """Leave both running until Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt):
        say(f"\n   Inbox:    http://127.0.0.1:{ports.sandbox}/")
        say(f"   SMTP:     localhost:{ports.submission} (STARTTLS), :{ports.submissions} (TLS)")
        say(f"   Login:    {USER} / {PASSWORD}")
        say(f"   Metrics:  http://127.0.0.1:{ports.health}/metrics")
        say("\n   Ctrl-C ends both.")
        signal.pause()
    say("\n   stopping")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status is 0 only if the mail arrived."""
    parser = argparse.ArgumentParser(prog="python -m cakemail_sandbox.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the mail has arrived")
    once = parser.parse_args(arguments).once
    # Both programs are processes of their own groups: nobody else would end them. SIGINT is set
    # as well, because a shell lets programs in its background ignore it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    ports = choose_ports()
    with tempfile.TemporaryDirectory(prefix="smtp-gateway-demo-") as name:
        folder = Path(name)
        say("\n1. Two programs on this machine\n\n   making a self-signed certificate (ECDSA)")
        write_self_signed(folder / "tls.crt", folder / "tls.key", names=("localhost",))
        try:
            with running(ports, folder):
                demonstrate(ports, folder)
                if not once:
                    keep_open(ports)
        except DemoFailed as failure:
            print(f"\n{failure}", file=sys.stderr)  # noqa: T201  # the demo speaks to a person
            return 1
        except KeyboardInterrupt:
            say("\n   stopped")
            return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
