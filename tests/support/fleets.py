"""SmtpGateways and the facts around them, as short as a test wants to state them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from smtp_operator.fleet.decision import Decision, decide
from smtp_operator.fleet.model import Facts, Gateway, Key, Object, Ref
from smtp_operator.fleet.names import INPUTS, OPERATOR, REVISION, selector
from smtp_operator.fleet.spec import read_spec
from smtp_operator.resources.rendering import draft, render
from tests.support.certificates import FixedKeys

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
IMAGE = "registry.example/smtp-gateway:1.0.0"
ALL_KINDS = frozenset({"Certificate", "ServiceMonitor", "PrometheusRule"})


def a_gateway(
    name: str = "mail",
    *,
    namespace: str = "demo",
    generation: int = 1,
    status: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    **spec: Any,
) -> Gateway:
    """One with a self-signed certificate; ``spec`` holds further fields in the YAML's names."""
    return Gateway(
        key=Key(namespace, name),
        uid="0b6c2bd4-5a0c-4b4e-9f0e-000000000001",
        generation=generation,
        spec=read_spec({"tls": {"selfSigned": {}}, **spec}),
        annotations=annotations or {},
        status=status or {},
    )


def some_facts(**known: Any) -> Facts:
    """An empty cluster that serves every optional kind; ``known`` replaces fields."""
    empty = Facts(
        children={},
        strangers=frozenset(),
        secrets={},
        config_maps={},
        kinds=ALL_KINDS,
        default_image=IMAGE,
        now=NOW,
    )
    return replace(empty, **known)


def decided(gateway: Gateway, facts: Facts, **more: Any) -> Decision:
    """Draft and decision at once."""
    return decide(gateway, facts, draft(gateway, facts), **more)


def rendered(gateway: Gateway, facts: Facts, **more: Any) -> list[Object]:
    """All children, with keys that are always the same."""
    return render(gateway, facts, decided(gateway, facts, **more), FixedKeys())


def find(objects: Iterable[Object], kind: str, name: str = "mail") -> Object:
    """The one object of this kind and name."""
    (found,) = [o for o in objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
    return found


def condition(decision: Decision, kind: str) -> tuple[str, str, str]:
    """Status, reason and message as the status shows them."""
    (found,) = [c for c in decision.status["conditions"] if c["type"] == kind]
    return found["status"], found["reason"], found["message"]


def issued_secrets(gateway: Gateway, facts: Facts) -> dict[str, Mapping[str, bytes]]:
    """The Secrets that a first pass makes, as the next pass reads them."""
    objects = rendered(gateway, replace(facts, secrets={}, children={}))
    return {
        o["metadata"]["name"]: {k: base64.b64decode(v) for k, v in o["data"].items()}
        for o in objects
        if o["kind"] == "Secret"
    }


def running(
    gateway: Gateway,
    facts: Facts,
    *,
    replicas: int = 2,
    ready: int | None = None,
    revision: str = "",
    inputs: str = "",
    progress: str = "NewReplicaSetAvailable",
    replicas_owner: str = OPERATOR,
    image: str = "",
) -> Facts:
    """The facts with a Deployment and a Service that an earlier pass has applied.

    ``revision`` and ``inputs`` are those of this gateway unless given.
    """
    made = draft(gateway, facts)
    up = replicas if ready is None else ready
    template = made.template
    if image:
        container = {**template["spec"]["containers"][0], "image": image}
        template = {**template, "spec": {**template["spec"], "containers": [container]}}
    deployment: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": gateway.key.name,
            "generation": 3,
            "annotations": {
                REVISION: revision or made.target_revision,
                INPUTS: inputs or made.inputs_hash,
            },
            "managedFields": [
                {
                    "manager": replicas_owner,
                    "operation": "Apply",
                    "fieldsV1": {"f:spec": {"f:replicas": {}}},
                }
            ],
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": selector(gateway.key)},
            "template": template,
        },
        "status": {
            "observedGeneration": 3,
            "replicas": replicas,
            "readyReplicas": up,
            "updatedReplicas": replicas,
            "conditions": [{"type": "Progressing", "status": "True", "reason": progress}],
        },
    }
    service: Object = {"kind": "Service", "metadata": {"name": gateway.key.name}, "status": {}}
    children = {
        **facts.children,
        Ref("Deployment", gateway.key.name): deployment,
        Ref("Service", gateway.key.name): service,
    }
    return replace(facts, children=children)


def settled(gateway: Gateway, **known: Any) -> tuple[Gateway, Facts]:
    """A fleet with nothing left to do: certificate made, pods of this revision running."""
    facts = some_facts(**known)
    facts = replace(facts, secrets={**issued_secrets(gateway, facts), **facts.secrets})
    facts = running(gateway, facts)
    made = decided(gateway, facts)
    return replace(gateway, status=made.status), facts
