"""``python -m tests.demo``: from nothing to a mail through a managed fleet, and back.

A cluster comes up from the first source that this machine has, the images are built, the operator
and a sandbox are installed, the sample is applied, and the README's example sends its mail to the
Service.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import yaml

from cakemail_sandbox.demo import PASSWORD, TRACED, USER, dialogue, shown
from tests.cluster.commands import ClusterError
from tests.support.gateways import CRD_NAME
from tests.support.images import build
from tests.support.kubernetes import Address, Kubernetes, Unavailable
from tests.support.kubernetes_sources import SOURCES, choose

T = TypeVar("T")

ROOT = Path(__file__).parents[1]
BASE = ROOT / "manifests" / "kustomize" / "base"
SANDBOX = ROOT / "manifests" / "kustomize" / "demo" / "sandbox.yaml"
SAMPLE = ROOT / "manifests" / "samples" / "smtpgateway.yaml"
EXAMPLE = ROOT / "gateway" / "cakemail_sandbox" / "example.txt"
NAMESPACE = "mail"  # the sandbox's, in the demo's manifest
NAME = "mail"  # the sample's
GATEWAY = f"smtpgateways/{NAME}"
IMAGES = {
    "cakemail-smtp-operator:0.1.0": "Dockerfile.operator",
    "cakemail-smtp-gateway:0.1.0": "Dockerfile.gateway",
    "cakemail-sandbox:0.1.0": "gateway/cakemail_sandbox/Dockerfile",
}
NEEDED = frozenset({"pods", "images", "dns"})
CHOICE = {
    "cluster_name": "cakemail-demo",
    "keep_cluster": False,
    "kind_image": None,
    "kind_bin": None,
}
SEND_SECONDS = 60
# The Service's name resolves in the cluster only; the certificate is checked against it all the
# same. What leads there is an address of this machine.
LED = """\
import socket
connect = socket.create_connection
socket.create_connection = lambda _, *rest, **named: connect({address!r}, *rest, **named)
"""


def say(line: str = "") -> None:
    """To the screen, at once."""
    print(line, flush=True)


def timed(what: str, action: Callable[[], T]) -> T:
    """Do it, and say how long it took."""
    begin = time.monotonic()
    done = action()
    say(f"   {what}: {time.monotonic() - begin:.1f} s")
    return done


@dataclass(frozen=True)
class Demo:
    """The steps, on a cluster that is up.

    Attributes:
        cluster: can do what ``NEEDED`` says.
        folder: for images and certificates.
    """

    cluster: Kubernetes
    folder: Path

    def load_images(self) -> None:
        """Build what has changed, and let pods use it."""
        for name, dockerfile in IMAGES.items():
            timed(f"{name} from {dockerfile}", partial(self._load, name, dockerfile))

    def _load(self, name: str, dockerfile: str) -> None:
        self.cluster.load_image(build(dockerfile, f"docker.io/library/{name}", self.folder))

    def install(self) -> None:
        """CRDs, operator, sandbox."""
        self.cluster.kubectl("apply", "--server-side", f"--kustomize={BASE}")
        self.cluster.kubectl("apply", "--server-side", f"--filename={SANDBOX}")
        self._rolled_out("smtp-operator", "smtp-operator")
        self._rolled_out(NAMESPACE, "cakemail-sandbox")

    def _rolled_out(self, namespace: str, deployment: str) -> None:
        words = ("rollout", "status", f"deployment/{deployment}", "--timeout=120s")
        self.cluster.kubectl(f"--namespace={namespace}", *words, timeout=150)

    def apply_sample(self) -> None:
        """The sample, pointed at the sandbox instead of Cakemail."""
        sample = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
        sample["metadata"]["namespace"] = NAMESPACE
        sample["spec"]["cakemail"] = {"apiUrl": f"http://cakemail-sandbox.{NAMESPACE}.svc"}
        self.cluster.apply(sample)
        wait = ("wait", "--for=condition=Ready", GATEWAY, "--timeout=120s")
        self.cluster.kubectl(f"--namespace={NAMESPACE}", *wait, timeout=150)

    def send(self) -> list[str]:
        """Run the README's example against the Service; returns the dialogue."""
        example = EXAMPLE.read_text(encoding="utf-8")
        example = example.replace("smtp.example.com", f"{NAME}.{NAMESPACE}.svc")
        example = example.replace("you@example.com", USER).replace("your-password", PASSWORD)
        authority = self.folder / "ca.crt"
        authority.write_bytes(self._authority())
        address = self.cluster.reach(f"service/{NAME}", 587, NAMESPACE)
        return dialogue(self._traced(example, authority, address))

    def _authority(self) -> bytes:
        secret = self.cluster.get(f"secret/{NAME}-tls", NAMESPACE)
        return base64.b64decode(secret["data"]["ca.crt"])

    def _traced(self, example: str, authority: Path, address: Address) -> str:
        text = LED.format(address=(address.host, address.port)) + TRACED + example
        done = subprocess.run(
            [sys.executable, "-c", text],
            env={"SSL_CERT_FILE": str(authority)},
            capture_output=True,
            text=True,
            timeout=SEND_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"the example did not send its mail:\n{done.stderr}")
        return done.stderr

    def arrived(self) -> dict[str, Any]:
        """The request that the sandbox got."""
        address = self.cluster.reach("service/cakemail-sandbox", 80, NAMESPACE)
        url = f"http://{address.host}:{address.port}/sandbox/emails?count=1&wait=20"
        with urllib.request.urlopen(url, timeout=30) as answer:
            mails: list[dict[str, Any]] = json.load(answer)
        if not mails:
            raise ClusterError("the gateway said 250, and the sandbox holds no mail")
        return mails[-1]

    def table(self) -> str:
        """What a user sees of it."""
        return self.cluster.kubectl("get", "smtpgateways", "--all-namespaces")

    def remove(self) -> None:
        """What was installed, from a cluster that stays."""
        self.cluster.kubectl("delete", "--ignore-not-found", f"namespace/{NAMESPACE}", timeout=300)
        self.cluster.kubectl("delete", "--ignore-not-found", f"--kustomize={BASE}", timeout=300)


def demonstrate(demo: Demo) -> None:
    """All steps but the cluster's own."""
    say("\n2. Images, from the project's Dockerfiles\n")
    demo.load_images()
    say("\n3. Operator and fleet\n")
    timed("CRDs, operator, sandbox", demo.install)
    timed(f"{SAMPLE.relative_to(ROOT)} applied and Ready", demo.apply_sample)
    say(f"\n4. A mail to the Service {NAME}.{NAMESPACE}.svc, by the README's example\n")
    for line in demo.send():
        say(f"   {line}")
    request = demo.arrived()
    say(f"\n5. The API request that came out: POST {request['path']}\n\n{shown(request)}")
    if not request["accepted"]:
        raise ClusterError("the sandbox did not accept the mail")
    say(f"\n6. kubectl get smtpgateways --all-namespaces\n\n{demo.table()}")


def on(cluster: Kubernetes, folder: Path) -> None:
    """The demo on a cluster that is up; a cluster that stays is left as it was.

    Raises:
        ClusterError: it did not go as it should.
        Unavailable: this cluster is not one for the demo.
    """
    if lacking := NEEDED - cluster.capabilities:
        raise Unavailable(f"the {cluster.source} cluster has no {', '.join(sorted(lacking))}")
    if CRD_NAME in cluster.kubectl("get", "customresourcedefinitions", "--output=name"):
        raise Unavailable("somebody has installed SmtpGateway there: that is left alone")
    demo = Demo(cluster, folder)
    try:
        demonstrate(demo)
    finally:
        if cluster.source == "given":
            say("Removing what was installed.")
            demo.remove()


def main() -> int:
    """Run the demo; 0 only if the mail arrived. A cluster of its own is gone in any case."""
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__)
    parser.add_argument("--cluster-source", choices=list(SOURCES), help="default: the first there")
    named = parser.parse_args().cluster_source
    begin = time.monotonic()
    say("1. A cluster\n")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            cluster = choose(named, NEEDED, folder, CHOICE)
            say(f"   from source: {cluster.source}")
            try:
                on(cluster, folder)
            finally:
                timed("the end of it", cluster.close)
        except (ClusterError, Unavailable, OSError) as failure:
            say(f"\nThe demo failed: {failure}")
            return 1
    say(f"All is gone; {time.monotonic() - begin:.0f} s altogether.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
