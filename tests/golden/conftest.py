"""The switch that rewrites the expected results; it is declared in ``tests/conftest.py``."""

from __future__ import annotations

import pytest


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Was ``--update-golden`` given?"""
    return bool(request.config.getoption("--update-golden"))
