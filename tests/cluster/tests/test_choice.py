"""Which cluster the tests get, and what it means that there is none; no cluster is started here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.kubernetes import Unavailable
from tests.support.kubernetes_fixtures import must_fail
from tests.support.kubernetes_kind import node_port_twin
from tests.support.kubernetes_sources import choose


def test_without_a_cluster_the_reason_is_told(tmp_path: Path) -> None:
    """Whoever reads the skip knows what to install."""
    with pytest.raises(Unavailable) as caught:
        choose("kind", [], tmp_path, {"kind_bin": "no-such-kind"})

    assert str(caught.value) == "no Kubernetes cluster here:\n  kind: kind is not installed"


@pytest.mark.parametrize(
    ("required", "ci", "fails"),
    [
        ([], False, False),
        (["dns"], False, False),
        ([], True, True),
        (["dns"], True, True),
        (["api"], True, False),
    ],
)
def test_what_is_required_may_not_be_lacking_in_ci(
    required: list[str], *, ci: bool, fails: bool
) -> None:
    """At home a skip; in CI a failure, unless the run says that it does not require it."""
    assert must_fail({"dns", "pods"}, required, ci=ci) is fails


def test_a_service_has_a_twin_with_a_node_port() -> None:
    """The same pods, without a change to the Service itself."""
    service = {
        "metadata": {"namespace": "here", "name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }

    assert node_port_twin(service, 80) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "here", "name": "web-reach-80"},
        "spec": {
            "type": "NodePort",
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": "http"}],
        },
    }
    with pytest.raises(LookupError, match="Service web has no port 81"):
        node_port_twin(service, 81)
