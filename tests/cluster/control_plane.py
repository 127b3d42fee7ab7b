"""etcd, API server, controllers and scheduler.

On a machine of their own, so that no lost node takes them along.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.cluster.commands import CommandFailed, wait_until
from tests.cluster.machine import Machine
from tests.cluster.settings import API_ADDRESS, API_PORT, CLUSTER_DOMAIN, SERVICE_NETWORK

_ETCD = "http://127.0.0.1:2379"
_ETCD_PEER = "http://127.0.0.1:2380"
_DAEMONS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def start(machine: Machine, programs: Path, pki: Path) -> None:
    """Start all and return when the API server is ready, which the others find by themselves.

    Raises:
        ClusterError: one of them has ended, or the API server is not ready in time.
    """
    for name, flags in (("etcd", etcd_flags()), ("kube-apiserver", apiserver_flags(pki))):
        machine.spawn(name, programs / name, *arguments(flags))
    _wait_ready(machine, programs, pki / "admin.kubeconfig")
    for name, flags in (
        ("kube-controller-manager", controller_manager_flags(pki)),
        ("kube-scheduler", _scheduler(pki)),
    ):
        machine.spawn(name, programs / name, *arguments(flags))


def check(machine: Machine) -> None:
    """See that none has ended.

    Raises:
        ClusterError: one has.
    """
    machine.expect_alive(*_DAEMONS)


def _wait_ready(machine: Machine, programs: Path, kubeconfig: Path) -> None:
    def ready() -> bool:
        machine.expect_alive("etcd", "kube-apiserver")
        try:
            kubectl = (programs / "kubectl", f"--kubeconfig={kubeconfig}")
            return machine.execute(*kubectl, "get", "--raw=/readyz") == "ok"
        except CommandFailed:
            return False

    wait_until("the API server is ready", ready, 180)


def arguments(flags: Mapping[str, object]) -> list[str]:
    """Flags as words of a command line."""
    return [f"--{name}={value}" for name, value in flags.items()]


def etcd_flags() -> dict[str, object]:
    """One member, in memory, without a wait for any disk."""
    return {
        "name": "local",
        "data-dir": "/run/etcd",  # in memory, and gone with the machine
        "unsafe-no-fsync": "true",
        "log-level": "warn",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": _ETCD_PEER,
        "initial-advertise-peer-urls": _ETCD_PEER,
        "initial-cluster": f"local={_ETCD_PEER}",
    }


def apiserver_flags(pki: Path) -> dict[str, object]:
    """What any installation sets, and little else."""
    return {
        "etcd-servers": _ETCD,
        "advertise-address": API_ADDRESS,
        "secure-port": API_PORT,
        "service-cluster-ip-range": SERVICE_NETWORK,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "cert-dir": "/run/kubernetes",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "client-ca-file": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet-client.crt",
        "kubelet-client-key": pki / "apiserver-kubelet-client.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "service-account-key-file": pki / "sa.pub",
        "service-account-signing-key-file": pki / "sa.key",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        # Webhooks and aggregated APIs are dialled at their endpoint: there is no kube-proxy here.
        "enable-aggregator-routing": "true",
        # A pod leaves a lost node after this, not after the usual five minutes.
        "default-not-ready-toleration-seconds": 10,
        "default-unreachable-toleration-seconds": 10,
    }


def controller_manager_flags(pki: Path) -> dict[str, object]:
    """All controllers, with patience that suits tests."""
    kubeconfig = pki / "kube-controller-manager.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "cert-dir": "/run/kubernetes",
        "cluster-name": "local",
        "client-ca-file": pki / "ca.crt",
        "root-ca-file": pki / "ca.crt",
        "requestheader-client-ca-file": pki / "front-proxy-ca.crt",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "service-account-private-key-file": pki / "sa.key",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "allocate-node-cidrs": "false",
        # Autoscaling and node loss within a test's patience. Probes and leases still bear a
        # starved machine.
        "horizontal-pod-autoscaler-sync-period": "5s",
        "horizontal-pod-autoscaler-downscale-stabilization": "10s",
        "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
        "horizontal-pod-autoscaler-cpu-initialization-period": "10s",
        "node-monitor-period": "2s",
        "node-monitor-grace-period": "20s",
    }


def _scheduler(pki: Path) -> dict[str, object]:
    kubeconfig = pki / "kube-scheduler.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "cert-dir": "/run/kubernetes",
        "leader-elect": "false",
    }
