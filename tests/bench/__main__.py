"""``make bench``: process CPU per mail and peak memory of the gateway, with the conditions.

The generator and the API behind the gateway are one compiled program on another core, so the
figure is the gateway's own: user and system time of its processes, divided by mails answered 250.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cakemail_sandbox.certificate import write_self_signed
from tests.bench.lag import LagWatch
from tests.bench.message import large_message, message
from tests.bench.processes import pinned, use
from tests.support.gateway import free_ports

HERE = Path(__file__).parent
GATEWAY_CORE, LOAD_CORE = 0, 1
API_DELAY = "50ms"
WARM_UP = 10  # a tenth of the count, before anything is measured
START_SECONDS, RUN_SECONDS = 30, 540
ALLOCATOR = {  # as in Dockerfile.gateway
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One row of the report."""

    name: str
    clients: int
    per_connection: int
    count: int


def shapes(*, quick: bool) -> list[Shape]:
    """What is measured."""
    count = 1500 if quick else 5000
    return [
        Shape("1 mail per connection", 50, 1, count),
        Shape("100 mails per connection", 40, 100, count * 2),
        Shape("500 clients, 1 mail per connection", 500, 1, count * 2),
    ]


def build_load(folder: Path) -> Path:
    """Compile the generator.

    Raises:
        SystemExit: there is no Go.
    """
    if shutil.which("go") is None:
        sys.exit("bench: the load generator is built with Go (Debian: apt install golang-go)")
    program = folder / "load"
    subprocess.run(["go", "build", "-o", program, "."], cwd=HERE / "load", check=True)
    return program


@contextlib.contextmanager
def api_double(load: Path, folder: Path) -> Iterator[str]:
    """The API behind the gateway; yields its address."""
    command = [str(load), "api", "-delay", API_DELAY]
    command += ["-cert", str(folder / "tls.crt"), "-key", str(folder / "tls.key")]
    program = subprocess.Popen(pinned(command, LOAD_CORE), stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    try:
        yield f"https://localhost:{program.stdout.readline().strip()}"
    finally:
        program.kill()
        program.communicate()


@contextlib.contextmanager
def gateway(api_url: str, folder: Path) -> Iterator[tuple[int, int, int]]:
    """A fresh gateway on its own core; yields its process number, its port, its HTTP port."""
    port, http_port = free_ports(2)
    variables = {
        "CAKEMAIL_API_URL": api_url,
        "CAKEMAIL_CA_PATH": str(folder / "tls.crt"),
        "SMTP_HOST": "127.0.0.1",
        "SMTP_HOSTNAME": "localhost",
        "SMTP_PORT": str(port),
        "SMTP_PRE_STOP": "0",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(http_port),
        "TLS_CERT_PATH": str(folder / "tls.crt"),
        "TLS_KEY_PATH": str(folder / "tls.key"),
        "RATE_LIMIT_PER_IP": "0",
        "CAKEMAIL_MAX_CALLS": "1000",
    }
    with (folder / "gateway.log").open("ab") as log:
        program = subprocess.Popen(
            pinned([sys.executable, "-m", "smtp_gateway"], GATEWAY_CORE),
            env={"PATH": os.defpath} | ALLOCATOR | variables,
            stdout=log,
            stderr=log,
        )
    try:
        wait_listening(program, port, folder / "gateway.log")
        yield program.pid, port, http_port
    finally:
        program.terminate()
        program.wait(START_SECONDS)


def wait_listening(program: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return once the port accepts."""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit and program.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    sys.exit(f"bench: the gateway did not start\n{log.read_text(encoding='utf-8')}")


def send(
    load: Path, folder: Path, port: int, shape: Shape, count: int, file: str = "message"
) -> dict[str, Any]:
    """One run of the generator; its report."""
    command = [str(load), "send", "-address", f"localhost:{port}", "-ca", str(folder / "tls.crt")]
    command += ["-message", str(folder / file), "-clients", str(shape.clients)]
    command += ["-count", str(count), "-per-connection", str(shape.per_connection)]
    done = subprocess.run(
        pinned(command, LOAD_CORE), capture_output=True, text=True, check=True, timeout=RUN_SECONDS
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def measure(load: Path, folder: Path, api_url: str, shape: Shape) -> dict[str, Any]:
    """One row: a fresh gateway, a warm-up, then the measured run."""
    with gateway(api_url, folder) as (pid, port, _):
        send(load, folder, port, shape, max(shape.count // WARM_UP, shape.clients))
        before = use(pid)
        report = send(load, folder, port, shape, shape.count)
        after = use(pid)
    if report["failed"] or report["accepted"] != shape.count:
        sys.exit(f"bench: {shape.name}: not every mail got its 250: {report}")
    return report | {
        "cpu_ms": (after.cpu_seconds - before.cpu_seconds) * 1000 / report["accepted"],
        "peak_mb": after.peak_bytes / 1e6,
    }


def show(shape: Shape, rows: list[dict[str, Any]]) -> None:
    """One line of the table: medians, and the range of the CPU figure."""
    cpu = [row["cpu_ms"] for row in rows]
    rate = statistics.median(row["accepted"] / row["seconds"] for row in rows)
    peak = max(row["peak_mb"] for row in rows)
    p99 = statistics.median(row["p99_ms"] for row in rows)
    print(
        f"| {shape.name} | {statistics.median(cpu):.2f} ({min(cpu):.2f}-{max(cpu):.2f}) "
        f"| {rate:.0f} | {p99:.0f} | {peak:.0f} |",
        flush=True,
    )


SMALL = Shape("50 clients with small mail", 50, 100, 4000)
LARGE = Shape("2 clients with 25 MB", 2, 1, 10)


def measure_large(load: Path, folder: Path, api_url: str) -> None:
    """Small mail alone, then beside large mail: its p99, and how late the loop ran."""
    (folder / "large").write_bytes(large_message())
    with gateway(api_url, folder) as (pid, port, http_port):
        send(load, folder, port, SMALL, SMALL.count // WARM_UP)
        with LagWatch(http_port) as alone:
            before = send(load, folder, port, SMALL, SMALL.count)
        with LagWatch(http_port) as beside, ThreadPoolExecutor(1) as thread:
            large = thread.submit(send, load, folder, port, LARGE, LARGE.count, "large")
            mixed = send(load, folder, port, SMALL, SMALL.count)
            larges = large.result()
        peak = use(pid).peak_bytes / 1e6
    print("\n| small mail, 50 clients | p99 ms | worst lag of the loop ms | failed |")
    print("|---|---|---|---|")
    print(f"| alone | {before['p99_ms']:.0f} | {alone.worst_ms:.0f} | {before['failed']} |")
    failed = mixed["failed"] + larges["failed"]
    print(f"| beside 25 MB | {mixed['p99_ms']:.0f} | {beside.worst_ms:.0f} | {failed} |")
    print(f"\n{larges['accepted']} large mails, p99 {larges['p99_ms']:.0f} ms, peak {peak:.0f} MB")


def conditions() -> str:
    """What the figures depend on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return (
        f"{processor}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, uvloop {version('uvloop')}, "
        f"aiohttp {version('aiohttp')}; STARTTLS + AUTH, ECDSA P-256, message of "
        f"{len(message())} bytes, API answers after {API_DELAY}"
    )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument(
        "--large", action="store_true", help="25 MB beside small mail, nothing else"
    )
    parser.add_argument("--rounds", type=int, help="rounds, interleaved (default 3, quick 1)")
    chosen = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("bench: CPU and memory are read from /proc, which this system does not have")
    rounds = chosen.rounds or (1 if chosen.quick else 3)
    print(f"{conditions()}; rounds: {rounds}\n")
    if not chosen.large:
        print("| shape | CPU ms per mail, median (range) | mails/s | p99 ms | peak RSS MB |")
        print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="smtp-gateway-bench-") as name:
        folder = Path(name)
        write_self_signed(folder / "tls.crt", folder / "tls.key", names=("localhost",))
        (folder / "message").write_bytes(message())
        load = build_load(folder)
        with api_double(load, folder) as api_url:
            if chosen.large:
                measure_large(load, folder, api_url)
                return
            wanted = shapes(quick=chosen.quick)
            rows: dict[str, list[dict[str, Any]]] = {shape.name: [] for shape in wanted}
            for _ in range(rounds):
                for shape in wanted:
                    rows[shape.name].append(measure(load, folder, api_url, shape))
            for shape in wanted:
                show(shape, rows[shape.name])


if __name__ == "__main__":
    main()
