"""Certificates, and both event loops, for what runs over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gateway import Certificates, make_certificates


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
