"""Fixtures of the operator's tests that need an API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from smtp_operator.cluster.connection import Patience
from tests.support.faulty_api_world import Picture, World, undisturbed, world_of
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


@pytest.fixture
def patience() -> Patience:
    """How long the operator of ``world`` waits; modules have their own."""
    return Patience()


@pytest.fixture
async def world(
    kubernetes: Kubernetes,
    gateways: Gateways,
    namespace: str,
    unused_tcp_port_factory: Callable[[], int],
    patience: Patience,
) -> AsyncIterator[World]:
    """An operator behind a faulty API server, and a namespace without a fleet."""
    assert gateways is not None
    ports = unused_tcp_port_factory
    async with world_of(kubernetes, namespace, ports, patience=patience) as made:
        yield made
