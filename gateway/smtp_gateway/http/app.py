"""Three paths for the platform: is it alive, is it ready, what does it count."""

from __future__ import annotations

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from smtp_gateway import __version__
from smtp_gateway.http.health import HealthSource

OK, SERVICE_UNAVAILABLE = 200, 503


def build_http(source: HealthSource, registry: CollectorRegistry) -> FastAPI:
    """The application; it holds no state of its own."""
    # No generated pages: they load scripts from elsewhere, and three paths need no explorer.
    http = FastAPI(title="Cakemail SMTP gateway", version=__version__, openapi_url=None)

    @http.get("/health/live")
    async def live() -> JSONResponse:
        """The loop turns, else this would not answer; a restart would lose what is in flight."""
        return JSONResponse({"status": "live"})

    @http.get("/health/ready")
    async def ready() -> JSONResponse:
        """Whether new connections should come here."""
        health = source.health()
        body = {
            "status": "not ready" if health.faults else "ready",
            "faults": health.faults,
            "details": health.details,
        }
        return JSONResponse(body, status_code=SERVICE_UNAVAILABLE if health.faults else OK)

    @http.get("/metrics")
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return http
