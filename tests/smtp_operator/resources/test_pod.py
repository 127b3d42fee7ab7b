"""The pod template."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.model import Object
from smtp_operator.resources.pod import template
from smtp_operator.resources.pod_security import violations
from tests.support.fleets import IMAGE, a_gateway, some_facts


def pod(**spec: Any) -> Object:
    """The pod's spec."""
    made: Object = template(a_gateway(**spec), some_facts(), start="mail-start-1", trust="")
    found: Object = made["spec"]
    return found


def container(**spec: Any) -> Object:
    """The gateway's container."""
    (only,) = pod(**spec)["containers"]
    made: Object = only
    return made


def test_it_keeps_to_pod_security_restricted() -> None:
    """In every namespace, whatever that one enforces."""
    made = template(a_gateway(), some_facts(), start="mail-start-1", trust="")
    assert violations(made) == []
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True


def test_services_put_nothing_into_its_environment() -> None:
    """A Service called `smtp` would set SMTP_PORT to tcp://..."""
    assert pod()["enableServiceLinks"] is False


def test_it_has_no_token() -> None:
    """Twice: in its account, and here, where another account's default could not undo it."""
    assert pod()["automountServiceAccountToken"] is False


def test_the_image_is_the_release_s_unless_pinned() -> None:
    """A pin stays through operator upgrades."""
    assert container()["image"] == IMAGE
    assert container(image="registry.example/own:1")["image"] == "registry.example/own:1"


def test_configuration_is_mounted_as_folders() -> None:
    """A file mounted by subPath is never refreshed."""
    mounts = container(cakemail={"caConfigMapRef": {"name": "private-ca"}})["volumeMounts"]
    assert [(mount["name"], mount["mountPath"]) for mount in mounts] == [
        ("tls", "/etc/smtp-gateway/tls"),
        ("live", "/etc/smtp-gateway/live"),
        ("ca", "/etc/smtp-gateway/ca"),
        ("scratch", "/tmp"),  # noqa: S108  # inside the pod
    ]
    assert [mount for mount in mounts if "subPath" in mount] == []


def test_liveness_does_not_ask_for_readiness() -> None:
    """A pod that refuses mail while the API is down must not be restarted."""
    made = container()
    assert made["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert made["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert made["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_the_pod_outlives_its_drain() -> None:
    """The kubelet waits as long as the gateway drains."""
    drain = {"gracePeriodSeconds": 90}
    assert pod(drain=drain)["terminationGracePeriodSeconds"] == 90


@pytest.mark.parametrize(
    ("spread", "otherwise"), [("Preferred", "ScheduleAnyway"), ("Required", "DoNotSchedule")]
)
def test_pods_are_spread_over_zones_and_nodes(spread: str, otherwise: str) -> None:
    """Each revision for itself."""
    made = pod(scheduling={"topologySpread": spread})["topologySpreadConstraints"]
    assert [item["topologyKey"] for item in made] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    assert {item["whenUnsatisfiable"] for item in made} == {otherwise}
    assert {item["maxSkew"] for item in made} == {1}
    assert [item["matchLabelKeys"] for item in made] == [["pod-template-hash"]] * 2


@pytest.mark.parametrize("spread", ["Preferred", "Required"])
def test_a_drained_node_does_not_count_as_an_empty_place(spread: str) -> None:
    """Else Required pods could go nowhere, and the drain would wait for ever."""
    made = pod(scheduling={"topologySpread": spread})["topologySpreadConstraints"]
    assert [item["nodeTaintsPolicy"] for item in made] == ["Honor", "Honor"]


def test_own_constraints_replace_ours_and_none_means_none() -> None:
    """As the user states them."""
    own = [{"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}]
    made = pod(scheduling={"topologySpreadConstraints": own})
    assert made["topologySpreadConstraints"] == own
    assert "topologySpreadConstraints" not in pod(scheduling={"topologySpread": "None"})


def test_another_ca_makes_another_pod() -> None:
    """The gateway reads it only at its start."""
    made = template(a_gateway(), some_facts(), start="mail-start-1", trust="abc")
    assert made["metadata"]["annotations"] == {"smtp.cakemail.com/trust": "abc"}
