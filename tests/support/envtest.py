"""An API server alone, as ordinary processes of this machine: no root, no namespaces, no pods.

The programs are those that controller projects call envtest assets: etcd, kube-apiserver, kubectl
in one folder. A kube-controller-manager beside them is used when it is there.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster import control_plane
from tests.cluster.cluster import LOOPBACK
from tests.cluster.commands import ClusterError, CommandFailed, wait_until
from tests.cluster.pki import ClusterKeys, rewrite_server
from tests.support.kubernetes import Address, Kubernetes

_NEEDED = ("etcd", "kube-apiserver", "kubectl")
_CONTROLLERS = "kube-controller-manager"
_START_SECONDS = 60
_STOP_SECONDS = 20


def missing_programs(assets: Path) -> list[str]:
    """What the folder lacks."""
    return [name for name in _NEEDED if not (assets / name).exists()]


def has_controllers(assets: Path) -> bool:
    """Whether the controllers of Kubernetes can run too."""
    return (assets / _CONTROLLERS).exists()


class Envtest(Kubernetes):
    """etcd and API server on loopback ports that were free."""

    def __init__(self, assets: Path, folder: Path, capabilities: Sequence[str]) -> None:
        super().__init__("envtest", folder / "kubeconfig", capabilities, assets / "kubectl")
        self._assets = assets
        self._folder = folder
        self._pki = folder / "pki"
        self._processes: list[subprocess.Popen[bytes]] = []
        client_port, peer_port, self._port = _free_ports(3)
        self._etcd = f"http://{LOOPBACK}:{client_port}"
        self._peer = f"http://{LOOPBACK}:{peer_port}"
        ClusterKeys.create(self._pki)
        try:
            self._start()
        except ClusterError:
            self.close()
            raise

    def _start(self) -> None:
        self._spawn("etcd", self._etcd_flags())
        self._spawn("kube-apiserver", self._apiserver_flags())
        self._kubeconfig("admin", self.kubeconfig)
        wait_until("the API server is ready", self._ready, _START_SECONDS)
        if has_controllers(self._assets):
            self._kubeconfig(_CONTROLLERS, self._pki / f"{_CONTROLLERS}.kubeconfig")
            self._spawn(_CONTROLLERS, self._controller_flags())

    def _kubeconfig(self, name: str, target: Path) -> None:
        source = self._pki / f"{name}.kubeconfig"
        rewrite_server(source, target, f"https://{LOOPBACK}:{self._port}")

    def _etcd_flags(self) -> dict[str, object]:
        return {
            **control_plane.etcd_flags(),
            "data-dir": self._folder / "etcd",
            "listen-client-urls": self._etcd,
            "advertise-client-urls": self._etcd,
            "listen-peer-urls": self._peer,
            "initial-advertise-peer-urls": self._peer,
            "initial-cluster": f"local={self._peer}",
        }

    def _apiserver_flags(self) -> dict[str, object]:
        flags = {
            **control_plane.apiserver_flags(self._pki),
            "etcd-servers": self._etcd,
            "bind-address": LOOPBACK,
            "advertise-address": LOOPBACK,
            "endpoint-reconciler-type": "none",  # loopback may not be an endpoint
            "secure-port": self._port,
            "cert-dir": self._folder / "apiserver",
        }
        if not has_controllers(self._assets):
            # Nobody makes the ServiceAccounts that it asks for.
            flags["disable-admission-plugins"] = "ServiceAccount"
        return flags

    def _controller_flags(self) -> dict[str, object]:
        (port,) = _free_ports(1)
        flags = control_plane.controller_manager_flags(self._pki)
        return {**flags, "secure-port": port, "cert-dir": self._folder / "controllers"}

    def _spawn(self, name: str, flags: Mapping[str, object]) -> None:
        command = [str(self._assets / name), *control_plane.arguments(flags)]
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _ready(self) -> bool:
        for process in self._processes:
            if process.poll() is not None:
                raise ClusterError(f"{process.args!r} has ended; its log is in {self._folder}")
        try:
            return self.kubectl("get", "--raw=/readyz") == "ok"
        except CommandFailed:
            return False

    def load_image(self, archive: Path) -> None:
        """Nothing runs here."""
        raise ClusterError("there are no nodes: mark the test with needs('images')")

    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """Nothing runs here."""
        raise ClusterError("there are no pods: mark the test with needs('pods')")

    def host_url(self, port: int, scheme: str = "http") -> str:
        """The API server shares the loopback; this is for webhooks by URL."""
        return f"{scheme}://{LOOPBACK}:{port}"

    def close(self) -> None:
        """End the processes, the youngest first."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
