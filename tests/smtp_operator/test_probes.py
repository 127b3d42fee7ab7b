"""Health and metrics over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from smtp_operator.probes import Probes
from smtp_operator.telemetry import Metrics


class Condition:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.dead: list[str] = []
        self.unready: list[str] = []

    def deadly(self) -> list[str]:
        """See ``Health``."""
        return self.dead

    def faults(self) -> list[str]:
        """See ``Health``."""
        return self.unready

    def details(self) -> dict[str, Any]:
        """See ``Health``."""
        return {"leading": False}


@pytest.fixture
async def served() -> AsyncIterator[tuple[Condition, str]]:
    """Probes on a free port."""
    condition = Condition()
    probes = Probes(condition, Metrics(CollectorRegistry()).registry, "127.0.0.1", 0)
    port = await probes.start()
    yield condition, f"http://127.0.0.1:{port}"
    await probes.stop()


async def get(url: str) -> tuple[int, Any]:
    """Status and JSON."""
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


async def test_a_standby_is_ready(served: tuple[Condition, str]) -> None:
    """Leadership is told, and makes nobody unready."""
    _, url = served
    assert await get(f"{url}/readyz") == (
        200, {"status": "ready", "faults": [], "details": {"leading": False}},
    )  # fmt: skip
    assert (await get(f"{url}/livez"))[0] == 200


async def test_faults_are_told(served: tuple[Condition, str]) -> None:
    """Not ready is not dead."""
    condition, url = served
    condition.unready = ["the CRDs are missing"]
    status, body = await get(f"{url}/readyz")
    assert (status, body["faults"]) == (503, ["the CRDs are missing"])
    assert (await get(f"{url}/livez"))[0] == 200
    condition.dead = ["every watch is old"]
    assert (await get(f"{url}/livez"))[0] == 503


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_without_an_address_both_versions_are_served(host: str) -> None:
    """The kubelet probes a pod by the first of its addresses, whichever family that is."""
    probes = Probes(Condition(), CollectorRegistry(), "", 0)
    port = await probes.start()
    assert (await get(f"http://{host}:{port}/livez"))[0] == 200
    await probes.stop()


async def test_metrics_are_prometheus_text(served: tuple[Condition, str]) -> None:
    """With the type that a scraper asks for."""
    _, url = served
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert "smtp_operator_leader 0.0" in await answer.text()
