"""Health and metrics over a real socket."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway.http.app import build_http
from smtp_gateway.http.health import Health
from smtp_gateway.http.server import HttpServer
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.tasks import TaskOwner

GOOD = Health(
    listening=True,
    draining=False,
    certificate_usable=True,
    memory_left=True,
    details={"breaker": {"email": "open"}},
)


class Facts:
    """A source whose facts a test sets."""

    now = GOOD

    def health(self) -> Health:
        """The facts now."""
        return self.now


@pytest.fixture
def facts() -> Facts:
    """Facts of a gateway that is well."""
    return Facts()


@pytest.fixture
async def http(facts: Facts) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the served application."""
    registry = CollectorRegistry()
    Metrics(registry).emails_received["accepted"].inc()
    server = HttpServer(build_http(facts, registry), "127.0.0.1", 0)
    port = server.bind()
    failures: list[BaseException] = []
    tasks = TaskOwner(lambda _name, error: failures.append(error))
    serving = tasks.spawn(server.serve(), name="http")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.stop()
    await serving
    assert failures == []


async def test_live_answers_while_the_loop_turns(http: httpx.AsyncClient, facts: Facts) -> None:
    """Liveness stays green even when nothing else is."""
    facts.now = replace(GOOD, memory_left=False, draining=True)
    answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


async def test_ready_when_every_fact_is_good(http: httpx.AsyncClient) -> None:
    """An open breaker of the API stands beside and changes nothing."""
    answer = await http.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "faults": [],
        "details": {"breaker": {"email": "open"}},
    }


@pytest.mark.trap(29)
@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"listening": False}, "not listening"),
        ({"draining": True}, "draining"),
        ({"certificate_usable": False}, "no usable certificate"),
        ({"memory_left": False}, "no memory left"),
    ],
)
async def test_each_fault_turns_readiness_red_and_is_named(
    http: httpx.AsyncClient, facts: Facts, change: dict[str, bool], fault: str
) -> None:
    """Somebody who reads the probe's body knows why."""
    facts.now = replace(GOOD, **change)  # type: ignore[arg-type]  # names stand in the table above
    answer = await http.get("/health/ready")
    assert (answer.status_code, answer.json()["faults"]) == (503, [fault])


async def test_metrics_are_prometheus_text(http: httpx.AsyncClient) -> None:
    """Every series is there from the start, at zero until counted."""
    answer = await http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'smtp_emails_received_total{status="accepted"} 1.0' in answer.text
    assert 'smtp_emails_received_total{status="deferred"} 0.0' in answer.text


async def test_no_page_loads_scripts_from_elsewhere(http: httpx.AsyncClient) -> None:
    """The generated explorer is off."""
    assert (await http.get("/docs")).status_code == 404
    assert (await http.get("/openapi.json")).status_code == 404
