"""A node: containerd, kubelet and kube-proxy on a machine of their own.

Their configuration is what a stock node would have; each departure says why.
"""

from __future__ import annotations

import json
import resource
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.commands import run, wait_until
from tests.cluster.images import Image
from tests.cluster.machine import Machine
from tests.cluster.pki import ClusterKeys
from tests.cluster.settings import CLUSTER_DOMAIN, DNS_SERVICE_ADDRESS, POD_NETWORK

CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
_CNI_PROGRAMS = "/usr/lib/cni"
_DAEMONS = ("containerd", "kubelet", "kube-proxy")


@dataclass(frozen=True)
class Place:
    """Where a node is: its address, its pods' network, its zone."""

    address: str
    pods: str
    zone: str


def start(
    machine: Machine, programs: Path, keys: ClusterKeys, place: Place, sandbox: Image
) -> None:
    """Start all three.

    The node registers itself; that it becomes Ready is for the caller to wait for.
    """
    keys.save_node(machine.name, place.address)
    config = machine.folder / "config"
    config.mkdir()
    (config / "containerd.toml").write_text(_containerd(config, sandbox.name))
    (config / "10-bridge.conflist").write_text(json.dumps(_network(machine.name, place.pods)))
    (config / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(machine, keys.folder)))
    machine.spawn("containerd", "containerd", f"--config={config / 'containerd.toml'}")
    start_service_proxy(machine, programs, keys.folder)
    _wait_for_runtime(machine)
    import_image(machine, sandbox.archive)
    machine.spawn(
        "kubelet",
        programs / "kubelet",
        f"--config={config / 'kubelet.yaml'}",
        f"--kubeconfig={keys.folder / machine.name}.kubeconfig",
        f"--hostname-override={machine.name}",
        f"--node-ip={place.address}",
        f"--node-labels=topology.kubernetes.io/zone={place.zone}",
    )


def start_service_proxy(machine: Machine, programs: Path, pki: Path) -> None:
    """Let the machine reach Services."""
    config = machine.folder / "kube-proxy.yaml"
    config.write_text(yaml.safe_dump(_service_proxy(machine.name, pki)))
    machine.spawn("kube-proxy", programs / "kube-proxy", f"--config={config}")


def wait_for_service_proxy(machine: Machine) -> None:
    """Return when it does.

    Raises:
        ClusterError: it does not in time.
    """

    def programmed() -> bool:
        machine.expect_alive("kube-proxy")
        return "chain services" in machine.execute("nft", "list", "ruleset")

    wait_until(f"kube-proxy on {machine.name} has set its rules", programmed, 120)


def _wait_for_runtime(machine: Machine) -> None:
    def listening() -> bool:
        machine.expect_alive("containerd")
        return Path(f"/proc/{machine.init}/root{CONTAINERD_SOCKET}").is_socket()

    wait_until(f"containerd on {machine.name} listens", listening, 120)


def import_image(machine: Machine, archive: Path) -> None:
    """Let the node's pods have the image of an OCI archive, under the name in the archive."""
    ctr = ("ctr", f"--address={CONTAINERD_SOCKET}", "--namespace=k8s.io")
    run(*ctr, "images", "import", archive, prefix=machine.enter("mount"), timeout=300)


def check(machine: Machine) -> None:
    """See that nothing has ended.

    Raises:
        ClusterError: one has.
    """
    machine.expect_alive(*_DAEMONS)


def _containerd(config: Path, sandbox_image: str) -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE the score that a sandbox asks for cannot be
    # set, and runc dies with "can't get final child's PID from pipe: EOF".
    return f"""\
version = 2
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  restrict_oom_score_adj = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PROGRAMS}"
    conf_dir = "{config}"
"""


def _network(node: str, pods: str) -> dict[str, object]:
    # No masquerade: the switch routes pod addresses, so every peer sees the real one, as the
    # network model of Kubernetes asks.
    return {
        "cniVersion": "1.0.0",
        "name": node,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(machine: Machine, pki: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,  # from 1.35 on it refuses version 1 otherwise
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{machine.cgroup.name}",  # lets several kubelets share one kernel
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "oomScoreAdj": 0,  # lowering it takes CAP_SYS_RESOURCE
        "maxOpenFiles": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "failSwapOn": False,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / f"{machine.name}.crt"),
        "tlsPrivateKeyFile": str(pki / f"{machine.name}.key"),
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": CLUSTER_DOMAIN,
        "volumePluginDir": "/var/lib/kubelet/plugins/volume",
        "evictionHard": {
            "memory.available": "200Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,  # loaded by hand: nobody could pull them again
        "nodeStatusUpdateFrequency": "4s",
        # A changed Secret or ConfigMap reaches the pods that mount it within this, not within the
        # usual minute.
        "syncFrequency": "10s",
        # Each kubelet believes that it owns the whole machine.
        "systemReserved": {"cpu": "100m", "memory": "512Mi"},
        "enforceNodeAllocatable": ["pods"],
    }


def _service_proxy(name: str, pki: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "nodePortAddresses": ["primary"],
        "nftables": {
            "minSyncPeriod": "100ms"
        },  # a new endpoint serves at once; the default is a second
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": name,
        "clientConnection": {"kubeconfig": str(pki / "kube-proxy.kubeconfig")},
        "oomScoreAdj": 0,
        # These settings belong to the host's namespace: leave them.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
