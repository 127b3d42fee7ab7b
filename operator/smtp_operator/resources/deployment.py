"""The Deployment."""

from __future__ import annotations

from smtp_operator.fleet import names
from smtp_operator.fleet.decision import Decision
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref
from smtp_operator.fleet.rollouts import annotations_of
from smtp_operator.resources.child import child

CARRIED = (names.REVISION, names.INPUTS, names.UPGRADED)
HISTORY = 3  # ReplicaSets kept; as many start configurations are


def deployment(gateway: Gateway, facts: Facts, decision: Decision) -> Object:
    """While a rollout is held, it carries the running template and that template's hashes.

    A running template comes with the defaults that the API server filled in. Applying those makes
    them ours for the time, which restarts nothing: their values are what they are.
    """
    running = facts.children.get(Ref("Deployment", gateway.key.name)) if decision.hold else None
    rollout = gateway.spec.rollout
    made = child(
        gateway,
        "apps/v1",
        "Deployment",
        gateway.key.name,
        annotations=_hashes(running, decision),
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
            "template": running["spec"]["template"] if running else decision.draft.template,
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
        hashes = {names.REVISION: draft.target_revision, names.INPUTS: draft.inputs_hash}
        return hashes | ({names.UPGRADED: draft.target_revision} if decision.upgraded else {})
    carried = annotations_of(running)
    return {name: carried[name] for name in CARRIED if name in carried}
