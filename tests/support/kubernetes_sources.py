"""Where tests get a Kubernetes cluster from: the first of ``SOURCES`` that this machine has.

Each source first says why it is not there (``Unavailable``). One that is there and then does not
come up is an error, not a reason to take the next.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import addons, preflight, relay
from tests.cluster.cluster import LOOPBACK, Cluster
from tests.cluster.commands import ClusterError, CommandFailed, run
from tests.cluster.programs import KUBERNETES
from tests.cluster.settings import HOST_ADDRESS, variable
from tests.support.envtest import Envtest, has_controllers, missing_programs
from tests.support.kubernetes import Address, Kubernetes, Unavailable

_FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")


class Forwards:
    """Processes that carry connections for as long as the test session lasts."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[str]] = []
        self._known: dict[tuple[str, ...], Address] = {}

    def to_pod(self, kubectl: str, kubeconfig: Path, *words: str) -> Address:
        """Through the API server, to one pod, for as long as that pod lives."""
        if words not in self._known:
            command = [kubectl, f"--kubeconfig={kubeconfig}", "port-forward", *words]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._processes.append(process)
            assert process.stdout is not None
            found = _FORWARDING.search(process.stdout.readline())
            if found is None:
                raise ClusterError(f"{' '.join(command)}: nothing is forwarded")
            self._known[words] = Address(LOOPBACK, int(found[1]))
        return self._known[words]

    def from_outside(self, address: str, port: int) -> Address:
        """From an address of this machine to a port of its loopback."""
        words = (address, str(port))
        if words not in self._known:
            with socket.create_server((address, 0)) as listener:
                program = [sys.executable, "-P", str(relay.__file__), str(listener.fileno())]
                process = subprocess.Popen(
                    [*program, LOOPBACK, str(port)], pass_fds=[listener.fileno()], text=True
                )
                self._known[words] = Address(address, listener.getsockname()[1])
            self._processes.append(process)
        return self._known[words]

    def close(self) -> None:
        """End them all."""
        for process in self._processes:
            process.terminate()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


class Forwarded(Kubernetes):
    """A cluster that is reached through its API server, and reaches back at one address."""

    host_address = ""

    def __init__(
        self, source: str, kubeconfig: Path, capabilities: Collection[str], kubectl_path: str
    ) -> None:
        super().__init__(source, kubeconfig, sorted(capabilities), kubectl_path)
        self._forwards = Forwards()

    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """One of the pods behind it; a new call after that pod has gone finds another."""
        words = (f"--namespace={namespace}", target, f":{port}")
        return self._forwards.to_pod(self._kubectl, self.kubeconfig, *words)

    def host_url(self, port: int, scheme: str = "http") -> str:
        """By the address that the cluster knows this machine by."""
        address = self._forwards.from_outside(self.host_address, port)
        return f"{scheme}://{address.host}:{address.port}"

    def close(self) -> None:
        """End the forwarding processes; the cluster stays."""
        self._forwards.close()


class Given(Forwarded):
    """Somebody's cluster. Only own namespaces and our own resource definitions are touched."""

    def __init__(self, kubeconfig: Path) -> None:
        self._load = variable("TEST_LOAD_IMAGE")
        self.host_address = variable("TEST_HOST_ADDRESS")
        kubectl = _kubectl()
        found = _asked(kubectl, kubeconfig)
        if self._load:
            found.add("images")
        if self.host_address:
            found |= {"webhooks", "extmetrics"}
        super().__init__("given", kubeconfig, found | _helm(), kubectl)

    def load_image(self, archive: Path) -> None:
        """By the command of TEST_LOAD_IMAGE, in which {} stands for the archive."""
        run("sh", "-c", self._load.replace("{}", str(archive)), timeout=300)


class Kind(Forwarded):
    """A cluster of kind, made for this session."""

    def __init__(self, cluster: Any, folder: Path, *, keep: bool) -> None:
        self._cluster = cluster
        self._keep = keep
        config = folder / "kind.yaml"
        config.write_text(_KIND_CONFIG, encoding="utf-8")
        cluster.create(config)
        self.host_address = _gateway()
        offered = {"api", "controllers", "pods", "images", "multinode", "dns"}
        offered |= {"webhooks", "extmetrics"} | _helm()
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


class Local(Kubernetes):
    """The cluster of ``tests/cluster``, made for this session."""

    _addon_of: Mapping[str, str] = {
        "dns": "dns",
        "metrics": "metrics",
        "certificates": "certmanager",
        "fakenodes": "fakenodes",
        "helm": "helm",
    }

    def __init__(self, wanted: Collection[str]) -> None:
        self.local: Cluster = Cluster(f"tests-{os.getpid()}", progress=print)
        nodes = 2 if "multinode" in wanted else 1
        self.local.up(nodes)
        offered = {"api", "controllers", "pods", "images", "webhooks", "extmetrics", "nodes"}
        offered |= {"multinode"} if nodes > 1 else set()
        for capability, addon in self._addon_of.items():
            if capability in wanted and addons.enable(self.local, addon):
                offered.add(capability)
        kubectl = self.local.programs / "kubectl"
        super().__init__("local", self.local.host_kubeconfig, sorted(offered), kubectl)
        self._reached: dict[tuple[str, int], Address] = {}
        self._admitted: dict[int, int] = {}

    def program(self, name: str) -> Path:
        """What add-ons brought, or this machine has."""
        linked = self.local.extra_programs / name
        return linked if linked.exists() else super().program(name)

    def load_image(self, archive: Path) -> None:
        """Into every running node."""
        self.local.load_image(archive)

    def reach(self, target: str, port: int, namespace: str = "default") -> Address:
        """By a port of the loopback that leads into the cluster's network."""
        found = self.get(target, namespace)
        inner = found["spec"].get("clusterIP") or found["status"].get("podIP")
        if not inner:
            raise ClusterError(f"{target} has no address")
        key = (str(inner), port)
        if key not in self._reached:
            self._reached[key] = Address(LOOPBACK, self.local.publish(*key))
        return self._reached[key]

    def host_url(self, port: int, scheme: str = "http") -> str:
        """By a port of the switch that leads to this machine's loopback."""
        if port not in self._admitted:
            self._admitted[port] = self.local.admit(port)
        return f"{scheme}://{HOST_ADDRESS}:{self._admitted[port]}"

    def close(self) -> None:
        """Leave the machine as before."""
        self.local.down()


# -- choosing


def given(_: Collection[str], __: Path, ___: Mapping[str, Any]) -> Kubernetes:
    """The cluster of TEST_KUBECONFIG."""
    path = variable("TEST_KUBECONFIG")
    if not path:
        raise Unavailable("TEST_KUBECONFIG is not set")
    return Given(Path(path))


def kind(_: Collection[str], folder: Path, options: Mapping[str, Any]) -> Kubernetes:
    """A new cluster of kind, in containers."""
    program = shutil.which(str(options["kind_bin"] or "kind"))
    if program is None:
        raise Unavailable("kind is not installed")
    if reason := _engine_problem():
        raise Unavailable(reason)
    from pytest_kind import KindCluster  # noqa: PLC0415  # loads a second client of the API

    cluster = KindCluster(
        options["cluster_name"],
        folder / "kubeconfig",
        image=options["kind_image"],
        kind_path=Path(program),
        kubectl_path=Path(_kubectl()),
    )
    return Kind(cluster, folder, keep=bool(options["keep_cluster"]))


def local(wanted: Collection[str], _: Path, __: Mapping[str, Any]) -> Kubernetes:
    """A new cluster of ``tests/cluster``, in namespaces of this machine."""
    if found := preflight.problems():
        raise Unavailable("; ".join(f"{name}: {problem}" for name, problem in found.items()))
    if not KUBERNETES.cached():
        # Minutes of building belong in no test's time.
        raise Unavailable("its programs are not built: python -m tests.cluster build")
    return Local(wanted)


def envtest(_: Collection[str], folder: Path, __: Mapping[str, Any]) -> Kubernetes:
    """An API server alone, from the programs of KUBEBUILDER_ASSETS."""
    assets = variable("KUBEBUILDER_ASSETS")
    if not assets:
        raise Unavailable("KUBEBUILDER_ASSETS is not set")
    if lacking := missing_programs(Path(assets)):
        raise Unavailable(f"{assets} lacks {', '.join(lacking)}")
    capabilities = ["api", *(["controllers"] if has_controllers(Path(assets)) else []), *_helm()]
    return Envtest(Path(assets), folder, capabilities)


SOURCES: Mapping[str, Callable[[Collection[str], Path, Mapping[str, Any]], Kubernetes]] = {
    "given": given,
    "kind": kind,
    "local": local,
    "envtest": envtest,
}


def choose(
    named: str | None, wanted: Collection[str], folder: Path, options: Mapping[str, Any]
) -> Kubernetes:
    """A cluster from the source named, or from the first that is there.

    Args:
        named: of ``SOURCES``; none: in their order.
        wanted: capabilities that tests ask for; what nobody wants is not started.
        folder: for the cluster's files, empty.
        options: those of pytest-kind.

    Raises:
        Unavailable: none is there; the message has one line a source.
    """
    reasons = []
    for name in [named] if named else list(SOURCES):
        try:
            return SOURCES[name](wanted, folder, options)
        except Unavailable as reason:
            reasons.append(f"  {name}: {reason}")
    raise Unavailable("\n".join(["no Kubernetes cluster here:", *reasons]))


# -- asking what is there


def _kubectl() -> str:
    if found := shutil.which("kubectl"):
        return found
    if KUBERNETES.cached():
        return str(KUBERNETES.build() / "kubectl")
    raise Unavailable("kubectl is not installed")


def _helm() -> set[str]:
    return {"helm"} if shutil.which("helm") else set()


def _engine_problem() -> str:
    engine = shutil.which("docker")
    if engine is None:
        return "docker is not installed"
    try:
        run(engine, "info", timeout=20)
    except ClusterError:
        return "no docker daemon answers"
    return ""


def _asked(kubectl: str, kubeconfig: Path) -> set[str]:
    """What somebody's cluster can do, as far as it tells."""

    def answer(*words: str) -> str:
        try:
            return run(kubectl, f"--kubeconfig={kubeconfig}", "get", *words, timeout=30)
        except CommandFailed:
            return ""

    if not answer("--raw=/readyz"):
        raise Unavailable(f"the API server of {kubeconfig} does not answer")
    nodes = len(answer("nodes", "--output=name").splitlines())
    available = "--output=jsonpath={.status.conditions[?(@.type=='Available')].status}"
    facts = {
        "api": True,
        "controllers": bool(answer("serviceaccounts/default", "--namespace=default")),
        "pods": nodes > 0,
        "multinode": nodes > 1,
        "dns": bool(answer("service/kube-dns", "--namespace=kube-system")),
        "metrics": answer("apiservice/v1beta1.metrics.k8s.io", available) == "True",
        "certificates": bool(answer("crd/certificates.cert-manager.io")),
    }
    return {name for name, there in facts.items() if there}


# -- kind

_KIND_CONFIG = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
  - role: control-plane
  - role: worker
  - role: worker
"""


def _gateway() -> str:
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
