"""Fixtures that tests in every folder may use; each lives in ``tests/support``."""

import pytest

pytest_plugins = ["tests.support.fixtures", "tests.support.kubernetes_fixtures"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options must be declared here: pytest reads no deeper file before the command line."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the expected results of tests/golden from what the code does now",
    )
