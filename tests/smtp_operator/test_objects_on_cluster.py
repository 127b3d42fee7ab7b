"""What is rendered, judged by a real API server: schema, admission, ownership of fields."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import yaml

from smtp_operator.fleet.draft import Word
from smtp_operator.fleet.model import Object, Ref
from smtp_operator.fleet.replicas import Replicas, plan
from smtp_operator.resources.deployment import handover
from smtp_operator.resources.overlay import merge
from smtp_operator.resources.pod_security import violations
from smtp_operator.resources.rendering import render
from tests.cluster.commands import CommandFailed, wait_until
from tests.smtp_operator.resources.test_pod_security import CASES as BREACHES
from tests.smtp_operator.resources.test_pod_security import SAFE
from tests.smtp_operator.test_golden import CASES, FOLDER, load_facts, load_gateway
from tests.support.certificates import FixedKeys
from tests.support.fleets import a_gateway, decided, find, rendered, some_facts
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api")

# Kinds whose schemas the API server has only where their operators are installed.
FOREIGN = frozenset({"Certificate", "ServiceMonitor", "PrometheusRule"})


def applied(
    kubernetes: Kubernetes, objects: Iterable[Object], *more: str, manager: str = "smtp-operator"
) -> list[Object]:
    """The answers to a server-side apply; unknown fields are refused."""
    sent = list(objects) if "--dry-run=server" in more else [_without_owner(o) for o in objects]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": sent})
    argv = ("apply", "--server-side", f"--field-manager={manager}", "--validate=strict")
    answer = kubernetes.kubectl(*argv, "--filename=-", "--output=json", *more, stdin=manifest)
    found: Object = json.loads(answer)
    return list(found["items"]) if found["kind"] == "List" else [found]


def _without_owner(item: Object) -> Object:
    """No SmtpGateway is there, and garbage collection deletes what belongs to nobody."""
    kept = {k: v for k, v in item["metadata"].items() if k != "ownerReferences"}
    return {**item, "metadata": kept}


def produced(name: str, namespace: str) -> list[Object]:
    """The objects of a golden case that this API server knows, in this namespace."""
    case: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.in.yaml").read_text())
    gateway = load_gateway(case)
    gateway = replace(gateway, key=gateway.key._replace(namespace=namespace))
    facts = load_facts(case, gateway)
    decision = decided(gateway, facts, word=Word(turn=case.get("turn", True)))
    objects = render(gateway, facts, decision, FixedKeys()) if decision.proceed else []
    for item in objects:
        if item["kind"] == "Service":
            item["spec"].pop("ipFamilies", None)  # what a cluster's network has is its own affair
    return [item for item in objects if item["kind"] not in FOREIGN]


@pytest.mark.parametrize("name", CASES)
def test_the_api_server_takes_every_golden_object(
    name: str, kubernetes: Kubernetes, namespace: str
) -> None:
    """Each as it is: no unknown field, no value out of bounds."""
    objects = produced(name, namespace)
    if not objects:
        return  # a refused or paused case writes nothing
    answers = applied(kubernetes, objects, "--dry-run=server")
    assert [item["kind"] for item in answers] == [item["kind"] for item in objects]


def test_applying_twice_changes_nothing(kubernetes: Kubernetes, namespace: str) -> None:
    """Equal objects keep their version: no watcher is woken."""
    objects = produced("first-start", namespace)
    first = applied(kubernetes, objects)
    second = applied(kubernetes, objects)
    assert [_version(item) for item in first] == [_version(item) for item in second]


def _version(item: Object) -> str:
    """Of the spec, where a controller may write a status meanwhile; else of the whole object."""
    meta = item["metadata"]
    return str(meta.get("generation") or meta["resourceVersion"])


def pod_of(template: Mapping[str, Any], namespace: str) -> Object:
    """A pod of a template, complete enough for the API server."""
    made: Object = deepcopy(dict(template))
    made["metadata"] = {**made.get("metadata", {}), "name": "judged", "namespace": namespace}
    for field in ("containers", "initContainers"):
        for container in made["spec"].get(field, ()):
            container.setdefault("image", "registry.example/x:1")
    return {"apiVersion": "v1", "kind": "Pod", **made}


@pytest.fixture
def place_of_pods(kubernetes: Kubernetes, namespace: str) -> str:
    """Where pods are judged by what they are: a namespace gets its account a moment later."""

    def has_account() -> bool:
        words = ("get", "serviceaccounts", "--output=name")
        found = kubernetes.kubectl(f"--namespace={namespace}", *words).split()
        return "serviceaccount/default" in found

    if "controllers" in kubernetes.capabilities:
        wait_until("the default ServiceAccount", has_account, 60)
    return namespace


def test_a_rendered_pod_is_let_into_a_restricted_namespace(
    kubernetes: Kubernetes, place_of_pods: str
) -> None:
    """By Pod Security admission itself."""
    template = find(rendered(a_gateway(), some_facts()), "Deployment")["spec"]["template"]
    pod = pod_of(template, place_of_pods)
    pod["spec"].pop("serviceAccountName")  # it is not there, and not what is judged
    (answer,) = applied(kubernetes, [pod], "--dry-run=server")
    assert answer["kind"] == "Pod"


NOT_JUDGED = (
    "windowsOptions", "procMount",  # need other fields, without which the pod is malformed
    "host is not allowed",  # of the profile since Kubernetes 1.34 only
)  # fmt: skip
JUDGED_BY_ADMISSION = [
    (over, finding) for over, finding in BREACHES if not any(word in finding for word in NOT_JUDGED)
]


@pytest.mark.parametrize(
    ("over", "finding"), JUDGED_BY_ADMISSION, ids=[finding for _, finding in JUDGED_BY_ADMISSION]
)
def test_what_we_call_a_breach_admission_refuses(
    over: dict[str, Any], finding: str, kubernetes: Kubernetes, place_of_pods: str
) -> None:
    """The same templates as in the pure test, judged by the profile's own code."""
    template = merge(deepcopy(SAFE), over)
    assert finding in violations(template)
    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        applied(kubernetes, [pod_of(template, place_of_pods)], "--dry-run=server")


def live_facts(deployment: Object) -> Any:
    """Facts with this Deployment as the API server has it."""
    return some_facts(children={Ref("Deployment", "mail"): deployment})


def test_the_number_of_pods_survives_every_handover(kubernetes: Kubernetes, namespace: str) -> None:
    """From the spec to an autoscaler and back, by the fields' real owners."""
    show = "--show-managed-fields"
    manual = replace(a_gateway(replicas=5), key=a_gateway().key._replace(namespace=namespace))
    scaled = replace(
        a_gateway(replicas=5, autoscaling={"minReplicas": 2, "maxReplicas": 9}), key=manual.key
    )

    def deployment(gateway: Any, facts: Any) -> Object:
        return find(rendered(gateway, facts), "Deployment")

    (live,) = applied(kubernetes, [deployment(manual, some_facts())], show)
    assert live["spec"]["replicas"] == 5

    asked = plan(scaled, live_facts(live))
    assert asked == Replicas(None, handover=5)
    applied(kubernetes, [handover(scaled, 5)], "--validate=false", manager="smtp-operator-handover")
    (live,) = applied(kubernetes, [deployment(scaled, live_facts(live))], show)
    assert live["spec"]["replicas"] == 5
    assert plan(scaled, live_facts(live)) == Replicas(None)

    kubernetes.kubectl("--namespace", namespace, "scale", "deployment/mail", "--replicas=8")
    (live,) = applied(kubernetes, [deployment(scaled, live_facts(live))], show)
    assert live["spec"]["replicas"] == 8

    assert plan(manual, live_facts(live)) == Replicas(5)
    (live,) = applied(kubernetes, [deployment(manual, live_facts(live))], show, "--force-conflicts")
    assert live["spec"]["replicas"] == 5


def test_a_held_template_is_no_new_template(kubernetes: Kubernetes, namespace: str) -> None:
    """Neither what was applied, nor the live one with the API server's defaults in its stead."""
    gateway = replace(a_gateway(), key=a_gateway().key._replace(namespace=namespace))
    now = find(rendered(gateway, some_facts()), "Deployment")
    (live,) = applied(kubernetes, [now])
    upgrade = replace(live_facts(live), default_image="registry.example/smtp-gateway:2")
    held = find(rendered(gateway, upgrade, word=Word(turn=False)), "Deployment")
    assert held["spec"]["template"] == now["spec"]["template"]
    unnoted = deepcopy(live)
    del unnoted["metadata"]["annotations"]["smtp.cakemail.com/template"]
    older = replace(live_facts(unnoted), default_image="registry.example/smtp-gateway:2")
    defaulted = find(rendered(gateway, older, word=Word(turn=False)), "Deployment")
    assert defaulted["spec"]["template"] == live["spec"]["template"]
    for body in (held, defaulted, now):
        (answer,) = applied(kubernetes, [body])
        assert answer["spec"] == live["spec"]  # a noted template raises the generation all the same
    rolled = find(rendered(gateway, upgrade), "Deployment")
    (answer,) = applied(kubernetes, [rolled])
    assert answer["spec"]["template"] != live["spec"]["template"]
