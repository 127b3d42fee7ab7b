"""What products do in pods, and what test processes do for the cluster from outside of it."""

from __future__ import annotations

import base64
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.cluster.addons.services import outside_service
from tests.cluster.cluster import Cluster
from tests.cluster.commands import CommandFailed
from tests.cluster.pki import ClusterKeys
from tests.cluster.settings import HOST_ADDRESS
from tests.cluster.tests.conftest import StartCluster
from tests.cluster.tests.deployments import WEB_IMAGE, answers, deploy_web, field, seconds_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_WEBHOOK_PORT = 8443
_NODE_PORT = 30080


@pytest.fixture(scope="module")
def cluster(start_cluster: StartCluster) -> Cluster:
    """One node."""
    return start_cluster(1)


def test_a_node_port_answers_on_the_switch_and_on_the_node(cluster: Cluster) -> None:
    """Node ports work from where clients run."""
    deploy_web(cluster)
    port = {"port": 80, "targetPort": 8080, "nodePort": _NODE_PORT}
    cluster.kubectl(
        "patch",
        "service",
        "web",
        f"--patch={json.dumps({'spec': {'type': 'NodePort', 'ports': [port]}})}",
    )
    for address in (HOST_ADDRESS, "10.99.0.11"):
        reached = partial(answers, cluster, address, port=_NODE_PORT)
        seconds_until("it answers", reached, 60)


def test_a_pod_without_root_may_listen_on_port_25(cluster: Cluster) -> None:
    """As on every current runtime, low ports need no capability."""
    listen = (
        "import socket; s = socket.create_server(('', 25))\n"
        "while True: s.accept()[0].sendall(b'220 ready\\r\\n')"
    )
    cluster.apply(_pod("smtp", listen))
    wait = ("wait", "--for=condition=Ready", "--timeout=120s", "pod/smtp")
    cluster.kubectl(*wait, timeout=180)
    address = field(cluster, "pod/smtp", "{.status.podIP}")
    ask = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 25), 5); "
        "print(s.makefile().readline())"
    )

    def greets() -> bool:  # the pod is ready when its program has begun, before it listens
        return _done(cluster, "python3", "-c", ask, address).startswith("220 ready")

    seconds_until("it greets", greets, 60)


def _done(cluster: Cluster, *argv: str) -> str:
    """What a program printed; nothing when it failed."""
    try:
        return cluster.execute(*argv)
    except CommandFailed:
        return ""


def test_a_pod_beyond_its_memory_limit_is_oom_killed(cluster: Cluster) -> None:
    """Limits are real."""
    pod = _pod("greedy", "b'x' * (512 << 20)", {"limits": {"memory": "64Mi"}})
    cluster.apply(pod)
    ended = ".status.containerStatuses[0].state.terminated"
    path = f"{{{ended}.reason}} {{{ended}.exitCode}}"

    def killed() -> bool:  # where word of the reason came too late, by SIGKILL all the same
        reason, code = field(cluster, "pod/greedy", path).split(" ")
        return reason == "OOMKilled" or code == "137"

    seconds_until("it is killed", killed, 120)


def test_the_test_process_serves_an_admission_webhook_behind_a_service(cluster: Cluster) -> None:
    """The API server reaches what a test serves."""
    ClusterKeys.load(cluster.run.pki).save_server("webhook", ["webhook.default.svc"])
    authority = base64.b64encode((cluster.run.pki / "ca.crt").read_bytes()).decode()
    cluster.apply(*outside_service("default", "webhook", 443, _WEBHOOK_PORT))
    with _served(cluster):
        cluster.apply(_webhook(authority))
        seconds_until("the API server knows of it", partial(_refused, cluster), 60)
        with pytest.raises(CommandFailed, match="not on my watch"):
            cluster.kubectl("create", "configmap", "refused")
    cluster.kubectl("delete", "validatingwebhookconfiguration", "local")
    create = ("kubectl", "create", "configmap", "refused", "--output=name")
    seconds_until("the API server has forgotten it", lambda: bool(_done(cluster, *create)), 60)


def _refused(cluster: Cluster) -> bool:
    """Whether a webhook is asked, which its configuration brings about a moment later."""
    try:
        cluster.kubectl("create", "configmap", "refused", "--dry-run=server")
    except CommandFailed as failed:
        return "not on my watch" in failed.output
    return False


def _pod(name: str, program: str, resources: dict[str, object] | None = None) -> dict[str, object]:
    container = {
        "name": name,
        "image": WEB_IMAGE,
        "command": ["python", "-c", program],
        "resources": resources or {},
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "default", "name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        },
    }


def _webhook(authority: str) -> dict[str, object]:
    service = {"namespace": "default", "name": "webhook", "path": "/"}
    webhook = {
        "name": "webhook.example.test",
        "clientConfig": {"service": service, "caBundle": authority},
        "rules": [
            {
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["configmaps"],
            }
        ],
        "matchConditions": [{"name": "ours", "expression": "object.metadata.name == 'refused'"}],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "local"},
        "webhooks": [webhook],
    }


class _Refusal(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        review["response"] = {
            "uid": review.pop("request")["uid"],
            "allowed": False,
            "status": {"message": "not on my watch"},
        }
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(review).encode())

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def _served(cluster: Cluster) -> Iterator[None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cluster.run.pki / "webhook.crt", cluster.run.pki / "webhook.key")
    with cluster.inside():
        server = http.server.ThreadingHTTPServer((HOST_ADDRESS, _WEBHOOK_PORT), _Refusal)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
