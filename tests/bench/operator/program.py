"""The operator as a process of its own, and what it and the API server count."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.processes import Use, use
from tests.support.gateway import free_ports

STOP_SECONDS = 30
# What the operator alone asks for in this cluster: controllers read these from their watches, and
# nobody else applies. Its Events it counts itself.
RESOURCES = frozenset({
    "smtpgateways", "deployments", "services", "serviceaccounts", "configmaps", "secrets",
    "networkpolicies", "horizontalpodautoscalers", "poddisruptionbudgets",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counts:
    """Since the start of whoever counts.

    Attributes:
        reads: GET, by the API server.
        writes: apply, patch and delete of anything but a Lease, by the API server; those that the
            measuring client makes are on it.
        sent: writes and Events, by the operator.
        looks: how often it looked at a gateway.
        gateways: how many it has looked at.
        leading: whether it holds the Lease.
        detail: what ``writes`` and ``sent`` are made of.
    """

    reads: int
    writes: int
    sent: int
    looks: int
    gateways: int
    leading: bool
    detail: Counter[str]


class Program:
    """One running operator."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self._url = f"http://127.0.0.1:{port}/metrics"

    def use(self) -> Use:
        """CPU and memory so far."""
        return use(self._process.pid)

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    async def counts(self, api_metrics: str) -> Counts:
        """All counters, with what the API server counts (its metrics as text)."""
        async with aiohttp.ClientSession() as session, session.get(self._url) as answer:
            own = await answer.text()
        detail = _writes(api_metrics)
        sent = _total(own, "smtp_operator_apply") + _total(own, "smtp_operator_events", "sent")
        written = _total(own, "smtp_operator_apply")
        return Counts(
            reads=detail.pop("GET"),
            writes=detail.total(),
            sent=sent,
            looks=_total(own, "smtp_operator_reconcile"),
            gateways=_total(own, "smtp_operator_gateways"),
            leading=_total(own, "smtp_operator_leader") == 1,
            detail=detail + Counter({"operator apply": written, "operator Events": sent - written}),
        )


def _writes(text: str) -> Counter[str]:
    """By verb and resource; all reads under GET."""
    found: Counter[str] = Counter({"GET": 0})
    for family in text_string_to_metric_families(text):
        if family.name != "apiserver_request":
            continue
        for sample in family.samples:
            labels = sample.labels
            if labels.get("resource") not in RESOURCES or not sample.name.endswith("_total"):
                continue
            if labels["verb"] == "GET":
                found["GET"] += int(sample.value)
            elif labels["verb"] in {"APPLY", "DELETE"}:
                found[f"{labels['verb']} {labels['resource']}"] += int(sample.value)
    return found


def _total(text: str, name: str, result: str = "") -> int:
    return int(
        sum(
            sample.value
            for family in text_string_to_metric_families(text)
            if family.name == name
            for sample in family.samples
            if not sample.name.endswith("_created") and result in {"", sample.labels.get("result")}
        )
    )


@contextmanager
def operator(kubeconfig: Path, log: Path, resync_seconds: int) -> Iterator[Program]:
    """Run it with the settings that it is shipped with, but for the resync's interval."""
    (port,) = free_ports(1)
    variables = {
        "PATH": os.defpath,
        "KUBECONFIG": str(kubeconfig),
        "GATEWAY_IMAGE": "registry.test/gateway:1",
        "POD_NAMESPACE": "smtp-operator",
        "POD_NAME": "bench",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "RESYNC_SECONDS": str(resync_seconds),
        "LOG_LEVEL": "WARNING",
    }
    with log.open("ab") as file:
        command = [sys.executable, "-m", "smtp_operator"]
        process = subprocess.Popen(command, env=variables, stdout=file, stderr=file)
    try:
        yield Program(process, port)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
