"""Fixtures of the operator's tests that need an API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.support.faulty_api_world import Picture, undisturbed
from tests.support.gateways import Gateways
from tests.support.kubernetes import Kubernetes


@pytest.fixture(scope="session")
def gateways(kubernetes: Kubernetes) -> Iterator[Gateways]:
    """A cluster that serves SmtpGateways, and the answers that people get there."""
    client = Gateways(kubernetes)
    client.install()
    yield client
    client.close()


@pytest.fixture(scope="session")
def undisturbed_picture(
    kubernetes: Kubernetes, gateways: Gateways, unused_tcp_port_factory: Callable[[], int]
) -> Picture:
    """What a fleet comes to without any fault; faults may delay it, not change it."""
    assert gateways is not None
    with kubernetes.namespace() as namespace:
        return asyncio.run(undisturbed(kubernetes, namespace, unused_tcp_port_factory))
