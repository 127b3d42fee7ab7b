"""Cluster DNS: CoreDNS beside the control plane, at the address of every pod's name server."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.addons.services import outside_service
from tests.cluster.cluster import Cluster
from tests.cluster.commands import ClusterError, wait_until
from tests.cluster.pki import ClusterKeys
from tests.cluster.programs import COREDNS
from tests.cluster.settings import API_ADDRESS, CLUSTER_DOMAIN, DNS_SERVICE_ADDRESS

_NAME = "kube-dns"


def hosts_file(cluster: Cluster) -> Path:
    """Names of the outside, in the form of /etc/hosts. Read again every second."""
    return cluster.machines.control_plane.folder / "hosts"


def enable(cluster: Cluster) -> None:
    """Return when names are answered."""
    program = COREDNS.build() / "coredns"
    machine = cluster.machines.control_plane
    ClusterKeys.load(cluster.run.pki).save_kubeconfig("coredns", "coredns", ["system:masters"])
    hosts_file(cluster).touch()
    corefile = machine.folder / "Corefile"
    corefile.write_text(_corefile(cluster.run.pki / "coredns.kubeconfig", hosts_file(cluster)))
    machine.spawn("coredns", program, f"-conf={corefile}")
    ports = outside_service(
        "kube-system", _NAME, 53, 53, API_ADDRESS, ("TCP", "UDP"), DNS_SERVICE_ADDRESS
    )
    cluster.apply(*ports)
    wait_until("cluster DNS answers", lambda: _answers(cluster), 120)


def _answers(cluster: Cluster) -> bool:
    cluster.machines.control_plane.expect_alive("coredns")
    try:
        return bool(cluster.execute("getent", "hosts", f"kubernetes.default.svc.{CLUSTER_DOMAIN}"))
    except ClusterError:
        return False


def _corefile(kubeconfig: Path, hosts: Path) -> str:
    return f"""\
.:53 {{
    bind {API_ADDRESS}
    errors
    loadbalance
    hosts {hosts} {{
        ttl 1
        reload 1s
        fallthrough
    }}
    kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 1
    }}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""
