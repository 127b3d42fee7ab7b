"""Each add-on does what it is there for."""

from __future__ import annotations

import base64
import time
from pathlib import Path

import pytest
from cryptography import x509

from tests.cluster.addons import dns, fake_nodes
from tests.cluster.cluster import Cluster
from tests.cluster.programs import KUBERNETES
from tests.cluster.settings import HOST_ADDRESS
from tests.cluster.tests.conftest import StartCluster
from tests.cluster.tests.deployments import (
    answers,
    deploy_web,
    field,
    get,
    ready_replicas,
    seconds_until,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster) -> Cluster:
    """One node with every add-on."""
    return start_cluster(1, "dns", "metrics", "fakenodes", "helm", "certmanager")


def test_names_of_services_and_of_the_outside_resolve_everywhere(cluster: Cluster) -> None:
    """Pods and the switch ask one name server, which also knows names of the outside."""
    service = deploy_web(cluster)
    assert get(cluster, service, "/lookup?web") == service
    assert get(cluster, service, "/lookup?web.default.svc.cluster.local") == service
    assert cluster.execute("getent", "hosts", "web").split()[0] == service
    dns.hosts_file(cluster).write_text(f"{HOST_ADDRESS} api.example.test\n")
    seconds_until(
        "the new name is known", lambda: answers(cluster, service, "/lookup?api.example.test"), 60
    )
    assert get(cluster, service, "/lookup?api.example.test") == HOST_ADDRESS


# `kubectl autoscale` has other options in each version.
AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"namespace": "default", "name": "web"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 3,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 50},
                },
            }
        ],
    },
}


def test_an_autoscaler_follows_cpu(cluster: Cluster) -> None:
    """Measured load raises the number of pods, and its end lowers it again."""
    address = deploy_web(cluster, replicas=1)
    seconds_until("metrics exist", lambda: "web" in _top(cluster), 240)
    cluster.apply(AUTOSCALER)
    begin = time.monotonic()
    while ready_replicas(cluster) < 2:
        assert time.monotonic() - begin < 300
        get(cluster, address, "/burn?2", timeout=60)
    print(f"scaled up after {time.monotonic() - begin:.1f} s")
    down = seconds_until("one pod", lambda: ready_replicas(cluster) == 1, 300)
    print(f"scaled down after {down:.1f} s")
    cluster.kubectl("delete", "hpa", "web")


def _top(cluster: Cluster) -> str:
    try:
        return cluster.kubectl("top", "pods", "--no-headers")
    except RuntimeError:
        return ""


def test_hundreds_of_pods_run_on_fake_nodes_beside_a_real_one(cluster: Cluster) -> None:
    """A large fleet can be shown to controllers without containers."""
    fake_nodes.add(cluster, 5)
    begin = time.monotonic()
    cluster.apply(_fleet(300))
    cluster.kubectl("rollout", "status", "deployment/fleet", "--timeout=240s", timeout=300)
    print(f"300 fake pods Running after {time.monotonic() - begin:.1f} s")
    running = ("--selector=app=fleet", "--field-selector=status.phase=Running")
    assert (
        len(field(cluster, "pods", "{.items[*].metadata.name}", "default", *running).split()) == 300
    )
    cluster.kubectl("delete", "deployment", "fleet")


def _fleet(replicas: int) -> dict[str, object]:
    labels = {"app": "fleet"}
    pod = {
        "nodeSelector": fake_nodes.LABEL,
        "tolerations": [fake_nodes.TOLERATION],
        "containers": [{"name": "app", "image": "localhost/none:1"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "fleet", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def test_helm_renders_and_installs_a_chart(cluster: Cluster, tmp_path: Path) -> None:
    """The program that users have works here, and knows the version of the cluster."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text(
        "apiVersion: v2\nname: tiny\nversion: 0.1.0\nkubeVersion: '>=1.31.0-0'\n"
    )
    (tmp_path / "templates" / "config.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\n"
        "data:\n  version: {{ .Capabilities.KubeVersion.Version | quote }}\n"
    )
    assert "name: one" in cluster.execute("helm", "template", "one", tmp_path)
    cluster.execute("helm", "install", "one", tmp_path, "--wait")
    assert field(cluster, "configmap/one", "{.data.version}") == KUBERNETES.version()
    cluster.execute("helm", "uninstall", "one")


def test_a_certificate_is_issued_by_a_ca_that_a_self_signed_issuer_made(cluster: Cluster) -> None:
    """The real controllers answer a chain of issuers."""
    begin = time.monotonic()
    cluster.apply(
        _cert_manager("Issuer", "root", {"selfSigned": {}}),
        _certificate("ca", "root", {"isCA": True, "commonName": "ca"}),
        _cert_manager("Issuer", "ca", {"ca": {"secretName": "ca"}}),
        _certificate("leaf", "ca", {"dnsNames": ["smtp.example.test"]}),
    )
    cluster.kubectl(
        "wait", "--for=condition=Ready", "--timeout=110s", "certificate/ca", "certificate/leaf"
    )
    print(f"issued after {time.monotonic() - begin:.1f} s")
    encoded = field(cluster, "secret/leaf", "{.data.tls\\.crt}")
    leaf = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["smtp.example.test"]
    assert leaf.issuer.rfc4514_string() == "CN=ca"


def _cert_manager(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    metadata = {"namespace": "default", "name": name}
    return {"apiVersion": "cert-manager.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _certificate(name: str, issuer: str, spec: dict[str, object]) -> dict[str, object]:
    common = {
        "secretName": name,
        "issuerRef": {"name": issuer},
        "privateKey": {"algorithm": "ECDSA", "size": 256},
    }
    return _cert_manager("Certificate", name, {**common, **spec})
