"""Two nodes: traffic between them, draining, loss and replacement."""

from __future__ import annotations

import time

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.commands import CommandFailed
from tests.cluster.images import Image
from tests.cluster.tests.conftest import StartCluster
from tests.cluster.tests.deployments import (
    answers,
    deploy_web,
    field,
    get,
    nodes_of_web,
    seconds_until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster) -> Cluster:
    """Two nodes."""
    return start_cluster(2)


def test_pods_spread_and_see_each_others_real_addresses(cluster: Cluster) -> None:
    """Nodes are zones of their own, and no address is hidden on the way."""
    service = deploy_web(cluster)
    assert sorted(nodes_of_web(cluster)) == ["node1", "node2"]
    assert (
        field(cluster, "nodes", "{.items[*].metadata.labels.topology\\.kubernetes\\.io/zone}")
        == "zone-1 zone-2"
    )
    pods = (
        field(cluster, "pods", "{range .items[*]}{.metadata.name} {.status.podIP}{'\\n'}{end}")
        .strip()
        .splitlines()
    )
    (first, first_address), (_, second_address) = (line.split() for line in pods)
    ask = (
        "import urllib.request as r; "
        "print(r.urlopen('http://%s/peer', timeout=5).read().decode().strip())"
    )
    assert (
        cluster.kubectl("exec", first, "--", "python", "-c", ask % f"{second_address}:8080").strip()
        == first_address
    )
    assert cluster.kubectl("exec", first, "--", "python", "-c", ask % service).strip()
    assert get(cluster, second_address, "/peer", 8080) == "10.99.0.254"


def test_a_disruption_budget_holds_a_drain_back(cluster: Cluster) -> None:
    """Draining waits for the budget and goes on when it allows."""
    deploy_web(cluster)
    cluster.kubectl(
        "create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2"
    )
    drain = ("drain", "node1", "--ignore-daemonsets", "--delete-emptydir-data")
    with pytest.raises(CommandFailed, match="disruption budget"):
        cluster.kubectl(*drain, "--timeout=20s")
    cluster.kubectl("patch", "poddisruptionbudget", "web", '--patch={"spec":{"minAvailable":1}}')
    begin = time.monotonic()
    cluster.kubectl(*drain, "--timeout=110s")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
    print(f"drained and whole again: {time.monotonic() - begin:.1f} s")
    assert set(nodes_of_web(cluster)) == {"node2"}
    cluster.kubectl("uncordon", "node1")
    cluster.kubectl("delete", "poddisruptionbudget", "web")


def test_pods_of_a_lost_node_come_back_elsewhere_and_on_a_new_node(
    cluster: Cluster, web_image: Image
) -> None:
    """Power off is noticed, replaced, and a new node joins."""
    cluster.kubectl("rollout", "restart", "deployment/web")
    address = deploy_web(cluster)
    assert set(nodes_of_web(cluster)) == {"node1", "node2"}
    cluster.lose_node("node2")
    begin = time.monotonic()
    seconds_until("node2 is not ready", lambda: not _ready(cluster, "node2"), 120)
    print(f"NotReady after {time.monotonic() - begin:.1f} s")
    seconds_until(
        "two ready pods elsewhere", lambda: _ready_pods_beside(cluster, "node2") == 2, 240
    )
    print(f"replacement Ready after {time.monotonic() - begin:.1f} s")
    seconds_until("the Service answers", lambda: answers(cluster, address), 60)
    cluster.kubectl("delete", "node", "node2")
    begin = time.monotonic()
    assert cluster.add_node() == "node3"
    print(f"new node Ready after {time.monotonic() - begin:.1f} s")
    cluster.load_image(web_image)
    cluster.kubectl("rollout", "restart", "deployment/web")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=110s")
    assert "node3" in nodes_of_web(cluster)


def test_a_cut_node_is_not_ready_until_it_is_mended(cluster: Cluster) -> None:
    """A pulled cable is noticed, and so is its return."""
    cluster.cut_node("node1")
    noticed = seconds_until("not ready", lambda: not _ready(cluster, "node1"), 120)
    print(f"NotReady after {noticed:.1f} s")
    cluster.mend_node("node1")
    again = seconds_until("ready", lambda: _ready(cluster, "node1"), 120)
    print(f"Ready again after {again:.1f} s")


def _ready_pods_beside(cluster: Cluster, lost: str) -> int:
    """Those of the lost node are ready no more once somebody has said so."""
    ready = "{.status.conditions[?(@.type=='Ready')].status}"
    path = f"{{range .items[*]}}{{.spec.nodeName}} {ready}{{'\\n'}}{{end}}"
    lines = field(cluster, "pods", path, "default", "--selector=app=web").splitlines()
    return sum(line.endswith(" True") and not line.startswith(f"{lost} ") for line in lines)


def _ready(cluster: Cluster, node: str) -> bool:
    return (
        field(cluster, f"node/{node}", "{.status.conditions[?(@.type=='Ready')].status}") == "True"
    )
