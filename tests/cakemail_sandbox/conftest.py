"""A client of the sandbox's API, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.support.sandbox import PASSWORD, USERNAME, Sandbox

Login = Callable[[str], httpx.Client]


@pytest.fixture
def anonymous(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client that has not logged in."""
    with httpx.Client(base_url=sandbox.url, timeout=20) as client:
        yield client


@pytest.fixture
def api(anonymous: httpx.Client) -> httpx.Client:
    """A client logged in as the demo user."""
    return as_bearer(anonymous, bearer_of(anonymous, USERNAME))


def bearer_of(client: httpx.Client, username: str) -> str:
    """Log in by password; the token."""
    answer = client.post("/token", data={"username": username, "password": PASSWORD})
    return str(answer.json()["access_token"])


def as_bearer(client: httpx.Client, token: str) -> httpx.Client:
    """The same client, from now on with this token."""
    client.headers["authorization"] = f"Bearer {token}"
    return client
