"""Each rule of Pod Security *restricted*, broken once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from smtp_operator.resources.overlay import merge
from smtp_operator.resources.pod_security import violations

SAFE: dict[str, Any] = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "gateway",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                },
            }
        ],
    },
}


def broken(over: dict[str, Any]) -> list[str]:
    """What is said of the safe template with this laid over it."""
    return violations(merge(deepcopy(SAFE), over))


def of_pod(**fields: Any) -> dict[str, Any]:
    """A layer over the pod."""
    return {"spec": fields}


def of_container(**fields: Any) -> dict[str, Any]:
    """A layer over the container."""
    return {"spec": {"containers": [{"name": "gateway", **fields}]}}


def of_context(**fields: Any) -> dict[str, Any]:
    """A layer over the container's security context."""
    return of_container(securityContext=fields)


CASES: list[tuple[dict[str, Any], str]] = [
    (of_pod(hostNetwork=True), "hostNetwork must not be set"),
    (of_pod(hostPID=True), "hostPID must not be set"),
    (of_pod(hostIPC=True), "hostIPC must not be set"),
    (
        of_pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}]),
        "volume x: hostPath is not allowed",
    ),
    (
        of_pod(volumes=[{"name": "x", "nfs": {"server": "s", "path": "/"}}]),
        "volume x: nfs is not allowed",
    ),
    (
        of_pod(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "sysctl kernel.msgmax is not allowed",
    ),
    (
        of_pod(securityContext={"runAsNonRoot": False}),
        "runAsNonRoot must not be false",
    ),
    (of_pod(securityContext={"runAsUser": 0}), "runAsUser must not be 0"),
    (
        of_pod(securityContext={"seccompProfile": {"type": "Unconfined"}}),
        "seccompProfile must be RuntimeDefault or Localhost",
    ),
    (
        of_pod(securityContext={"appArmorProfile": {"type": "Unconfined"}}),
        "appArmorProfile must be RuntimeDefault or Localhost",
    ),
    (
        of_pod(securityContext={"seLinuxOptions": {"type": "spc_t"}}),
        "seLinuxOptions.type is not allowed",
    ),
    (
        of_pod(securityContext={"seLinuxOptions": {"user": "u"}}),
        "seLinuxOptions must set neither user nor role",
    ),
    (
        of_pod(securityContext={"windowsOptions": {"hostProcess": True}}),
        "windowsOptions.hostProcess must not be set",
    ),
    (
        of_context(privileged=True, allowPrivilegeEscalation=True),
        "container gateway: privileged must not be set",
    ),
    (
        of_context(allowPrivilegeEscalation=None),
        "container gateway: allowPrivilegeEscalation must be false",
    ),
    (of_context(procMount="Unmasked"), "container gateway: procMount must be Default"),
    (of_context(runAsUser=0), "container gateway: runAsUser must not be 0"),
    (
        of_context(capabilities={"drop": []}),
        "container gateway: capabilities.drop must hold ALL",
    ),
    (
        of_context(capabilities={"add": ["SYS_ADMIN"]}),
        "container gateway: capability SYS_ADMIN must not be added",
    ),
    (
        of_container(ports=[{"containerPort": 1, "hostPort": 25}]),
        "container gateway: hostPort 25 is not allowed",
    ),
    (
        of_container(livenessProbe={"httpGet": {"host": "192.0.2.1"}}),
        "container gateway: livenessProbe: host is not allowed",
    ),
    (
        of_container(lifecycle={"preStop": {"tcpSocket": {"host": "192.0.2.1"}}}),
        "container gateway: lifecycle.preStop: host is not allowed",
    ),
    (
        {
            "metadata": {
                "annotations": {
                    "container.apparmor.security.beta.kubernetes.io/gateway": "unconfined"
                }
            }
        },
        "annotation container.apparmor.security.beta.kubernetes.io/gateway is not allowed",
    ),
]


def test_the_safe_template_is_safe() -> None:
    """So each case below breaks one rule alone."""
    assert violations(SAFE) == []


# What no pod can look like: the API server's schema refuses it before any profile is asked.
ODD_SHAPES: list[tuple[dict[str, Any], str]] = [
    (of_context(procMount={}), "container gateway: procMount must be Default"),
    (
        of_pod(securityContext={"seccompProfile": {"type": ["RuntimeDefault"]}}),
        "seccompProfile must be RuntimeDefault or Localhost",
    ),
    (
        of_pod(securityContext={"appArmorProfile": {"type": {}}}),
        "appArmorProfile must be RuntimeDefault or Localhost",
    ),
    (
        of_pod(securityContext={"seLinuxOptions": {"type": []}}),
        "seLinuxOptions.type is not allowed",
    ),
    (of_pod(securityContext={"sysctls": [{"name": {}}]}), "sysctl {} is not allowed"),
]


@pytest.mark.parametrize(("over", "finding"), CASES, ids=[finding for _, finding in CASES])
def test_each_breach_is_told(over: dict[str, Any], finding: str) -> None:
    """One line, with its place."""
    assert finding in broken(over)


@pytest.mark.parametrize(
    ("over", "finding"), ODD_SHAPES, ids=[finding for _, finding in ODD_SHAPES]
)
def test_an_odd_shape_is_a_breach_and_nothing_to_stumble_over(
    over: dict[str, Any], finding: str
) -> None:
    """A `podTemplate` may hold anything; it is told like any other breach."""
    assert finding in broken(over)


def test_a_pod_without_any_context_lacks_both() -> None:
    """What neither pod nor container states is not given."""
    found = broken(of_pod(securityContext={"runAsNonRoot": None, "seccompProfile": None}))
    assert found == [
        "container gateway: runAsNonRoot must be true",
        "container gateway: seccompProfile must be set",
    ]


def test_every_container_is_looked_at() -> None:
    """A sidecar and an init container too."""
    found = broken(of_pod(initContainers=[{"name": "setup"}]))
    assert "container setup: capabilities.drop must hold ALL" in found


def test_the_one_capability_of_the_profile_may_be_added() -> None:
    """NET_BIND_SERVICE, and NFS only through a claim."""
    assert broken(of_context(capabilities={"add": ["NET_BIND_SERVICE"]})) == []
    claim = {"name": "x", "persistentVolumeClaim": {"claimName": "y"}}
    assert broken(of_pod(volumes=[claim])) == []


@pytest.mark.parametrize("odd", [{"spec": []}, {"spec": {"containers": "x", "volumes": [1]}}, {}])
def test_another_shape_is_left_to_the_api_server(odd: dict[str, Any]) -> None:
    """It says better what it wants."""
    assert violations(odd) == []
