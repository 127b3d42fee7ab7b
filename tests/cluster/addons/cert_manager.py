"""Certificates from Issuer and Certificate objects, by cert-manager's own controllers.

They run beside the control plane. Self-signed and CA issuers only. Neither webhook nor CA injector:
what a real installation defaults or rejects at the API passes here.
"""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.cluster.commands import CommandFailed, wait_until
from tests.cluster.pki import ClusterKeys
from tests.cluster.programs import CERT_MANAGER

_NAME = "cert-manager"


def enable(cluster: Cluster) -> None:
    """Return when an issuer is answered for."""
    programs = CERT_MANAGER.build()
    cluster.kubectl("apply", "--server-side", f"--filename={programs / 'crds'}")
    cluster.kubectl(
        "wait", "--for=condition=Established", "--timeout=110s", f"--filename={programs / 'crds'}"
    )
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAME}})
    ClusterKeys.load(cluster.run.pki).save_kubeconfig(_NAME, _NAME, ["system:masters"])
    kubeconfig = cluster.run.pki / f"{_NAME}.kubeconfig"
    cluster.machines.control_plane.spawn(
        _NAME,
        programs / _NAME,
        f"--kubeconfig={kubeconfig}",
        f"--cluster-resource-namespace={_NAME}",
    )
    probe = {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Issuer",
        "metadata": {"namespace": _NAME, "name": "probe"},
        "spec": {"selfSigned": {}},
    }
    cluster.apply(probe)
    wait_until("cert-manager answers for an issuer", lambda: _probe_is_ready(cluster), 120)
    cluster.kubectl("--namespace", _NAME, "delete", "issuer", "probe")


def _probe_is_ready(cluster: Cluster) -> bool:
    cluster.machines.control_plane.expect_alive(_NAME)
    try:
        cluster.kubectl(
            "--namespace", _NAME, "wait", "--for=condition=Ready", "--timeout=5s", "issuer/probe"
        )
    except CommandFailed:
        return False
    return True
