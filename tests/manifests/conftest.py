"""Fixtures of tests that install what ``manifests/`` holds, as users do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.fleet import IMAGES, OPERATOR, InstalledOperator
from tests.support.images import archive_of
from tests.support.kubernetes import Kubernetes


@pytest.fixture(scope="session")
def loaded_images(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The images under the names that base, demo and charts have."""
    folder = tmp_path_factory.mktemp("images")
    for dockerfile, name in IMAGES.items():
        kubernetes.load_image(archive_of(dockerfile, name, folder))
    return list(IMAGES.values())


@pytest.fixture
def nobody_operates(kubernetes: Kubernetes) -> Iterator[None]:
    """No operator before; afterwards none again, whatever the test has left of one.

    It serves the whole cluster, so it would answer for objects of other tests too.
    """
    namespaces = kubernetes.kubectl("get", "namespaces", "--output=name").split()
    assert f"namespace/{OPERATOR}" not in namespaces
    yield
    InstalledOperator(kubernetes).remove()
