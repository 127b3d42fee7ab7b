"""Every source of clusters that this machine can have keeps what ``Kubernetes`` promises."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.cluster.commands import CommandFailed, wait_until
from tests.cluster.images import Image
from tests.cluster.programs import KUBERNETES
from tests.cluster.tests.deployments import HERE
from tests.support.envtest import Envtest, has_controllers
from tests.support.kubernetes import Address, Kubernetes
from tests.support.kubernetes_kind import Kind
from tests.support.kubernetes_sources import Given, Local

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def local(web_image: Image) -> Iterator[Kubernetes]:
    """One node, with the example loaded the way that tests load images."""
    cluster = Local([])
    with closing(cluster):
        cluster.load_image(web_image.archive)
        yield cluster


@pytest.fixture(scope="module")
def given(local: Kubernetes) -> Iterator[Kubernetes]:
    """The same cluster, as somebody's of whom only a kubeconfig is known."""
    cluster = Given(local.kubeconfig)
    with closing(cluster):
        yield cluster


class Parrot(http.server.BaseHTTPRequestHandler):
    """Answers with the path."""

    def do_GET(self) -> None:
        """Say it back."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the library's name
        """Say nothing."""


@contextmanager
def parrot() -> Iterator[int]:
    """A server on this machine's loopback."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Parrot) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def body(address: Address, path: str) -> str:
    """GET it."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=30)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode().strip()


def wait_until_answered(address: Address, pods: int) -> None:
    """Ready pods are known to the proxy a moment later, one perhaps before the other."""
    answered: set[str] = set()

    def all_did() -> bool:
        with suppress(OSError, http.client.HTTPException):
            answered.add(body(address, "/"))
        return len(answered) == pods

    wait_until(f"{pods} of the Service answer", all_did, 60)
    assert all(answer.startswith("web-") for answer in answered)


def deploy(cluster: Kubernetes, namespace: str) -> None:
    """The example, ready."""
    manifest = (HERE / "web" / "web.yaml").read_text(encoding="utf-8")
    cluster.kubectl("--namespace", namespace, "apply", "--filename=-", stdin=manifest)
    wait = ("rollout", "status", "deployment/web", "--timeout=240s")
    cluster.kubectl("--namespace", namespace, *wait, timeout=300)


@pytest.mark.parametrize("source", ["local", "given"])
def test_a_service_is_reached_from_this_machine(
    request: pytest.FixtureRequest, source: str
) -> None:
    """A host and a port to connect to, without any knowledge of networks."""
    cluster: Kubernetes = request.getfixturevalue(source)
    with cluster.namespace() as namespace:
        deploy(cluster, namespace)
        address = cluster.reach("service/web", 80, namespace)

        wait_until_answered(address, 1)


def test_a_service_is_reached_through_all_of_its_pods(local: Kubernetes) -> None:
    """Each connection is a new choice, as for any client of the Service."""
    with local.namespace() as namespace:
        deploy(local, namespace)
        address = local.reach("service/web", 80, namespace)

        wait_until_answered(address, 2)


def test_pods_reach_a_server_of_this_machine(local: Kubernetes) -> None:
    """What a test serves on its loopback has a URL for pods."""
    ask = (
        "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=30).read().decode())"
    )
    with local.namespace() as namespace, parrot() as port:
        deploy(local, namespace)
        url = local.host_url(port)
        words = ("exec", "deployment/web", "--", "python", "-c", ask, f"{url}/hello")

        assert local.kubectl("--namespace", namespace, *words).strip() == "/hello"


def test_a_port_that_nothing_listens_on_ends_the_connection(local: Kubernetes) -> None:
    """A relay hides no refusal."""
    with local.namespace() as namespace:
        deploy(local, namespace)
        names = local.kubectl("--namespace", namespace, "get", "pods", "--output=name").split()
        address = local.reach(names[0], 81, namespace)

        with pytest.raises(OSError, match=r"reset|closed"):
            body(address, "/")


def test_a_namespace_is_gone_afterwards(local: Kubernetes) -> None:
    """Nothing of a test stays for the next."""
    with local.namespace() as namespace:
        assert local.get(f"namespace/{namespace}")["status"]["phase"] == "Active"

    def gone() -> bool:
        try:
            local.get(f"namespace/{namespace}")
        except CommandFailed:
            return True
        return False

    wait_until("the namespace is gone", gone, 180)


def test_a_strangers_cluster_is_asked_what_it_can_do(given: Kubernetes) -> None:
    """No capability is claimed that the cluster does not show."""
    assert given.capabilities - {"helm"} == {"api", "controllers", "pods"}


class Made:
    """A cluster as pytest-kind would have made it, though kind did not make this one."""

    name = "made"
    kind_path = Path("/no/such/kind")

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig_path = kubeconfig
        self.kubectl_path = KUBERNETES.build() / "kubectl"
        self.nodes = 0
        self.deleted = False

    def create(self, config_file: Path) -> None:
        """Count what was asked for."""
        self.nodes = config_file.read_text(encoding="utf-8").count("role:")

    def delete(self) -> None:
        """Remember that it was."""
        self.deleted = True


@pytest.mark.parametrize("keep", [False, True])
def test_a_cluster_of_kind_gives_a_service_a_node_port(
    local: Kubernetes, tmp_path: Path, *, keep: bool
) -> None:
    """All pods of the Service answer there, and the cluster ends unless it is to be kept."""
    made = Made(local.kubeconfig)
    cluster = Kind(made, tmp_path, "127.0.0.1", keep=keep)
    assert made.nodes == 3
    with closing(cluster), cluster.namespace() as namespace:
        deploy(cluster, namespace)
        address = cluster.reach("service/web", 80, namespace)
        assert local.local is not None
        with local.local.inside():
            wait_until_answered(address, 2)
    assert made.deleted is not keep


def test_an_api_server_alone_takes_and_checks_objects(tmp_path: Path) -> None:
    """Enough for schemas and rules; it needs no rights and no namespaces."""
    with closing(Envtest(assets_without_controllers(tmp_path), tmp_path, ["api"])) as cluster:
        with cluster.namespace() as namespace:
            cluster.apply(config_map(namespace, "one"))
            assert cluster.get("configmap/one", namespace)["data"] == {"key": "value"}
        with pytest.raises(CommandFailed, match="Invalid value"):
            cluster.apply(config_map("default", "Not A Name"))


def test_an_api_server_has_controllers_when_their_program_is_there(tmp_path: Path) -> None:
    """Then Deployments get their pods, which stay pending."""
    assets = KUBERNETES.build()
    assert has_controllers(assets)
    manifest = (HERE / "web" / "web.yaml").read_text(encoding="utf-8")
    with closing(Envtest(assets, tmp_path, ["api", "controllers"])) as cluster:
        cluster.kubectl("apply", "--filename=-", stdin=manifest)

        def pods() -> list[str]:
            return cluster.kubectl("get", "pods", "--output=name").split()

        wait_until("the Deployment has its pods", lambda: len(pods()) == 2, 180)


def assets_without_controllers(folder: Path) -> Path:
    """A folder such as controller projects download."""
    assets = folder / "assets"
    assets.mkdir()
    for name in ("etcd", "kube-apiserver", "kubectl"):
        (assets / name).symlink_to(KUBERNETES.build() / name)
    return assets


def config_map(namespace: str, name: str) -> dict[str, object]:
    """The smallest object there is."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": {"key": "value"},
    }
