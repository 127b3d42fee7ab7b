"""Where tests get a Kubernetes cluster from: the first of ``SOURCES`` that this machine has.

Each source first says why it is not there (``Unavailable``). One that is there and then does not
come up is an error, not a reason to take the next.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tests.cluster import addons, preflight
from tests.cluster.cluster import LOOPBACK, Cluster
from tests.cluster.commands import ClusterError, CommandFailed, run
from tests.cluster.programs import KUBERNETES
from tests.cluster.settings import HOST_ADDRESS, variable
from tests.support.envtest import Envtest, has_controllers, missing_programs
from tests.support.kubernetes import Address, Kubernetes, Unavailable, helm_if_installed
from tests.support.kubernetes_forwards import Forwarded
from tests.support.kubernetes_kind import Kind


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
        super().__init__("given", kubeconfig, found | helm_if_installed(), kubectl)

    def load_image(self, archive: Path) -> None:
        """By the command of TEST_LOAD_IMAGE, in which {} stands for the archive."""
        run("sh", "-c", self._load.replace("{}", str(archive)), timeout=300)


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
        self.local: Cluster = Cluster(f"tests-{secrets.token_hex(4)}", progress=print)
        nodes = 2 if "multinode" in wanted else 1
        try:
            self.local.up(nodes)
        except ClusterError:
            self.local.down()
            raise
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
    capabilities = [
        "api",
        *(["controllers"] if has_controllers(Path(assets)) else []),
        *helm_if_installed(),
    ]
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
