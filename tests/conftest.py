"""Fixtures that tests in every folder may use; each lives in ``tests/support``."""

pytest_plugins = ["tests.support.fixtures"]
