"""The gateway as a test uses it: the real program, as a process, with a certificate of its own.

Ports are chosen by the system; the process is ready when its own readiness says so.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme

START_SECONDS = 30
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Certificates:
    """A CA for one test run, and the pair of files a gateway reads."""

    folder: Path
    authority: trustme.CA

    @property
    def ca_path(self) -> Path:
        """What clients trust, PEM."""
        return self.folder / "ca.pem"

    @property
    def chain_path(self) -> Path:
        """The gateway's certificate, PEM."""
        return self.folder / "tls.crt"

    @property
    def key_path(self) -> Path:
        """The gateway's key, PEM."""
        return self.folder / "tls.key"

    def renew(self) -> None:
        """Write a new key and certificate of the same authority."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(self.key_path)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        self.chain_path.write_bytes(chain)


def make_certificates(folder: Path) -> Certificates:
    """A fresh authority with one ECDSA certificate for localhost."""
    made = Certificates(folder, trustme.CA(key_type=trustme.KeyType.ECDSA))
    made.authority.cert_pem.write_to_path(made.ca_path)
    made.renew()
    return made


def free_ports(count: int) -> list[int]:
    """Ports of loopback that were free just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class GatewayProcess:
    """One running gateway.

    Args:
        api_url: base of the API it delivers to.
        certificates: what it serves TLS with.
        folder: where its log goes.
        variables: settings beside or instead of the test's usual ones.
    """

    def __init__(
        self,
        api_url: str,
        certificates: Certificates,
        folder: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.port, self.tls_port, self.http_port = free_ports(3)
        self.ca_path = certificates.ca_path
        self.log_path = folder / f"gateway-{self.port}.log"
        self.variables = {
            "CAKEMAIL_API_URL": api_url,
            "SMTP_HOST": "127.0.0.1",
            "SMTP_HOSTNAME": "localhost",
            "SMTP_PORT": str(self.port),
            "SMTPS_PORT": str(self.tls_port),
            "SMTP_PRE_STOP": "0",
            "HTTP_HOST": "127.0.0.1",
            "HTTP_PORT": str(self.http_port),
            "TLS_CERT_PATH": str(certificates.chain_path),
            "TLS_KEY_PATH": str(certificates.key_path),
            "RATE_LIMIT_PER_IP": "0",
        } | dict(variables or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it; returns when it is ready."""
        passed = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME"}}  # noqa: TID251  # what any program needs
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "smtp_gateway"],
                env=passed | self.variables,
                cwd=self.log_path.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return once readiness is green."""
        limit = time.monotonic() + START_SECONDS
        while self.readiness()[0] != 200:
            assert self.process.poll() is None, self.log_text()
            assert time.monotonic() < limit, self.log_text()
            time.sleep(0.02)  # another program's start can only be asked for

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Status and body of /health/ready; 0 while nobody answers."""
        url = f"http://127.0.0.1:{self.http_port}/health/ready"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, json.loads(refused.read())
        except OSError:
            return 0, {}

    def is_alive(self) -> bool:
        """Whether /health/live is green."""
        url = f"http://127.0.0.1:{self.http_port}/health/live"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)

    def metric(self, series: str) -> float:
        """The value of one series, named with its labels as /metrics writes it."""
        url = f"http://127.0.0.1:{self.http_port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.rpartition(" ")
                if name == series:
                    return float(value)
        raise LookupError(series)

    def client_context(self) -> ssl.SSLContext:
        """What a client uses that trusts this gateway's authority and nobody else."""
        return ssl.create_default_context(cafile=self.ca_path)

    def log_text(self) -> str:
        """Everything that was logged."""
        return self.log_path.read_text(encoding="utf-8")

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        """The log's lines of one event."""
        lines = [json.loads(line) for line in self.log_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def stop(self, *, seconds: float = STOP_SECONDS) -> int:
        """SIGTERM; returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL, for a process that must not or will not drain."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def running_gateway(
    api_url: str,
    certificates: Certificates,
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> Iterator[GatewayProcess]:
    """A gateway for the time of the block; it must end well by itself."""
    gateway = GatewayProcess(api_url, certificates, folder, variables)
    try:
        gateway.start()
        yield gateway
        assert gateway.stop() == 0, gateway.log_text()
    finally:
        gateway.kill()
