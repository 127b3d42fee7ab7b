"""``python -m tests.cluster.demo``: from nothing to a mail through a managed fleet, and back.

A cluster comes up, the images are built, the operator and a sandbox are installed, the sample is
applied, and the README's example sends its mail to the Service.
"""

from __future__ import annotations

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
from tests.cluster import addons, images
from tests.cluster.cluster import Cluster
from tests.cluster.commands import ClusterError

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
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
SEND_SECONDS = 60


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
    """The steps, on a cluster that is up."""

    cluster: Cluster

    def load_images(self) -> None:
        """Build what has changed, and let pods use it."""
        for name, dockerfile in IMAGES.items():
            timed(f"{name} from {dockerfile}", partial(self._load, name, dockerfile))

    def _load(self, name: str, dockerfile: str) -> None:
        built = images.build(ROOT, f"docker.io/library/{name}", ROOT / dockerfile)
        self.cluster.load_image(built)

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
        manifest = json.dumps(sample)
        self.cluster.kubectl("apply", "--server-side", "--filename=-", stdin=manifest)
        wait = ("wait", "--for=condition=Ready", GATEWAY, "--timeout=120s")
        self.cluster.kubectl(f"--namespace={NAMESPACE}", *wait, timeout=150)

    def send(self) -> list[str]:
        """Run the README's example against the Service; returns the dialogue."""
        example = EXAMPLE.read_text(encoding="utf-8")
        example = example.replace("smtp.example.com", f"{NAME}.{NAMESPACE}.svc")
        example = example.replace("you@example.com", USER).replace("your-password", PASSWORD)
        with tempfile.TemporaryDirectory() as folder:
            authority = Path(folder) / "ca.crt"
            authority.write_bytes(self._authority())
            return dialogue(self._traced(example, authority))

    def _authority(self) -> bytes:
        secret = f"secret/{NAME}-tls"
        found = json.loads(
            self.cluster.kubectl(f"--namespace={NAMESPACE}", "get", secret, "--output=json")
        )
        return base64.b64decode(found["data"]["ca.crt"])

    def _traced(self, example: str, authority: Path) -> str:
        """In the cluster's network, where the Service's name resolves."""
        command = self.cluster.command(
            f"SSL_CERT_FILE={authority}", sys.executable, "-c", TRACED + example
        )
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SEND_SECONDS, check=False
        )
        if done.returncode:
            raise ClusterError(f"the example did not send its mail:\n{done.stderr}")
        return done.stderr

    def arrived(self) -> dict[str, Any]:
        """The request that the sandbox got."""
        service = "service/cakemail-sandbox"
        ip = "--output=jsonpath={.spec.clusterIP}"
        address = self.cluster.kubectl(f"--namespace={NAMESPACE}", "get", service, ip)
        port = self.cluster.publish(address.strip(), 80)
        url = f"http://127.0.0.1:{port}/sandbox/emails?count=1&wait=20"
        with urllib.request.urlopen(url, timeout=30) as answer:
            mails: list[dict[str, Any]] = json.load(answer)
        if not mails:
            raise ClusterError("the gateway said 250, and the sandbox holds no mail")
        return mails[-1]

    def table(self) -> str:
        """What a user sees of it."""
        return self.cluster.kubectl("get", "smtpgateways", "--all-namespaces")


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


def main() -> int:
    """Run the demo; 0 only if the mail arrived. The cluster is gone in any case."""
    cluster = Cluster("demo", progress=lambda line: say(f"   {line}"))
    begin = time.monotonic()
    try:
        say("1. A cluster in namespaces of this machine\n")
        cluster.up(nodes=1)
        if not addons.enable(cluster, "dns"):
            return 1
        demonstrate(Demo(cluster))
    except (ClusterError, OSError) as failure:
        say(f"\nThe demo failed: {failure}")
        return 1
    finally:
        cluster.down()
        say(f"The cluster is gone; {time.monotonic() - begin:.0f} s altogether.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
