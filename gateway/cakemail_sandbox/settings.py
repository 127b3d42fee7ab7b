"""What may be chosen when the sandbox starts; frozen, and handed down from here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Beside the ports that local mail catchers are known by, so that both can run.
DEFAULT_PORT = 8026
HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Start-up settings.

    Attributes:
        host: address to listen on; loopback, because the sandbox lets anybody read all mail.
        port: TCP port; 0 lets the system choose.
        seed_path: JSON file with accounts, users and tokens; none: the packaged set.
        kept_requests: how many requests are kept in full; the oldest are forgotten first.
        kept_bytes: bound of all kept request bodies together, octets.
        largest_body_bytes: requests above it are answered 413 unread, octets. A mail of 25 MiB is
            34 MiB in base64, so twice that leaves room to find a gateway that sends too much.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    seed_path: Path | None = None
    kept_requests: int = 20_000
    kept_bytes: int = 512 * 1024 * 1024
    largest_body_bytes: int = 72 * 1024 * 1024


def from_arguments(arguments: Sequence[str]) -> SandboxSettings:
    """Read the command line; ends the program with one clear line when it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m cakemail_sandbox",
        description="A local stand-in of the Cakemail API, with an inbox page.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="0: any free port")
    parser.add_argument("--seed", type=Path, help="JSON file with accounts, users and tokens")
    chosen = parser.parse_args(arguments)
    return SandboxSettings(host=chosen.host, port=chosen.port, seed_path=chosen.seed)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"not a TCP port: {text!r}")
    return int(text)
