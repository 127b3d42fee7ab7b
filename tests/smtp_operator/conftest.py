"""Fixtures of the operator's tests that need an API server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.gateways import Gateways
from tests.support.kubernetes import Kubernetes


@pytest.fixture(scope="session")
def gateways(kubernetes: Kubernetes) -> Iterator[Gateways]:
    """A cluster that serves SmtpGateways, and the answers that people get there."""
    client = Gateways(kubernetes)
    client.install()
    yield client
    client.close()
