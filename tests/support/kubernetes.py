"""What a test sees of a Kubernetes cluster, whatever the cluster comes from.

The places that one can come from are in ``kubernetes_sources``, the fixtures in
``kubernetes_fixtures``.
"""

from __future__ import annotations

import json
import secrets
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.commands import run

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

CAPABILITIES: Mapping[str, str] = {
    "api": "an API server",
    "controllers": "the controllers of Kubernetes run: Deployments get ReplicaSets and pods",
    "pods": "pods run",
    "images": "`load_image` works",
    "multinode": "there are two nodes or more",
    "dns": "names of Services resolve in pods",
    "metrics": "CPU and memory of pods are measured, autoscalers can follow them",
    "extmetrics": "the test process may serve external metrics to autoscalers",
    "webhooks": "pods and the API server reach the test process: `host_url` works",
    "certificates": "cert-manager answers Certificates",
    "netpol": "NetworkPolicies are enforced",
    "loadbalancer": "Services of type LoadBalancer get an address",
    "fakenodes": "`tests.cluster.addons.fake_nodes` adds nodes without containers",
    "helm": "the helm program is there: `program('helm')`",
    "nodes": "nodes can be added, lost and cut: `local`",
}


class Unavailable(Exception):
    """There is no cluster from this source on this machine. The message says why, in one line."""


@dataclass(frozen=True)
class Address:
    """Where the test process connects to."""

    host: str
    port: int


class Kubernetes(ABC):
    """A running cluster.

    Args:
        source: where it comes from.
        kubeconfig: the administrator's, usable by any program of this machine.
        capabilities: names of ``CAPABILITIES``.
        kubectl_path: the program.
    """

    local: Cluster | None = None
    """The cluster itself where it is our own, for what no other source can do."""

    def __init__(
        self, source: str, kubeconfig: Path, capabilities: Sequence[str], kubectl_path: str | Path
    ) -> None:
        self.source = source
        self.kubeconfig = kubeconfig
        self.capabilities = frozenset(capabilities)
        self._kubectl = str(kubectl_path)

    def kubectl(self, *argv: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl as the administrator and return its output.

        Raises:
            CommandFailed: it ended with another status than 0.
        """
        target = f"--kubeconfig={self.kubeconfig}"
        return run(self._kubectl, target, *argv, stdin=stdin, timeout=timeout)

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Create or change objects."""
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--server-side", "--filename=-", stdin=manifest)

    def get(self, target: str, namespace: str = "default") -> dict[str, Any]:
        """One object, such as ``pod/name``, as the API has it."""
        found: dict[str, Any] = json.loads(
            self.kubectl("--namespace", namespace, "get", target, "--output=json")
        )
        return found

    @contextmanager
    def namespace(self, labels: Mapping[str, str] | None = None) -> Iterator[str]:
        """A fresh one of a random name; all in it is deleted at the end."""
        name = f"test-{secrets.token_hex(4)}"
        metadata = {"name": name, "labels": dict(labels or {})}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            yield name
        finally:
            self.kubectl("delete", "namespace", name, "--wait=false")

    def program(self, name: str) -> Path:
        """A program for this cluster, such as ``helm`` or ``kubectl``.

        Raises:
            LookupError: it is not there; `capabilities` says so before.
        """
        found = self._kubectl if name == "kubectl" else shutil.which(name)
        if found is None:
            raise LookupError(f"{name} is not installed")
        return Path(found)

    @abstractmethod
    def load_image(self, archive: Path) -> None:
        """Let pods use the image of an archive, with ``imagePullPolicy: IfNotPresent``."""

    @abstractmethod
    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """Where this machine connects to reach a port of ``service/name`` or ``pod/name``."""

    @abstractmethod
    def host_url(self, port: int, scheme: str = "http") -> str:
        """The URL by which pods reach a server of this machine's loopback."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind that was not there before."""


def helm_if_installed() -> set[str]:
    """The capability of that name, where this machine has the program."""
    return {"helm"} if shutil.which("helm") else set()
