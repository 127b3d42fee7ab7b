"""The Deployment."""

from __future__ import annotations

from smtp_operator.fleet import hashes, names
from smtp_operator.fleet.decision import Decision
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref
from smtp_operator.fleet.rollouts import annotations_of, applied_template
from smtp_operator.resources.child import child

CARRIED = (names.REVISION, names.INPUTS, names.UPGRADED)
HISTORY = 3  # ReplicaSets kept; as many start configurations are


def deployment(gateway: Gateway, facts: Facts, decision: Decision) -> Object:
    """While a rollout is held, it carries the template that was applied last, and its hashes.

    So what somebody edited by hand is drift then too, and goes. Where the running template has to
    stand in, it comes with the defaults that the API server filled in. Applying those makes them
    ours for the time, which restarts nothing: their values are what they are.
    """
    running = facts.children.get(Ref("Deployment", gateway.key.name)) if decision.hold else None
    template = applied_template(running) if running else decision.draft.template
    rollout = gateway.spec.rollout
    made = child(
        gateway,
        "apps/v1",
        "Deployment",
        gateway.key.name,
        annotations={
            **_hashes(running, decision),
            names.TEMPLATE: hashes.canonical(template),
        },
        spec={
            "selector": {"matchLabels": names.selector(gateway.key)},
            "revisionHistoryLimit": HISTORY,
            "progressDeadlineSeconds": rollout.progress_deadline_seconds,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {
                    "maxSurge": rollout.max_surge,
                    "maxUnavailable": rollout.max_unavailable,
                },
            },
            "template": template,
        },
    )
    if decision.replicas.sent is not None:
        made["spec"]["replicas"] = decision.replicas.sent
    return made


def handover(gateway: Gateway, replicas: int) -> Object:
    """What the manager ``smtp-operator-handover`` applies: the number alone."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": gateway.key.name, "namespace": gateway.key.namespace},
        "spec": {"replicas": replicas},
    }


def _hashes(running: Object | None, decision: Decision) -> dict[str, str]:
    if running is None:
        draft = decision.draft
        made = {names.REVISION: draft.target_revision, names.INPUTS: draft.inputs_hash}
        return made | ({names.UPGRADED: draft.target_revision} if decision.upgraded else {})
    carried = annotations_of(running)
    return {name: carried[name] for name in CARRIED if name in carried}
