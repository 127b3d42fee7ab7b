"""CPU and memory of pods and nodes, for autoscalers and `kubectl top`: metrics-server."""

from __future__ import annotations

import base64

from tests.cluster.addons.services import outside_service
from tests.cluster.cluster import Cluster
from tests.cluster.commands import ClusterError, CommandFailed, wait_until
from tests.cluster.pki import ClusterKeys
from tests.cluster.programs import METRICS_SERVER
from tests.cluster.settings import API_ADDRESS

_NAMESPACE = "kube-system"
_NAME = "metrics-server"
_PORT = 4443
_API = "v1beta1.metrics.k8s.io"
_SERVED_SECONDS = 120  # 20 where nothing else is at work


def enable(cluster: Cluster) -> None:
    """Return when metrics of nodes are served."""
    program = METRICS_SERVER.build() / _NAME
    pki = cluster.run.pki
    keys = ClusterKeys.load(pki)
    keys.save_kubeconfig(_NAME, _NAME, ["system:masters"])
    keys.save_server(f"{_NAME}-serving", [f"{_NAME}.{_NAMESPACE}.svc"])
    kubeconfig = pki / f"{_NAME}.kubeconfig"
    cluster.machines.control_plane.spawn(
        _NAME,
        program,
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={API_ADDRESS}",
        f"--secure-port={_PORT}",
        f"--tls-cert-file={pki / _NAME}-serving.crt",
        f"--tls-private-key-file={pki / _NAME}-serving.key",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--kubelet-use-node-status-port",
        "--metric-resolution=10s",  # the least that it accepts
        "--kubelet-request-timeout=5s",  # must be less than that
    )
    api = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": _API},
        "spec": {
            "group": "metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": base64.b64encode((pki / "ca.crt").read_bytes()).decode(),
            "service": {"namespace": _NAMESPACE, "name": _NAME, "port": 443},
        },
    }
    cluster.apply(*outside_service(_NAMESPACE, _NAME, 443, _PORT, API_ADDRESS), api)
    try:
        wait_until("metrics are served", lambda: _served(cluster), _SERVED_SECONDS)
    except ClusterError:
        # An API that is named and does not answer keeps every deleted namespace from ending.
        cluster.kubectl("delete", "--ignore-not-found", f"apiservice/{_API}")
        raise


def _served(cluster: Cluster) -> bool:
    cluster.machines.control_plane.expect_alive(_NAME)
    try:
        return bool(cluster.kubectl("top", "nodes", "--no-headers"))
    except CommandFailed:
        return False
