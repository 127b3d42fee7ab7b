"""The way to the API set up against a scripted server, with a given clock."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from smtp_gateway.api.client import ApiClient
from smtp_gateway.api.lookups import Lookups
from smtp_gateway.api.tokens import CredentialStore
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.tasks import TaskOwner
from tests.support.api_double import ApiDouble, Said, said
from tests.support.fakes import GivenClock

USER = "shop@example.test"
PASSWORD = "correct horse"
ACCESS_TOKEN = "ck_pat_" + "0123456789abcdef" * 2 + "01234567"

FORBIDDEN = {"detail": [{"msg": "Forbidden", "type": "bad_request", "code": 8004}]}


def jwt(**claims: Any) -> str:
    """A token in the form of a JWT, with a signature that nobody checks."""
    parts = (orjson.dumps({"alg": "RS256"}), orjson.dumps(claims), b"signature")
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def granted(access_token: str = "bearer-1", refresh_token: str = "refresh-1", **more: Any) -> Said:
    """200 of the token service."""
    return said(
        200,
        {
            "access_token": access_token,
            "token_type": "bearer",
            "expires_in": 432_000,
            "refresh_token": refresh_token,
            "accounts": [7, 8],
        }
        | more,
    )


def account(status: str = "active", *, use_email_api: bool = True) -> Said:
    """200 of the account resource."""
    limits = {"use_email_api": use_email_api, "remaining": None}
    return said(200, {"data": {"id": "7", "status": status, "usage_limits": limits}})


@dataclass(slots=True)
class Bench:
    """All parts; ``failures`` are defects of tasks, and a test that has one is wrong."""

    api: ApiDouble
    client: ApiClient
    clock: GivenClock
    metrics: Metrics
    tasks: TaskOwner
    store: CredentialStore
    lookups: Lookups

    def errors(self, kind: str) -> float:
        """How often an error was counted."""
        value = self.metrics.registry.get_sample_value(
            "smtp_api_errors_total", {"error_type": kind}
        )
        assert value is not None
        return value

    def cached(self) -> float:
        """The size of the credential cache, as its metric tells it."""
        value = self.metrics.registry.get_sample_value("smtp_api_key_cache_size")
        assert value is not None
        return value


@contextlib.asynccontextmanager
async def bench(*, login_seconds: float = 5.0, capacity: int = 100) -> AsyncIterator[Bench]:
    """Everything between a login and the API, with an API that grants and answers well."""
    failures: list[BaseException] = []
    async with ApiDouble() as api:
        api.on("POST /token", granted())
        api.on("GET /accounts/self", account())
        clock, metrics = GivenClock(), Metrics(CollectorRegistry())
        client = ApiClient(api.base_url, f"{api.base_url}/token", metrics, clock=clock)
        tasks = TaskOwner(lambda _, failure: failures.append(failure))
        store = CredentialStore(
            client, clock, metrics, tasks, login_seconds=login_seconds, capacity=capacity
        )
        try:
            yield Bench(api, client, clock, metrics, tasks, store, Lookups(client, clock, tasks))
        finally:
            await tasks.cancel()
            await client.aclose()
    assert failures == []
