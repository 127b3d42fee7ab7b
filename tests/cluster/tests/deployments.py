"""The example deployment, and what tests ask of it."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.commands import wait_until

HERE = Path(__file__).parent
WEB_IMAGE = "localhost/localcluster/web:1"


def deploy_web(cluster: Cluster, replicas: int = 2, namespace: str = "default") -> str:
    """Deploy the example and wait for it. Returns the Service's address."""
    manifest = (
        (HERE / "web" / "web.yaml").read_text().replace("replicas: 2", f"replicas: {replicas}")
    )
    cluster.kubectl("--namespace", namespace, "apply", "--filename=-", stdin=manifest)
    status = ("rollout", "status", "deployment/web", "--timeout=240s")
    cluster.kubectl("--namespace", namespace, *status, timeout=300)
    address = field(cluster, "service/web", "{.spec.clusterIP}", namespace)
    wait_until("the Service answers", lambda: answers(cluster, address), 60, interval=0.05)
    return address


def field(
    cluster: Cluster, target: str, path: str, namespace: str = "default", *options: str
) -> str:
    """One field of an object, by JSONPath."""
    return cluster.kubectl(
        "--namespace", namespace, "get", target, f"--output=jsonpath={path}", *options
    )


def ready_replicas(cluster: Cluster) -> int:
    """How many pods of the example are ready."""
    return int(field(cluster, "deployment/web", "{.status.readyReplicas}") or 0)


def nodes_of_web(cluster: Cluster) -> list[str]:
    """The node of each running pod of the example."""
    running = ("--selector=app=web", "--field-selector=status.phase=Running")
    return field(cluster, "pods", "{.items[*].spec.nodeName}", "default", *running).split()


def get(
    cluster: Cluster, address: str, path: str = "/", port: int = 80, timeout: float = 10
) -> str:
    """GET from the switch."""
    with cluster.inside():
        connection = http.client.HTTPConnection(address, port, timeout=timeout)
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode().strip()
        connection.close()
    assert answer.status == 200, body
    return body


def answers(cluster: Cluster, address: str, path: str = "/", port: int = 80) -> bool:
    """Whether a GET from the switch gets an answer."""
    try:
        return bool(get(cluster, address, path, port))
    except OSError:
        return False


def seconds_until(what: str, condition: Callable[[], bool], limit: float) -> float:
    """Wait for it, at most ``limit`` seconds, and say how long it took."""
    begin = time.monotonic()
    wait_until(what, condition, limit)
    return time.monotonic() - begin
