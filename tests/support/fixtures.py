"""Fixtures for every folder of tests; registered in ``tests/conftest.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cakemail_sandbox import seed as seeds
from tests.support.sandbox import Sandbox


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    """One server for all tests: starting one costs more than most tests."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    """The sandbox with the packaged seed, with nothing captured and no faults."""
    running_sandbox.clear(seeds.load())
    return running_sandbox
