"""Fixtures of the tests against a scripted API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.api_bench import Bench, bench


@pytest.fixture
async def parts() -> AsyncIterator[Bench]:
    """A bench with the usual settings."""
    async with bench() as made:
        yield made
