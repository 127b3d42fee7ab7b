"""Fixtures, options and markers of tests that need a cluster; registered in ``tests/conftest.py``.

``@pytest.mark.needs("pods", "dns")`` on a test, a class or a module says what it needs; the fixture
``kubernetes`` is the cluster. A missing capability skips at home. With ``CI`` set it fails if it is
one of ``--require``, or any when that is not given: a run that proves nothing is not green.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pytest

from tests.cluster.settings import variable
from tests.support.kubernetes import CAPABILITIES, Kubernetes, Unavailable
from tests.support.kubernetes_sources import SOURCES, choose
from tests.support.tools import missing

_WANTED = pytest.StashKey[set[str]]()
_TIMEOUT_SECONDS = 900  # of one test, with what its fixtures start for the whole session
_KIND_OPTIONS = ("cluster_name", "keep_cluster", "kind_image", "kind_bin")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what a run may choose."""
    group = parser.getgroup("cluster")
    group.addoption(
        "--cluster-source",
        choices=list(SOURCES),
        help="where the cluster comes from (default: the first that is there)",
    )
    group.addoption(
        "--require",
        default="",
        metavar="CAPABILITY,...",
        help="with CI set, lacking one of these fails instead of skips (default: lacking any)",
    )


def needs_of(item: pytest.Item) -> set[str]:
    """The capabilities that a test asks for."""
    return {str(word) for mark in item.iter_markers("needs") for word in mark.args}


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a capability needs a cluster, and time."""
    for item in items:
        if unknown := needs_of(item) - CAPABILITIES.keys():
            raise pytest.UsageError(f"{item.nodeid} needs unknown {sorted(unknown)}")
        if needs_of(item):
            item.add_marker("cluster")
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TIMEOUT_SECONDS))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Remember what the chosen tests want together."""
    session.config.stash[_WANTED] = {need for item in session.items for need in needs_of(item)}


@pytest.fixture(scope="session")
def kubernetes(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kubernetes]:
    """A running cluster, for all tests of the session; each keeps to namespaces of its own."""
    options = {name: pytestconfig.getoption(name, None) for name in _KIND_OPTIONS}
    named = pytestconfig.getoption("cluster_source")
    wanted = pytestconfig.stash.get(_WANTED, set())
    try:
        cluster = choose(named, wanted, tmp_path_factory.mktemp("cluster"), options)
    except Unavailable as reason:
        missing(str(reason))
    yield cluster
    cluster.close()


@pytest.fixture
def namespace(kubernetes: Kubernetes) -> Iterator[str]:
    """A fresh namespace in which pods may be as restricted as the product's are."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with kubernetes.namespace(labels) as name:
        yield name


def must_fail(lacking: Collection[str], required: Collection[str], *, ci: bool) -> bool:
    """Whether lacking these is a failure."""
    return ci and (not required or bool(set(lacking) & set(required)))


@pytest.fixture(autouse=True)
def _has_what_it_needs(request: pytest.FixtureRequest) -> None:
    needed = needs_of(request.node)
    if not needed:
        return
    cluster: Kubernetes = request.getfixturevalue("kubernetes")
    lacking = sorted(needed - cluster.capabilities)
    if not lacking:
        return
    reason = f"the {cluster.source} cluster has no {', '.join(lacking)}"
    required = str(request.config.getoption("require")).split(",")
    if must_fail(lacking, list(filter(None, required)), ci=bool(variable("CI"))):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
