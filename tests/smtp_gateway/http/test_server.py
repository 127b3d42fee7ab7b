"""The HTTP server inside another program's loop."""

import signal
import socket

import httpx
import pytest
from fastapi import FastAPI

from smtp_gateway.http.server import HttpServer
from smtp_gateway.utils.tasks import TaskOwner


async def test_it_serves_until_it_is_told_to_stop() -> None:
    """A stop ends the task, and the port is free again."""
    failures: list[BaseException] = []
    tasks = TaskOwner(lambda _name, error: failures.append(error))
    server = HttpServer(FastAPI(), "127.0.0.1", 0)
    port = server.bind()
    serving = tasks.spawn(server.serve(), name="http")
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/none")
    assert answer.status_code == 404
    server.stop()
    await serving
    assert failures == []
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_without_an_address_both_versions_are_served(host: str) -> None:
    """The kubelet probes a pod by the first of its addresses, whichever family that is."""
    tasks = TaskOwner(lambda _name, _error: None)
    server = HttpServer(FastAPI(), "", 0)
    port = server.bind()
    serving = tasks.spawn(server.serve(), name="http")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://{host}:{port}/none")).status_code == 404
    server.stop()
    await serving


async def test_signals_stay_with_the_program() -> None:
    """A drain of mail comes before the end of health."""
    before = signal.getsignal(signal.SIGTERM)
    tasks = TaskOwner(lambda _name, _error: None)
    server = HttpServer(FastAPI(), "127.0.0.1", 0)
    port = server.bind()
    serving = tasks.spawn(server.serve(), name="http")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/")).status_code == 404
    assert signal.getsignal(signal.SIGTERM) is before
    server.stop()
    await serving


def test_a_taken_port_is_an_error_at_once() -> None:
    """Binding comes before serving, so that a start can end with a reason."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = HttpServer(FastAPI(), "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            server.bind()
