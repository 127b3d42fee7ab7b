"""Both charts with their default values, as a platform team has them: install, upgrade, uninstall.

What charts render and refuse is in ``test_helm.py``; here the pods run.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.commands import wait_until
from tests.end_to_end.fleet import OPERATOR, InstalledOperator, ManagedFleet, SandboxPod
from tests.end_to_end.pods import mail
from tests.support.gateways import CRD_NAME
from tests.support.installs import MANIFESTS, OPERATOR_CHART, Helm
from tests.support.kubernetes import Kubernetes

CRDS = MANIFESTS / "helm" / "smtp-operator-crds"
WHERE = f"--namespace={OPERATOR}"
WAIT = ("--wait", "--timeout=240s")

pytestmark = [
    pytest.mark.needs("helm", "pods", "images", "dns"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def helm(kubernetes: Kubernetes, loaded_images: list[str]) -> Iterator[Helm]:
    """Both releases are installed, and the operator's pods are ready; gone after this module."""
    assert len(loaded_images) == 3
    helm = Helm(kubernetes)
    try:
        install_definitions(helm)
        established = ("--for=condition=Established", "--timeout=110s")
        kubernetes.kubectl("wait", *established, f"crd/{CRD_NAME}")
        helm("install", OPERATOR, OPERATOR_CHART, WHERE, *WAIT)
        yield helm
    finally:
        InstalledOperator(kubernetes).remove()


def install_definitions(helm: Helm) -> None:
    """Other tests may have made the definition without Helm: then it is taken over."""
    helm("install", "crds", CRDS, WHERE, "--create-namespace", "--take-ownership", *WAIT)


@pytest.fixture(scope="module")
def fleet(kubernetes: Kubernetes, helm: Helm) -> Iterator[ManagedFleet]:
    """One pod, Ready, which delivers to a sandbox in its namespace."""
    assert OPERATOR in helm("list", WHERE, "--short").split()
    with kubernetes.namespace({"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        SandboxPod(kubernetes, namespace).start()
        made = ManagedFleet(kubernetes, namespace)
        made.apply()
        made.wait_for("Ready")
        yield made


def live_settings(fleet: ManagedFleet) -> str:
    """What its pods read while they run."""
    found = fleet.kubernetes.get("configmap/mail-live", fleet.namespace)
    return "".join(found["data"].values())


def test_an_upgrade_with_another_value_changes_the_operator_and_restarts_no_gateway(
    fleet: ManagedFleet, kubernetes: Kubernetes, helm: Helm
) -> None:
    """New pods of the operator, with the value; they act, and a fleet's pods live on."""
    operator = InstalledOperator(kubernetes)
    lives, before = fleet.lives(), set(operator.pods())

    value = "settings.ROLLOUT_BUDGET_PERCENT=25"
    helm("upgrade", OPERATOR, OPERATOR_CHART, WHERE, f"--set-string={value}", *WAIT)
    wait_until("only new operators", lambda: not before & set(operator.pods()), 180)
    fleet.patch({"limits": {"maxRecipients": 7}})
    wait_until("an edit", lambda: "SMTP_MAX_RECIPIENTS=7\n" in live_settings(fleet), 60)

    started = [line for line in operator.logs() if line["event"] == "operator started"]
    assert len(started) == 2
    assert all("ROLLOUT_BUDGET_PERCENT=25" in line["settings"] for line in started)
    assert fleet.lives() == lives
    assert len(lives) == 1


async def test_gateways_serve_on_when_both_charts_are_uninstalled_and_are_taken_up_again(
    fleet: ManagedFleet, kubernetes: Kubernetes, helm: Helm
) -> None:
    """No pod needs the operator; definition and objects stay, and the next release finds them."""
    lives, mailbox = fleet.lives(), fleet.mailbox()

    helm("uninstall", OPERATOR, WHERE, "--wait")
    helm("uninstall", "crds", WHERE, "--wait")
    wait_until("no operator", lambda: not InstalledOperator(kubernetes).pods(), 180)
    session = await mailbox.session()
    await session.send_message(mail(1))
    await session.quit()

    (request,) = SandboxPod(kubernetes, fleet.namespace).emails(1, wait_seconds=40)
    assert request["accepted"]
    assert fleet.lives() == lives
    assert fleet.observed()["status"]["readyReplicas"] == 1

    install_definitions(helm)
    helm("install", OPERATOR, OPERATOR_CHART, WHERE, *WAIT)
    fleet.patch({"limits": {"maxRecipients": 8}})
    wait_until("an edit", lambda: "SMTP_MAX_RECIPIENTS=8\n" in live_settings(fleet), 60)
    assert fleet.lives() == lives
