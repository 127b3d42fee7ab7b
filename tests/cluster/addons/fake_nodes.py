"""Nodes and pods without containers, by the hundred: kwok keeps them Ready and Running."""

from __future__ import annotations

import urllib.request

from tests.cluster.cluster import Cluster
from tests.cluster.commands import run, wait_until
from tests.cluster.pki import ClusterKeys
from tests.cluster.programs import KWOK
from tests.cluster.settings import API_ADDRESS

LABEL = {"type": "kwok"}
TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
TOLERATION = {
    "key": TAINT["key"],
    "operator": "Equal",
    "value": TAINT["value"],
    "effect": TAINT["effect"],
}
_ANNOTATION = {"kwok.x-k8s.io/node": "fake"}
_SERVER = f"{API_ADDRESS}:10247"


def enable(cluster: Cluster) -> None:
    """Start kwok, without any node yet: see `add`."""
    programs = KWOK.build()
    stages = cluster.machines.control_plane.folder / "kwok.yaml"
    stages.write_text(
        run(programs / "kwok-stages")
    )  # started without, it has none and ends at once
    ClusterKeys.load(cluster.run.pki).save_kubeconfig("kwok", "kwok", ["system:masters"])
    cluster.machines.control_plane.spawn(
        "kwok",
        programs / "kwok",
        f"--config={stages}",
        f"--kubeconfig={cluster.run.pki / 'kwok.kubeconfig'}",
        "--manage-nodes-with-annotation-selector="
        + "".join(f"{k}={v}" for k, v in _ANNOTATION.items()),
        "--cidr=10.245.0.0/16",  # nothing listens there: the pods are not real
        f"--node-ip={API_ADDRESS}",
        "--node-lease-duration-seconds=40",
        f"--server-address={_SERVER}",
    )
    wait_until("kwok is ready", lambda: _ready(cluster), 120)


def _ready(cluster: Cluster) -> bool:
    cluster.machines.control_plane.expect_alive("kwok")
    try:
        with cluster.inside(), urllib.request.urlopen(f"http://{_SERVER}/readyz", timeout=5):
            return True
    except OSError:
        return False


def add(cluster: Cluster, count: int, pods_each: int = 110) -> list[str]:
    """Only pods that tolerate TAINT go there; select LABEL to send them nowhere else."""
    names = [f"fake{number}" for number in range(1, count + 1)]
    cluster.apply(*(_node(name, pods_each) for name in names))
    cluster.kubectl(
        "wait", "--for=condition=Ready", "--timeout=110s", *(f"node/{name}" for name in names)
    )
    return names


def _node(name: str, pods: int) -> dict[str, object]:
    size = {"cpu": "32", "memory": "256Gi", "pods": str(pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": _ANNOTATION,
            "labels": {**LABEL, "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"allocatable": size, "capacity": size},
    }
