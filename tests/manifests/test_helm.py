"""The Helm charts: what they render, what they refuse, and one real installation.

``golden/<case>.yaml`` is what the operator's chart renders of the values in ``CASES``.
``pytest tests/manifests/test_helm.py -m cluster --update-golden`` rewrites them from what it
renders now; read the difference before you commit it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from smtp_operator.resources.pod_security import violations
from smtp_operator.settings import Settings, load
from tests.cluster.commands import CommandFailed
from tests.support.gateways import CRD_NAME
from tests.support.installs import (
    BASE,
    MANIFESTS,
    OPERATOR_CHART,
    Helm,
    container_of,
    documents,
    named,
    of_kind,
)
from tests.support.kubernetes import Kubernetes
from tests.support.smtpgateway import CRD_FILE

OPERATOR, CRDS = OPERATOR_CHART, MANIFESTS / "helm" / "smtp-operator-crds"
GOLDEN = Path(__file__).parent / "golden"
RELEASE = "smtp-operator"
CASES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "namespaces": {"watchNamespaces": ["blue", "green"]},
    "everything": {
        "image": {"repository": "registry.example/operator", "digest": "sha256:" + "a" * 64},
        "gatewayImage": "registry.example/gateway:2",
        "imagePullSecrets": [{"name": "registry"}],
        "replicas": 3,
        "watchSecrets": True,
        "watchSelector": "tier=canary,!old",
        "settings": {"ROLLOUT_BUDGET_PERCENT": "25", "ROLLOUT_HOLD": "true"},
        "serviceAccount": {"annotations": {"example.test/role": "mail"}},
        "podLabels": {"team": "mail"},
        "podAnnotations": {"example.test/note": "1"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "mail", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "system-cluster-critical",
        "podDisruptionBudget": {"enabled": False},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "alerts": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "others-make-roles": {"rbac": {"create": False}},
}

pytestmark = pytest.mark.needs("helm")


def rendered(helm: Helm, values: Mapping[str, Any], release: str = RELEASE) -> str:
    """The operator's chart."""
    return helm("template", release, OPERATOR, "--namespace=smtp-operator", values=values)


@pytest.fixture
def helm(kubernetes: Kubernetes) -> Helm:
    """The program that users have."""
    return Helm(kubernetes)


def base(name: str) -> list[Mapping[str, Any]]:
    """Objects of the kustomize base."""
    return documents((BASE / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("chart", [OPERATOR, CRDS], ids=lambda path: str(path.name))
def test_a_chart_has_no_fault_that_helm_finds(chart: Path, helm: Helm) -> None:
    """Warnings count."""
    assert "0 chart(s) failed" in helm("lint", "--strict", chart)


@pytest.mark.parametrize("case", CASES)
def test_the_operators_chart_renders_what_stands_in_golden(
    case: str, helm: Helm, pytestconfig: pytest.Config
) -> None:
    """Comments included: a reviewer sees what a cluster gets."""
    made = rendered(helm, CASES[case])
    golden = GOLDEN / f"{case}.yaml"
    if pytestconfig.getoption("--update-golden"):
        golden.write_text(made, encoding="utf-8")
    assert made == golden.read_text(encoding="utf-8")


def test_the_chart_grants_what_the_base_grants(helm: Helm) -> None:
    """One table of rights, in two forms."""
    made = documents(rendered(helm, {}))
    wanted = base("access.yaml")

    for kind, name in (("ClusterRole", RELEASE), ("Role", f"{RELEASE}-election")):
        assert named(made, kind, name)["rules"] == named(wanted, kind, name)["rules"]
    for kind, name in (("ClusterRoleBinding", RELEASE), ("RoleBinding", f"{RELEASE}-election")):
        bound, binds = named(made, kind, name), named(wanted, kind, name)
        assert (bound["roleRef"], bound["subjects"]) == (binds["roleRef"], binds["subjects"])
    assert {item["kind"] for item in made} == {item["kind"] for item in wanted} | {
        "Deployment", "PodDisruptionBudget",
    }  # fmt: skip


def test_the_chart_starts_what_the_base_starts(helm: Helm) -> None:
    """But for a label that tells releases apart, and the Lease that is named after the release."""
    made = documents(rendered(helm, {}))
    (wanted,) = base("deployment.yaml")
    spec = deepcopy(named(made, "Deployment", RELEASE)["spec"])

    assert without_instance(spec) == 3
    assert container_of({"spec": spec})["env"].pop(3) == {"name": "LEASE_NAME", "value": RELEASE}
    assert spec == wanted["spec"]
    (budget,) = base("disruption.yaml")
    budget_spec = deepcopy(named(made, "PodDisruptionBudget", RELEASE)["spec"])
    assert without_instance(budget_spec) == 1
    assert budget_spec == budget["spec"]


def without_instance(value: Any) -> int:
    """Take that label away everywhere; how many there were."""
    if isinstance(value, list):
        return sum(without_instance(item) for item in value)
    if not isinstance(value, dict):
        return 0
    here = value.pop("app.kubernetes.io/instance", None) is not None
    return here + sum(without_instance(item) for item in value.values())


def rule_of(role: Mapping[str, Any], resource: str) -> list[str]:
    """The verbs on a resource."""
    (rule,) = [rule for rule in role["rules"] if resource in rule["resources"]]
    verbs: list[str] = rule["verbs"]
    return verbs


def test_named_namespaces_are_the_only_ones_with_rights(helm: Helm) -> None:
    """A Role in each instead of a ClusterRole; there Secrets may be watched."""
    made = documents(rendered(helm, CASES["namespaces"]))
    roles = [role for role in of_kind(made, "Role") if role["metadata"]["name"] == RELEASE]
    wanted = deepcopy(named(base("access.yaml"), "ClusterRole", RELEASE)["rules"])
    rule_of({"rules": wanted}, "secrets")[:] = ["get", "list", "watch", "create", "patch", "delete"]

    assert of_kind(made, "ClusterRole") + of_kind(made, "ClusterRoleBinding") == []
    assert [role["metadata"]["namespace"] for role in roles] == ["blue", "green"]
    assert [role["rules"] for role in roles] == [wanted, wanted]
    bindings = [b for b in of_kind(made, "RoleBinding") if b["metadata"]["name"] == RELEASE]
    assert [b["metadata"]["namespace"] for b in bindings] == ["blue", "green"]
    assert {b["roleRef"]["kind"] for b in bindings} == {"Role"}


@pytest.mark.parametrize("watch_secrets", [None, True, False])
@pytest.mark.parametrize("namespaces", [[], ["blue"]])
def test_secrets_may_be_listed_exactly_when_the_operator_watches_them(
    watch_secrets: bool | None,  # noqa: FBT001  # a value of the chart
    namespaces: list[str],
    helm: Helm,
) -> None:
    """The chart decides as ``Settings.secrets_watched`` does, from the variables that it sets."""
    values = {"watchSecrets": watch_secrets, "watchNamespaces": namespaces}
    made = documents(rendered(helm, values))
    settings = settings_of(named(made, "Deployment", RELEASE))
    (role,) = [r for r in made if r["kind"] in {"ClusterRole", "Role"}
               and r["metadata"]["name"] == RELEASE]  # fmt: skip

    assert settings.watch_namespaces == tuple(namespaces)
    assert ("list" in rule_of(role, "secrets")) == settings.secrets_watched


def settings_of(deployment: Mapping[str, Any]) -> Settings:
    """As the program reads them."""
    env = container_of(deployment)["env"]
    assert len({one["name"] for one in env}) == len(env)
    settings, notes = load({one["name"]: one.get("value", "from-the-pod") for one in env})
    assert notes == []
    return settings


def test_values_become_settings(helm: Helm) -> None:
    """Each in its place, and the program takes all of them."""
    made = documents(rendered(helm, CASES["everything"]))
    settings = settings_of(named(made, "Deployment", RELEASE))

    assert settings.gateway_image == "registry.example/gateway:2"
    assert settings.watch_selector == "tier=canary,!old"
    assert settings.watch_secrets is True
    assert (settings.rollout_budget_percent, settings.rollout_hold) == (25, True)


def test_releases_of_other_names_elect_by_other_leases(helm: Helm) -> None:
    """A canary beside the first: no object in common, and rights on its own Lease only."""
    made = documents(rendered(helm, {}, release="smtp.canary"))
    election = named(made, "Role", "smtp-canary-election")

    assert settings_of(named(made, "Deployment", "smtp-canary")).lease_name == "smtp-canary"
    assert election["rules"][1]["resourceNames"] == ["smtp-canary"]
    first = {(o["kind"], o["metadata"]["name"]) for o in documents(rendered(helm, {}))}
    assert first.isdisjoint({(o["kind"], o["metadata"]["name"]) for o in made})


@pytest.mark.parametrize("case", CASES)
def test_every_rendered_pod_keeps_to_the_restricted_profile(case: str, helm: Helm) -> None:
    """Whatever the values are."""
    made = documents(rendered(helm, CASES[case]))

    assert violations(named(made, "Deployment", RELEASE)["spec"]["template"]) == []


# What a user may get wrong, and the words of the refusal.
MISTAKES: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a text for a number": ({"replicas": "two"}, "replicas"),
    "a misspelt name": ({"replica": 2}, "'replica'"),
    "a text for a list": ({"watchNamespaces": "blue"}, "watchNamespaces"),
    "no name of a namespace": ({"watchNamespaces": ["Blue"]}, "watchNamespaces"),
    "a namespace twice": ({"watchNamespaces": ["blue", "blue"]}, "watchNamespaces"),
    "a text for yes or no": ({"watchSecrets": "yes"}, "watchSecrets"),
    "no selector": ({"watchSelector": "a in (b)"}, "watchSelector"),
    "an unknown setting": ({"settings": {"ROLLOUT_HOLDS": "true"}}, "ROLLOUT_HOLDS"),
    "a setting that is no text": ({"settings": {"RESYNC_SECONDS": 1000000}}, "RESYNC_SECONDS"),
    "a setting of the chart's own": ({"settings": {"LEASE_NAME": "x"}}, "LEASE_NAME"),
    "no digest": ({"image": {"digest": "latest"}}, "digest"),
    "no duration": ({"serviceMonitor": {"interval": "often"}}, "interval"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_values_are_refused_before_anything_is_rendered(mistake: str, helm: Helm) -> None:
    """The schema names the value."""
    values, word = MISTAKES[mistake]

    with pytest.raises(CommandFailed, match=rf"(?s)don't meet the specifications.*{word}"):
        rendered(helm, values)


def test_the_crd_chart_is_the_definition_itself(helm: Helm) -> None:
    """Field for field, and kept when the release goes."""
    (made,) = documents(helm("template", "crds", CRDS))
    (wanted,) = documents(CRD_FILE.read_text(encoding="utf-8"))

    metadata = {"name": CRD_NAME, "annotations": {"helm.sh/resource-policy": "keep"}}
    assert made == {**wanted, "metadata": metadata}


def test_uninstalling_the_definitions_deletes_no_fleet(
    kubernetes: Kubernetes, namespace: str, helm: Helm
) -> None:
    """The release goes, the custom resource and its objects stay."""
    # Other tests may have made the definition already; it is taken over, never deleted.
    helm("install", "crds", CRDS, f"--namespace={namespace}", "--wait", "--take-ownership")
    kubernetes.kubectl("wait", "--for=condition=Established", f"crd/{CRD_NAME}")
    sample = ("--filename", str(MANIFESTS / "samples" / "smtpgateway.yaml"))
    kubernetes.kubectl("apply", "--namespace", namespace, *sample)

    helm("upgrade", "crds", CRDS, f"--namespace={namespace}", "--wait")
    said = helm("uninstall", "crds", f"--namespace={namespace}", "--wait")

    assert "kept due to the resource policy" in said
    kept = kubernetes.kubectl("get", "smtpgateways", "--namespace", namespace, "--output=name")
    assert kept.startswith("smtpgateway.smtp.cakemail.com/")


@pytest.fixture
def installed(kubernetes: Kubernetes, namespace: str, helm: Helm) -> Iterator[str]:
    """The operator's rights and objects without its pods; yields its account's user name."""
    where = f"--namespace={namespace}"
    notes = helm("install", "access-tried", OPERATOR, where, "--wait", values={"replicas": 0})
    assert "serves the whole cluster" in notes
    yield f"system:serviceaccount:{namespace}:access-tried"
    helm("uninstall", "access-tried", where, "--wait")
    left = kubernetes.kubectl(
        "get", "deployments,serviceaccounts,roles,rolebindings,poddisruptionbudgets",
        where, "--output=name", "--selector=app.kubernetes.io/instance=access-tried",
    )  # fmt: skip
    assert left == ""
    roles = kubernetes.kubectl(
        "get", "clusterroles,clusterrolebindings", "--output=name",
        "--selector=app.kubernetes.io/instance=access-tried",
    )  # fmt: skip
    assert roles == ""


class Question(NamedTuple):
    """What the API server's authorizer is asked."""

    verb: str
    group: str
    resource: str
    name: str
    namespace: str


def may(kubernetes: Kubernetes, user: str, question: Question) -> bool:
    """What it says to this user."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": question._asdict()},
    }
    argv = ("create", "--filename=-", "--output=json")
    answer = json.loads(kubernetes.kubectl(*argv, stdin=json.dumps(review)))
    return bool(answer["status"]["allowed"])


def test_an_installation_has_the_operators_rights_and_no_more(
    kubernetes: Kubernetes, namespace: str, installed: str
) -> None:
    """A real API server takes every object of the chart, and judges by its roles."""
    leases = "coordination.k8s.io"
    asked = {
        Question("list", "smtp.cakemail.com", "smtpgateways", "", "default"): True,
        Question("patch", "smtp.cakemail.com", "smtpgateways", "alpha", "default"): False,
        Question("create", "apps", "deployments", "", "default"): True,
        Question("get", "", "secrets", "any", "default"): True,
        Question("list", "", "secrets", "", "default"): False,
        Question("create", "", "pods", "", "default"): False,
        Question("update", leases, "leases", "access-tried", namespace): True,
        Question("update", leases, "leases", "another", namespace): False,
        Question("update", leases, "leases", "access-tried", "default"): False,
    }

    assert {q: may(kubernetes, installed, q) for q in asked} == asked


def test_watching_the_own_lease_is_a_request_for_its_name(
    kubernetes: Kubernetes, namespace: str, installed: str
) -> None:
    """As the election does it: by a field selector; without one it is refused."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases?watch=true&timeoutSeconds=1"
    own = f"{path}&fieldSelector=metadata.name%3Daccess-tried"

    kubernetes.kubectl("get", f"--as={installed}", f"--raw={own}")
    with pytest.raises(CommandFailed, match="forbidden"):
        kubernetes.kubectl("get", f"--as={installed}", f"--raw={path}")
