"""A cluster of kind: Kubernetes in containers, through pytest-kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tests.cluster.commands import run
from tests.support.kubernetes import Address, Kubernetes, helm_if_installed
from tests.support.kubernetes_forwards import Forwarded

_KIND_CONFIG = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
  - role: worker
"""


def gateway() -> str:
    """The address by which containers of kind's network reach this machine."""
    network = json.loads(run("docker", "network", "inspect", "kind"))[0]
    gateways = [entry.get("Gateway", "") for entry in network["IPAM"]["Config"]]
    return next(str(address) for address in gateways if "." in address)


def _node_address(cluster: Kubernetes) -> str:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    addresses = {entry["type"]: entry["address"] for entry in nodes[-1]["status"]["addresses"]}
    return str(addresses["InternalIP"])


def node_port_twin(service: Mapping[str, Any], port: int) -> dict[str, Any]:
    """A Service with the same pods behind a node port that the cluster chooses.

    Raises:
        LookupError: the Service has no such port.
    """
    ports = [entry for entry in service["spec"]["ports"] if entry["port"] == port]
    if not ports:
        raise LookupError(f"Service {service['metadata']['name']} has no port {port}")
    metadata = service["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": metadata["namespace"],
            "name": f"{metadata['name'][:50]}-reach-{port}",
        },
        "spec": {
            "type": "NodePort",
            "selector": service["spec"]["selector"],
            "ports": [{"port": port, "targetPort": ports[0]["targetPort"]}],
        },
    }


class KindCluster(Protocol):
    """What is used of pytest-kind's class of this name."""

    name: str
    kubeconfig_path: Path
    kind_path: Path
    kubectl_path: Path

    def create(self, config_file: Path) -> None:
        """Start it, or take the one of this name that is running."""

    def delete(self) -> None:
        """End it."""


class Kind(Forwarded):
    """A cluster of kind, made for this session.

    Args:
        cluster: not created yet.
        folder: for files.
        host_address: the address by which its containers reach this machine; none: asked for.
        keep: whether it outlives the session.
    """

    def __init__(
        self, cluster: KindCluster, folder: Path, host_address: str | None = None, *, keep: bool
    ) -> None:
        self._cluster = cluster
        self._keep = keep
        config = folder / "kind.yaml"
        config.write_text(_KIND_CONFIG, encoding="utf-8")
        cluster.create(config)
        self.host_address = host_address or gateway()
        offered = {"api", "controllers", "pods", "images", "multinode", "dns"}
        offered.add("netpol")  # since kind 0.24: https://github.com/kubernetes-sigs/kind/issues/842
        offered |= {"webhooks", "extmetrics"} | helm_if_installed()
        super().__init__("kind", cluster.kubeconfig_path, offered, str(cluster.kubectl_path))
        self.kubectl("wait", "--for=condition=Ready", "--timeout=120s", "nodes", "--all")

    def load_image(self, archive: Path) -> None:
        """Into every node."""
        name = f"--name={self._cluster.name}"
        run(self._cluster.kind_path, "load", "image-archive", archive, name, timeout=300)

    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """A Service by a node port of its own, so that all its pods answer; a pod by forwarding."""
        if not target.startswith("service/"):
            return super().reach(target, port, namespace)
        twin = node_port_twin(self.get(target, namespace), port)
        self.apply(twin)
        made = self.get(f"service/{twin['metadata']['name']}", namespace)
        return Address(_node_address(self), int(made["spec"]["ports"][0]["nodePort"]))

    def close(self) -> None:
        """Delete the cluster."""
        super().close()
        if not self._keep:
            self._cluster.delete()
