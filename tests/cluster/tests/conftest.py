"""Clusters for the tests. Each module has its own, since most tests break something."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.cluster import images, preflight
from tests.cluster.addons import enable
from tests.cluster.cluster import Cluster
from tests.cluster.images import Image
from tests.cluster.tests.deployments import HERE, WEB_IMAGE
from tests.support.tools import missing

StartCluster = Callable[..., Cluster]


@pytest.fixture(scope="session")
def capable_machine() -> None:
    """These tests are about this rig: no other source of clusters will do."""
    if found := preflight.problems():
        missing("; ".join(f"{name}: {problem}" for name, problem in found.items()))


@pytest.fixture(scope="session")
def web_image(capable_machine: None) -> Image:
    """An application of one file, built from a Dockerfile with a pip step."""
    return images.build(HERE / "web", WEB_IMAGE)


@pytest.fixture(scope="module")
def start_cluster(web_image: Image) -> Iterator[StartCluster]:
    """Start a cluster with the example image loaded; it ends with the module."""
    started: list[Cluster] = []

    def start(nodes: int = 1, *addons: str) -> Cluster:
        cluster = Cluster(f"test-{uuid.uuid4().hex[:8]}", progress=print)
        started.append(cluster)
        cluster.up(nodes)
        cluster.load_image(web_image)
        for addon in addons:
            assert enable(cluster, addon)
        return cluster

    yield start
    for cluster in started:
        cluster.down()
