"""Certificates, and both event loops, for what runs over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.support.gateway import Certificates, make_certificates

LOOPS: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """A module that says ``EVERY_LOOP = True`` runs under each loop, the others under asyncio."""
    every = isinstance(item, pytest.Function) and getattr(item.module, "EVERY_LOOP", False)
    return LOOPS if every else {"asyncio": LOOPS["asyncio"]}


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority and one ECDSA pair, for tests that do not change it."""
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def own_certificates(tmp_path: Path) -> Certificates:
    """A pair of the test's own."""
    folder = tmp_path / "tls"
    folder.mkdir()
    return make_certificates(folder)
