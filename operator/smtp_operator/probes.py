"""Three paths for the platform: is it alive, is it ready, what does it count."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from smtp_operator.utils.sockets import listen

OK, SERVICE_UNAVAILABLE = 200, 503
STOP_SECONDS = 1.0


class Health(Protocol):
    """Who knows how the program is."""

    def deadly(self) -> list[str]:
        """Why it should be restarted; [] when it should not."""
        ...

    def faults(self) -> list[str]:
        """Why it is not ready; [] when it is."""
        ...

    def details(self) -> dict[str, Any]:
        """What else is good to know."""
        ...


class Probes:
    """A small HTTP server.

    Args:
        health: who is asked.
        registry: of the metrics.
        host: address to listen on; "" for all, of IPv4 and IPv6.
        port: port to listen on; 0 for any.
    """

    def __init__(self, health: Health, registry: CollectorRegistry, host: str, port: int) -> None:
        self._health = health
        self._registry = registry
        self._host, self._port = host, port
        app = web.Application()
        app.add_routes(
            [
                web.get("/livez", self._live),
                web.get("/readyz", self._ready),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)

    async def start(self) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the address cannot be taken.
        """
        await self._runner.setup()
        await web.SockSite(self._runner, listen(self._host, self._port)).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return _answer(self._health.deadly(), {}, "live")

    async def _ready(self, _: web.Request) -> web.Response:
        return _answer(self._health.faults(), self._health.details(), "ready")

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(faults: list[str], details: dict[str, Any], word: str) -> web.Response:
    body = {"status": f"not {word}" if faults else word, "faults": faults, "details": details}
    return web.json_response(body, status=SERVICE_UNAVAILABLE if faults else OK)
