"""The gateway as pods: restricted, behind a Service, with its certificate in a Secret."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage

import aiosmtplib
import trustme

from tests.cluster.commands import CommandFailed, wait_until
from tests.support.kubernetes import Address, Kubernetes
from tests.support.sandbox import PASSWORD, SENDER, USERNAME

NAME = "gateway"
IMAGE = "localhost/cakemail-smtp-gateway:test"
HOSTNAME = "smtp.example.test"
SMTP_PORT = 2587  # of the container; the Service maps 587 to it
HTTP_PORT = 8080
GRACE_SECONDS = 60
_KNOWN_SECONDS = 60


@dataclass(frozen=True)
class Fleet:
    """A Deployment of gateways in one namespace."""

    kubernetes: Kubernetes
    namespace: str
    authority: trustme.CA

    def deploy(self, api_url: str, replicas: int = 1, **settings: str) -> None:
        """Secret, Deployment and Service; `wait_until_ready` follows.

        Args:
            api_url: where it delivers, as pods see it.
            replicas: how many pods.
            settings: further variables of the gateway.
        """
        variables = {
            "CAKEMAIL_API_URL": api_url,
            "SMTP_HOSTNAME": HOSTNAME,
            "SMTP_PORT": str(SMTP_PORT),
            "HTTP_PORT": str(HTTP_PORT),
            "SMTP_PRE_STOP": "2",
            "SMTP_DEADLINE": "20",
            "SMTP_GRACE": str(GRACE_SECONDS - 5),
            "RATE_LIMIT_PER_IP": "0",
        } | settings
        self.renew_certificate()
        deployment = _deployment(self.namespace, replicas, variables)
        self.kubernetes.apply(deployment, _service(self.namespace))

    def wait_until_ready(self) -> None:
        """Return when all pods are, and the Service leads to them."""
        self.kubectl("rollout", "status", f"deployment/{NAME}", "--timeout=240s")
        wait_until_greeted(self.address())

    def renew_certificate(self) -> None:
        """A new key and certificate into the Secret."""
        issued = self.authority.issue_cert(HOSTNAME)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        pair = {"tls.crt": chain.decode(), "tls.key": issued.private_key_pem.bytes().decode()}
        self.kubernetes.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": self.namespace, "name": NAME},
                "type": "kubernetes.io/tls",
                "stringData": pair,
            }
        )

    def kubectl(self, *argv: str) -> str:
        """In the fleet's namespace."""
        return self.kubernetes.kubectl("--namespace", self.namespace, *argv, timeout=300)

    def pods(self) -> list[str]:
        """Names of all of its pods."""
        selected = self.kubectl("get", "pods", f"--selector=app={NAME}", "--output=name")
        return [line.removeprefix("pod/") for line in selected.split()]

    def ready(self) -> int:
        """How many pods are."""
        path = "--output=jsonpath={.status.readyReplicas}"
        return int(self.kubectl("get", f"deployment/{NAME}", path) or 0)

    def log(self) -> str:
        """What one of its containers said so far, or said before it ended."""
        try:
            return self.kubectl("logs", f"deployment/{NAME}")
        except CommandFailed:
            return ""  # not started yet

    def address(self) -> Address:
        """Where this machine reaches the Service."""
        return self.kubernetes.reach(f"service/{NAME}", 587, self.namespace)

    def trust(self) -> ssl.SSLContext:
        """What its clients verify with."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    async def session(self) -> aiosmtplib.SMTP:
        """A connection to one of the pods, after STARTTLS and AUTH."""
        address = self.address()
        client = aiosmtplib.SMTP(
            hostname=address.host, port=address.port, start_tls=False, timeout=30
        )
        await client.connect()
        try:
            await client.starttls(server_hostname=HOSTNAME, tls_context=self.trust())
            await client.login(USERNAME, PASSWORD)
        except BaseException:  # a cancelled client leaves no socket either
            client.close()
            raise
        return client


def wait_until_greeted(address: Address) -> None:
    """Return when a Service leads to a gateway: ready pods are known to proxies a moment later."""

    def greeted() -> bool:
        try:
            with smtplib.SMTP(address.host, address.port, timeout=10):
                return True
        except OSError:  # the library's own errors too
            return False

    wait_until("a gateway greets", greeted, _KNOWN_SECONDS)


def mail(number: int = 1) -> EmailMessage:
    """A small message that can be told from others."""
    message = EmailMessage()
    message["From"] = SENDER
    message["To"] = f"reader{number}@example.org"
    message["Subject"] = f"Mail {number}"
    message["Message-ID"] = f"<{number}@client.example.org>"
    message.set_content("Hello\n")
    return message


def serial(client: aiosmtplib.SMTP) -> str:
    """The serial number of the certificate that a session was opened with."""
    transport = client.transport
    assert transport is not None
    certificate: Mapping[str, str] = transport.get_extra_info("peercert")
    return certificate["serialNumber"]


def _deployment(namespace: str, replicas: int, variables: Mapping[str, str]) -> dict[str, object]:
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": namespace, "name": NAME},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _pod(variables)},
        },
    }


def _pod(variables: Mapping[str, str]) -> dict[str, object]:
    """What the Pod Security Standard "restricted" demands, and a root that nobody writes to."""
    container = {
        "name": NAME,
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"name": "smtp", "containerPort": SMTP_PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/health/ready", "port": HTTP_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 3,
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "512Mi"},
        },
        "volumeMounts": [{"name": "tls", "mountPath": "/etc/smtp-gateway/tls", "readOnly": True}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    return {
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tls", "secret": {"secretName": NAME}}],
    }


def _service(namespace: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": NAME},
        "spec": {
            "selector": {"app": NAME},
            "ports": [{"name": "smtp", "port": 587, "targetPort": SMTP_PORT}],
        },
    }
