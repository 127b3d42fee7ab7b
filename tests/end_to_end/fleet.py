"""The product as its users have it: operator, SmtpGateways and a sandbox, all in one cluster.

The images carry the names that the manifests have, so what is applied is what is published.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosmtplib
import yaml

from tests.cluster.commands import CommandFailed, wait_until
from tests.end_to_end.pods import wait_until_greeted
from tests.support.images import archive_of
from tests.support.kubernetes import Address, Kubernetes
from tests.support.sandbox import PASSWORD, USERNAME
from tests.support.tools import ROOT

BASE = ROOT / "manifests" / "kustomize" / "base"
DEMO = ROOT / "manifests" / "kustomize" / "demo"
VERSION = "0.1.0"
IMAGES: Mapping[str, str] = {
    "Dockerfile.operator": f"docker.io/library/cakemail-smtp-operator:{VERSION}",
    "Dockerfile.gateway": f"docker.io/library/cakemail-smtp-gateway:{VERSION}",
    "gateway/cakemail_sandbox/Dockerfile": f"docker.io/library/cakemail-sandbox:{VERSION}",
}
OPERATOR = "smtp-operator"  # its namespace, its Deployment, its ServiceAccount and its Lease
GATEWAYS = "smtpgateways.smtp.cakemail.com"
CHILDREN = (
    "deployment,service,serviceaccount,configmap,secret,poddisruptionbudget,"
    "horizontalpodautoscaler,networkpolicy"
)
OURS = "app.kubernetes.io/managed-by=smtp-operator"
READY_SECONDS = 240
_KNOWN_SECONDS = 60


class InstalledOperator:
    """The operator of the base, with its two pods."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.kubernetes = kubernetes

    @classmethod
    def install(cls, kubernetes: Kubernetes, folder: Path) -> InstalledOperator:
        """Build and load the images, apply the base, wait until both pods are ready."""
        for dockerfile, name in IMAGES.items():
            kubernetes.load_image(archive_of(dockerfile, name, folder))
        return cls.apply(kubernetes)

    @classmethod
    def apply(cls, kubernetes: Kubernetes) -> InstalledOperator:
        """The same where the nodes have the images."""
        kubernetes.kubectl("apply", "--server-side", f"--kustomize={BASE}")
        installed = cls(kubernetes)
        installed.scale(2)
        return installed

    def remove(self) -> None:
        """All but the definitions, which other tests use too; return when the pods are gone."""
        delete = ("delete", "--ignore-not-found", "--timeout=240s")
        for kind in ("namespace", "clusterrolebinding", "clusterrole"):
            self.kubernetes.kubectl(*delete, f"{kind}/{OPERATOR}", timeout=300)

    def kubectl(self, *argv: str) -> str:
        """In the operator's namespace."""
        return self.kubernetes.kubectl("--namespace", OPERATOR, *argv, timeout=300)

    def scale(self, replicas: int) -> None:
        """Return when so many pods are ready, and all others are gone."""
        self.kubectl("scale", f"deployment/{OPERATOR}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=240s")
        wait_until("as many pods as wanted", lambda: self._settled(replicas), 120)

    def _settled(self, replicas: int) -> bool:
        """Whether there are so many pods, none of which ends or is not ready."""
        found = json.loads(self.kubectl("get", "pods", _PODS, "--output=json"))["items"]
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return len(found) == len(staying) == replicas and all(map(_is_ready, staying))

    def restart(self) -> None:
        """New pods instead of all present ones."""
        self.kubectl("rollout", "restart", f"deployment/{OPERATOR}")
        self.kubectl("rollout", "status", f"deployment/{OPERATOR}", "--timeout=240s")

    def pods(self) -> list[str]:
        """Names."""
        return self.kubectl("get", "pods", _PODS, "--output=name").split()

    def leader(self) -> str:
        """The pod that holds the Lease; empty when none does."""
        lease = self.kubernetes.get(f"lease/{OPERATOR}", OPERATOR)
        holder = str(lease["spec"].get("holderIdentity") or "")
        return f"pod/{holder.partition('_')[0]}" if holder else ""

    def writes(self, pod: str) -> float:
        """How often this process has written a child or a status, by its own count."""
        address = self.kubernetes.reach(pod, 8080, OPERATOR)
        url = f"http://{address.host}:{address.port}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        counted = (line for line in lines if line.startswith("smtp_operator_apply_total{"))
        return sum(float(line.rpartition(" ")[2]) for line in counted)

    def logs(self) -> list[dict[str, Any]]:
        """All lines of all pods."""
        return [line for pod in self.pods() for line in entries(self.kubectl("logs", pod))]


_PODS = f"--selector=app.kubernetes.io/name={OPERATOR}"


def entries(log: str) -> list[dict[str, Any]]:
    """The lines of a log; one that is no JSON, such as of a traceback, as an event of that text."""
    return [_entry(line) for line in log.splitlines()]


def _entry(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"event": line, "level": "", "logger": ""}


@dataclass(frozen=True)
class SandboxPod:
    """The sandbox as a pod of a namespace, asked over HTTP."""

    kubernetes: Kubernetes
    namespace: str

    def start(self) -> None:
        """That of the demo, in this namespace; return when it answers."""
        objects = list(yaml.safe_load_all((DEMO / "sandbox.yaml").read_text(encoding="utf-8")))
        wanted = [each for each in objects if each["kind"] != "Namespace"]
        for each in wanted:
            each["metadata"]["namespace"] = self.namespace
        self.kubernetes.apply(*wanted)
        status = ("rollout", "status", "deployment/cakemail-sandbox", "--timeout=240s")
        self.kubernetes.kubectl("--namespace", self.namespace, *status, timeout=300)
        wait_until("the sandbox answers", self._answers, _KNOWN_SECONDS)

    def _answers(self) -> bool:
        """Ready pods are known to the proxies of a Service a moment later."""
        try:
            self.emails()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def emails(self, count: int = 0, wait_seconds: int = 0) -> list[dict[str, Any]]:
        """Requests to send so far; waits for so many."""
        query = f"emails?count={count}&wait={wait_seconds}"
        return list(self.ask(query))

    def counts(self) -> dict[tuple[str, str], int]:
        """How often each (Message-ID, recipient) was accepted."""
        return {
            (one["message_id"], one["recipient"]): one["accepted"] for one in self.ask("counts")
        }

    def slow(self, seconds: float) -> None:
        """Take so long from now on to accept a mail, so that some are always under way."""
        self.ask("faults", {"latency_seconds": seconds})

    def node(self) -> str:
        """Where it runs. All mail is in its memory, so it is to stay there."""
        selector = "--selector=app.kubernetes.io/name=cakemail-sandbox"
        path = "--output=jsonpath={.items[0].spec.nodeName}"
        return self.kubernetes.kubectl("--namespace", self.namespace, "get", "pods", selector, path)

    def ask(self, path: str, posted: Mapping[str, Any] | None = None) -> Any:
        """A page of its control API; none where there is nothing to say."""
        address = self.kubernetes.reach("service/cakemail-sandbox", 80, self.namespace)
        url = f"http://{address.host}:{address.port}/sandbox/{path}"
        body = None if posted is None else json.dumps(posted).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # http to loopback
            return json.loads(answer.read() or b"null")


@dataclass(frozen=True)
class ManagedFleet:
    """One SmtpGateway and what the operator made of it."""

    kubernetes: Kubernetes
    namespace: str
    name: str = "mail"

    def apply(self, **spec: Any) -> None:
        """Small pods that end fast, unless the spec says otherwise."""
        self.kubernetes.apply(
            {
                "apiVersion": "smtp.cakemail.com/v1alpha1",
                "kind": "SmtpGateway",
                "metadata": {"namespace": self.namespace, "name": self.name},
                "spec": self._small() | spec,
            }
        )

    def _small(self) -> dict[str, Any]:
        return {
            "replicas": 1,
            "tls": {"selfSigned": {}},
            "cakemail": {"apiUrl": f"http://cakemail-sandbox.{self.namespace}.svc"},
            "limits": {"submissionDeadlineSeconds": 15, "emailsPerMinutePerClient": 0},
            "drain": {"delaySeconds": 2, "gracePeriodSeconds": 30},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        }

    def untouched(self) -> bool:
        """Whether nobody but users has written anything but ``status`` in this namespace."""
        found = self.kubectl("get", GATEWAYS, "--show-managed-fields", "--output=json")
        metas = [item["metadata"] for item in json.loads(found)["items"]]
        written = {
            (entry["manager"], entry.get("subresource"))
            for meta in metas
            for entry in meta["managedFields"]
            if entry["manager"].startswith("smtp-operator")
        }
        finalizers = [meta for meta in metas if "finalizers" in meta]
        return not finalizers and written <= {("smtp-operator-status", "status")}

    def patch(self, spec: Mapping[str, Any]) -> None:
        """Edit some fields, as a user would."""
        change = json.dumps({"spec": spec})
        self.kubectl("patch", f"{GATEWAYS}/{self.name}", "--type=merge", f"--patch={change}")

    def kubectl(self, *argv: str) -> str:
        """In the fleet's namespace."""
        return self.kubernetes.kubectl("--namespace", self.namespace, *argv, timeout=300)

    def wait_for(self, condition: str, seconds: float = READY_SECONDS) -> None:
        """As ``kubectl wait`` has it, such as ``Ready`` or ``Ready=False``."""
        words = (f"--for=condition={condition}", f"--timeout={seconds:g}s")
        target = (f"--namespace={self.namespace}", f"{GATEWAYS}/{self.name}")
        self.kubernetes.kubectl("wait", *words, *target, timeout=seconds + 60)

    def observed(self) -> dict[str, Any]:
        """The whole object."""
        return self.kubernetes.get(f"{GATEWAYS}/{self.name}", self.namespace)

    def condition(self, name: str) -> dict[str, Any]:
        """One condition of the status; empty while there is none."""
        found = self.observed().get("status", {}).get("conditions", [])
        return next((dict(each) for each in found if each["type"] == name), {})

    def children(self) -> list[str]:
        """What of the operator's is in the namespace, as ``kind/name``."""
        selected = self.kubectl("get", CHILDREN, f"--selector={OURS}", "--output=name")
        return sorted(selected.split())

    def pods(self) -> list[dict[str, Any]]:
        """All of the fleet, those that end too."""
        selector = f"--selector=app.kubernetes.io/instance={self.name}"
        found = json.loads(self.kubectl("get", "pods", selector, "--output=json"))
        return list(found["items"])

    def lives(self) -> list[tuple[str, int]]:
        """Each pod's identity and how often its container was restarted."""
        return sorted(
            (pod["metadata"]["uid"], sum(c["restartCount"] for c in _containers(pod)))
            for pod in self.pods()
        )

    def nodes(self) -> Counter[str]:
        """How many of its pods each node has, those that end left out."""
        staying = (pod for pod in self.pods() if "deletionTimestamp" not in pod["metadata"])
        return Counter(str(pod["spec"].get("nodeName", "")) for pod in staying)

    def there(self, target: str) -> bool:
        """Whether an object exists."""
        try:
            self.kubernetes.get(target, self.namespace)
        except CommandFailed:
            return False
        return True

    # -- as a client of mail

    def address(self) -> Address:
        """Where this machine reaches the Service, once that leads to a pod; one must be ready."""
        address = self.kubernetes.reach(f"service/{self.name}", 587, self.namespace)
        wait_until_greeted(address)
        return address

    def trust(self) -> ssl.SSLContext:
        """The authority that the operator made, and no other."""
        secret = self.kubernetes.get(f"secret/{self.name}-tls", self.namespace)
        authority = base64.b64decode(secret["data"]["ca.crt"]).decode()
        return ssl.create_default_context(cadata=authority)

    @property
    def server_name(self) -> str:
        """What clients in the cluster call it."""
        return f"{self.name}.{self.namespace}.svc"

    def mailbox(self) -> Mailbox:
        """How clients reach it, looked up once."""
        return Mailbox(self.address(), self.trust(), self.server_name)


@dataclass(frozen=True)
class Mailbox:
    """What a client's settings hold."""

    address: Address
    trust: ssl.SSLContext
    server_name: str

    async def session(self) -> aiosmtplib.SMTP:
        """A connection, after STARTTLS and AUTH."""
        client = aiosmtplib.SMTP(
            hostname=self.address.host, port=self.address.port, start_tls=False, timeout=30
        )
        await client.connect()
        try:
            await client.starttls(server_hostname=self.server_name, tls_context=self.trust)
            await client.login(USERNAME, PASSWORD)
        except BaseException:  # a cancelled client leaves no socket either
            client.close()
            raise
        return client


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


def _containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(pod["status"].get("containerStatuses", []))
