"""Kinds of others that a fleet may ask for: cert-manager's, and those of the Prometheus operator.

``monitoring_crds.yaml`` holds what the operator relies on of the latter's definitions. No
Prometheus runs, but its parser reads the rules.
"""

from __future__ import annotations

import base64
import json
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from smtp_operator.errors import ClusterUnavailable, Conflict
from smtp_operator.resources.monitor import API_VERSION
from tests.cluster.commands import CommandFailed, run, wait_until
from tests.cluster.programs import PROMQL
from tests.end_to_end.fleet import InstalledOperator, Mailbox, ManagedFleet, SandboxPod
from tests.end_to_end.pods import mail
from tests.support.installs import OPERATOR_CHART
from tests.support.kubernetes import Kubernetes
from tests.support.tools import missing

OPERATORS_ALERTS = OPERATOR_CHART / "files" / "alerts.yaml"
MONITORING = Path(__file__).parent / "monitoring_crds.yaml"
SOON_SECONDS = 60
NOTICED_SECONDS = 120  # the operator asks for these kinds every 30 s
NAME = "smtp.example.com"

pytestmark = [pytest.mark.needs("pods", "images", "dns"), pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def operator(kubernetes: Kubernetes, loaded_images: list[str]) -> Iterator[InstalledOperator]:
    """The published base, gone after this module."""
    assert len(loaded_images) == 3
    installed = InstalledOperator.apply(kubernetes)
    yield installed
    installed.remove()


@pytest.fixture
def fleet(
    kubernetes: Kubernetes, namespace: str, operator: InstalledOperator
) -> Iterator[ManagedFleet]:
    """Nothing applied yet; whatever a test does, users' objects are theirs afterwards."""
    assert operator.pods()
    made = ManagedFleet(kubernetes, namespace)
    yield made
    assert made.untouched()


# -- cert-manager


def authority(namespace: str) -> list[dict[str, Any]]:
    """A self-signed certificate that may sign others, and the issuer that does so with it."""
    meta = {"namespace": namespace}
    kinds = {"apiVersion": "cert-manager.io/v1"}
    return [
        {**kinds, "kind": "Issuer", "metadata": {**meta, "name": "beginning"},
         "spec": {"selfSigned": {}}},
        {**kinds, "kind": "Certificate", "metadata": {**meta, "name": "our-ca"},
         "spec": {
             "isCA": True, "commonName": "Our authority", "secretName": "our-ca",
             "privateKey": {"algorithm": "ECDSA", "size": 256},
             "issuerRef": {"name": "beginning", "kind": "Issuer", "group": "cert-manager.io"},
         }},
        {**kinds, "kind": "Issuer", "metadata": {**meta, "name": "our-issuer"},
         "spec": {"ca": {"secretName": "our-ca"}}},
    ]  # fmt: skip


@pytest.mark.needs("certificates")
async def test_a_certificate_of_cert_manager_serves_mail_as_soon_as_its_issuer_is_there(
    fleet: ManagedFleet,
) -> None:
    """Clients trust the issuer's authority and nothing else, under the name that was asked for."""
    sandbox = SandboxPod(fleet.kubernetes, fleet.namespace)
    sandbox.start()
    tls = {"certManager": {"issuerRef": {"name": "our-issuer"}}, "dnsNames": [NAME]}
    fleet.apply(tls=tls)
    fleet.wait_for("TLSReady=False", SOON_SECONDS)
    wait_until("a Certificate", lambda: fleet.there("certificate/mail"), SOON_SECONDS)
    waiting = fleet.condition("TLSReady")
    assert (waiting["status"], waiting["reason"]) == ("False", "Pending")
    assert "cert-manager to write Secret mail-cert-manager-tls; to see why" in waiting["message"]

    fleet.kubernetes.apply(*authority(fleet.namespace))
    fleet.wait_for("Ready")

    assert fleet.condition("TLSReady")["reason"] == "Issued"
    assert fleet.observed()["status"]["tls"]["secretName"] == "mail-cert-manager-tls"
    assert fleet.observed()["status"]["tls"]["dnsNames"] == [NAME]
    root = fleet.kubernetes.get("secret/our-ca", fleet.namespace)["data"]["tls.crt"]
    trust = ssl.create_default_context(cadata=base64.b64decode(root).decode())
    session = await Mailbox(fleet.address(), trust, NAME).session()
    await session.send_message(mail(1))
    await session.quit()
    (request,) = sandbox.emails(1, wait_seconds=40)
    assert request["accepted"]


# -- the Prometheus operator


@pytest.fixture
def without_monitoring(kubernetes: Kubernetes) -> Iterator[None]:
    """Its definitions are not there before and after; a cluster that has them is left alone."""
    definitions = kubernetes.kubectl("get", "customresourcedefinitions", "--output=name")
    assert "monitoring.coreos.com" not in definitions
    yield
    kubernetes.kubectl("delete", "--ignore-not-found", f"--filename={MONITORING}")


def failures(operator: InstalledOperator, fleet: ManagedFleet) -> int:
    """How many looks at it ended in an error or had to be put off.

    For whatever reason, but that the API server was not there or that others wrote meanwhile.
    """
    lines = [line for line in operator.logs() if fleet.namespace in json.dumps(line)]
    failed = [line for line in lines if line["event"] == "reconcile failed"]
    delayed = [line for line in lines if line["event"] == "reconcile delayed"]
    passing = {ClusterUnavailable.__name__, Conflict.__name__}
    return len(failed) + len([line for line in delayed if line["error"] not in passing])


def degraded(fleet: ManagedFleet) -> tuple[str, str, str]:
    """What it says."""
    found = fleet.condition("Degraded")
    return found["status"], found["reason"], found["message"]


def read_by_prometheus(expressions: list[str]) -> int:
    """How many there are; an error when one is no PromQL."""
    if shutil.which("go") is None:
        missing("go is not installed, which builds Prometheus' parser")
    parser = PROMQL.build() / "promql"
    with pytest.raises(CommandFailed, match="unclosed left parenthesis"):
        run(parser, stdin="sum(up")
    return int(run(parser, stdin="\n".join(expressions)))


def up_to_date(fleet: ManagedFleet) -> bool:
    """Whether the status speaks of the spec as it is now."""
    found = fleet.observed()
    return bool(found["status"]["observedGeneration"] == found["metadata"]["generation"])


@pytest.mark.usefixtures("without_monitoring")
def test_monitors_are_made_when_their_kinds_come_and_missed_when_those_are_not_there(
    fleet: ManagedFleet, operator: InstalledOperator
) -> None:
    """Lacking, come, gone: each is told, none is an error that is tried for ever."""
    advice = (
        "the cluster serves no ServiceMonitor: install the Prometheus operator's CRDs, or switch "
        "spec.monitoring.serviceMonitor off"
    )
    lacking = ("True", "ApplyFailed", advice)
    labels = {"release": "prometheus"}
    monitor = {"enabled": True, "intervalSeconds": 15, "labels": labels}
    fleet.apply(
        replicas=0,
        monitoring={"serviceMonitor": monitor, "alerts": {"enabled": True, "labels": labels}},
    )
    fleet.wait_for("Ready", SOON_SECONDS)
    assert degraded(fleet) == lacking

    def told() -> bool:  # after the status
        events = fleet.kubectl("events", "--for=smtpgateway/mail", "--types=Warning")
        return f"Degraded is True: {advice}" in events

    wait_until("an Event tells it too", told, SOON_SECONDS)
    assert fleet.there("service/mail-metrics")
    assert failures(operator, fleet) == 0

    fleet.kubernetes.kubectl("apply", "--server-side", f"--filename={MONITORING}")
    fleet.wait_for("Degraded=False", NOTICED_SECONDS)
    made = fleet.kubernetes.get("servicemonitor/mail", fleet.namespace)
    assert made["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = made["spec"]["endpoints"]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "15s"}
    (group,) = fleet.kubernetes.get("prometheusrule/mail", fleet.namespace)["spec"]["groups"]
    assert read_by_prometheus([rule["expr"] for rule in group["rules"]]) == 8
    rules = yaml.safe_load(OPERATORS_ALERTS.read_text(encoding="utf-8"))
    (group,) = rules["groups"]
    assert read_by_prometheus([" ".join(rule["expr"].split()) for rule in group["rules"]]) == 10
    metadata = {"namespace": fleet.namespace, "name": "smtp-operator"}
    fleet.kubernetes.apply(
        {"apiVersion": API_VERSION, "kind": "PrometheusRule", "metadata": metadata, "spec": rules}
    )

    fleet.kubectl("delete", "servicemonitor/mail")
    wait_until("the monitor again", lambda: fleet.there("servicemonitor/mail"), SOON_SECONDS)

    fleet.kubernetes.kubectl("delete", f"--filename={MONITORING}")
    # Before it is gone it is going, and a monitor made anew is refused for that.
    wait_until("it is lacking", lambda: degraded(fleet) == lacking, NOTICED_SECONDS)
    assert fleet.condition("Ready")["status"] == "True"
    # Until it asks again which kinds there are, it tries: 30 s of waits that double from 5 ms.
    tried = failures(operator, fleet)
    assert tried < 20
    fleet.patch({"limits": {"maxRecipients": 7}})
    wait_until("an edit", lambda: up_to_date(fleet), SOON_SECONDS)
    assert failures(operator, fleet) == tried
