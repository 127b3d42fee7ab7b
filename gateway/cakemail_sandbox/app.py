"""Composition: the API's endpoints, the sandbox's own pages and controls, and the front."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response

from cakemail_sandbox import control, emails, inbox, lookups, tokens
from cakemail_sandbox.answers import Refusal
from cakemail_sandbox.calls import response
from cakemail_sandbox.front import Front
from cakemail_sandbox.wire import METER
from cakemail_sandbox.world import House

ROUTERS = (tokens.router, emails.router, lookups.router, control.router, inbox.router)


def build(house: House) -> Front:
    """The whole application for one house."""

    @asynccontextmanager
    async def lifespan(_application: FastAPI) -> AsyncIterator[dict[str, Any]]:
        yield {METER: house.meter}
        house.world.end()

    application = FastAPI(
        lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    application.state.house = house
    application.add_exception_handler(Refusal, _refused)
    for router in ROUTERS:
        application.include_router(router)
    return Front(application, house)


async def _refused(_request: Request, refusal: Exception) -> Response:
    if not isinstance(refusal, Refusal):
        raise refusal
    return response(refusal.answer)
