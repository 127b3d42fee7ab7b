"""The kustomize base fits the program that it starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client import CollectorRegistry

from smtp_operator.probes import Probes
from smtp_operator.resources.pod_security import violations
from smtp_operator.settings import Settings, load
from tests.support.installs import BASE, container_of, documents, named


class Well:
    """A program without faults."""

    def deadly(self) -> list[str]:
        """None."""
        return []

    faults = deadly

    def details(self) -> dict[str, Any]:
        """None."""
        return {}


@pytest.fixture
def container() -> Mapping[str, Any]:
    """The operator's container."""
    return container_of(deployment())


def deployment() -> Mapping[str, Any]:
    """The operator's Deployment."""
    return named(base(), "Deployment", "smtp-operator")


def base() -> list[Mapping[str, Any]]:
    """All objects of the folder, without what a kustomization adds."""
    files = [path for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [item for path in files for item in documents(path.read_text(encoding="utf-8"))]


def test_the_kustomization_names_every_file_of_its_folder() -> None:
    """A forgotten file is an object that nobody installs."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]

    files = {path.name for path in BASE.iterdir()} - {"kustomization.yaml"}
    assert set(listed) == files | {"../../../crds"}
    assert len(listed) == len(set(listed))


def test_every_variable_is_a_setting(container: Mapping[str, Any]) -> None:
    """The program refuses to start with unknown ones, or without those that it must have."""
    variables = {one["name"]: one.get("value", "from-the-pod") for one in container["env"]}

    settings, notes = load(variables)
    assert {name.lower() for name in variables} <= set(Settings.model_fields)
    assert notes == []
    assert settings.gateway_image == variables["GATEWAY_IMAGE"]
    assert settings.clusterwide


def test_the_pods_own_name_and_namespace_come_from_the_pod(container: Mapping[str, Any]) -> None:
    """The Lease lies in the operator's namespace, whatever that is called."""
    fields = {
        one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"]
        for one in container["env"]
        if "valueFrom" in one
    }

    assert fields == {"POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name"}


def probes_of(container: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and target of each probe."""
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in container:
            yield name, container[name]["httpGet"]


async def test_every_probe_asks_what_the_program_answers(container: Mapping[str, Any]) -> None:
    """Each path is asked of the program's own server; the port is the one that it listens on."""
    probes = Probes(Well(), CollectorRegistry(), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{await probes.start()}"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    answers = {}
    async with aiohttp.ClientSession() as client:
        for name, get in probes_of(container):
            async with client.get(url + get["path"]) as answer:
                answers[name] = (answer.status, (await answer.json())["status"], ports[get["port"]])
    await probes.stop()

    assert answers == {
        "livenessProbe": (200, "live", Settings.model_fields["http_port"].default),
        "readinessProbe": (200, "ready", Settings.model_fields["http_port"].default),
    }


def test_the_operator_keeps_to_the_restricted_profile() -> None:
    """Its namespace enforces it, so a breach would start no pod at all."""
    assert violations(deployment()["spec"]["template"]) == []
    labels = named(base(), "Namespace", "smtp-operator")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_selectors_and_accounts_name_what_is_there() -> None:
    """Deployment, budget and account belong together."""
    spec = deployment()["spec"]
    labels = spec["template"]["metadata"]["labels"]
    budget = named(base(), "PodDisruptionBudget", "smtp-operator")

    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    account = spec["template"]["spec"]["serviceAccountName"]
    assert named(base(), "ServiceAccount", account)


def test_the_grace_period_outlasts_the_programs_own_end() -> None:
    """Work in hand, kopf's end and the release of the Lease fit in before the SIGKILL."""
    grace = deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]

    assert grace > Settings.model_fields["operator_stop_seconds"].default + 20
