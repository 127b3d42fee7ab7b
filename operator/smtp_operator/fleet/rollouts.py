"""Where a fleet's rollout stands: who changed the pod, whether that waits, what the pods do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from smtp_operator.fleet import names
from smtp_operator.fleet.draft import View
from smtp_operator.fleet.model import Object


class Change(StrEnum):
    """Who changed what reaches the pod."""

    NONE = "None"
    FIRST = "First"
    USER = "User"
    OPERATOR = "Operator"


class State(StrEnum):
    """``status.rollout.state``."""

    IDLE = "Idle"
    WAITING = "Waiting"
    PROGRESSING = "Progressing"
    HELD = "Held"
    FAILED = "Failed"


def change(view: View) -> Change:
    """Compare the draft with the hashes that the live Deployment carries."""
    deployment = view.child("Deployment")
    if deployment is None:
        return Change.FIRST
    carried = annotations_of(deployment)
    if carried.get(names.REVISION) == view.draft.target_revision:
        return Change.NONE
    if carried.get(names.INPUTS) == view.draft.inputs_hash:
        return Change.OPERATOR
    return Change.USER


def state(view: View) -> State:
    """What the user's edit does at once, an operator upgrade does when it is let."""
    made = change(view)
    deployment = view.child("Deployment")
    there = State.IDLE if deployment is None else _of_pods(deployment)
    if view.stopped:
        return there
    if made is Change.OPERATOR and not approved(view):
        if view.gateway.spec.rollout.on_operator_upgrade == "Hold":
            return State.HELD
        if not view.word.turn:
            return State.WAITING
    return there if made is Change.NONE or view.refused("Deployment") else State.PROGRESSING


def refused(view: View) -> bool:
    """Whether the API server took no new pods, so that those that are there run on."""
    kept_back = view.stopped or state(view) in {State.WAITING, State.HELD}
    return not kept_back and change(view) is not Change.NONE and view.refused("Deployment")


def approved(view: View) -> bool:
    """Whether the user let exactly this revision through."""
    return view.gateway.annotations.get(names.APPROVE) == view.draft.target_revision


def upgraded(view: View, *, ready: bool) -> bool:
    """Whether an operator upgrade brought the revision, or brings it now, to a sound fleet.

    What comes of that is the upgrade's doing; a fleet that was not Ready, or whose rollout was not
    through, had its fault before. The Deployment tells, as an upgrade starts the operator anew.
    """
    deployment = view.child("Deployment") or {}
    made = change(view)
    if made is Change.OPERATOR:
        begins = not view.stopped and state(view) not in {State.WAITING, State.HELD}
        return begins and ready and _of_pods(deployment) is State.IDLE
    carried = annotations_of(deployment).get(names.UPGRADED)
    return made is Change.NONE and carried == view.draft.target_revision


def _of_pods(deployment: Object) -> State:
    if not observed(deployment):
        return State.PROGRESSING
    reason = condition(deployment, "Progressing").get("reason")
    if reason == "ProgressDeadlineExceeded":
        return State.FAILED
    # The Deployment's controller keeps this reason until the template changes again; scaling
    # alone does not touch it.
    return State.IDLE if reason == "NewReplicaSetAvailable" else State.PROGRESSING


def observed(deployment: Object) -> bool:
    """Whether the Deployment's status speaks of its present spec."""
    generation = deployment.get("metadata", {}).get("generation", 0)
    return bool(deployment.get("status", {}).get("observedGeneration", -1) >= generation)


def started(view: View) -> bool:
    """Whether some revision of this fleet has ever been rolled out whole."""
    return bool(view.gateway.status.get("currentRevision"))


def current_revision(view: View) -> str:
    """The revision that runs: the carried one once its rollout is complete."""
    deployment = view.child("Deployment")
    if deployment is not None and _of_pods(deployment) is State.IDLE:
        return str(annotations_of(deployment).get(names.REVISION, ""))
    return str(view.gateway.status.get("currentRevision", ""))


def applied_template(deployment: Object) -> Object:
    """The pod template that we applied last; the live one may hold somebody's edit.

    It stands in an annotation, as no hash of it compares with the live one, which has the API
    server's defaults and forms. A Deployment of an older operator, or one whose annotation somebody
    spoilt, has its live one only.
    """
    try:
        noted = json.loads(annotations_of(deployment).get(names.TEMPLATE, ""))
    except ValueError:
        noted = None
    live = deployment.get("spec", {}).get("template", {})
    return noted if isinstance(noted, dict) else live


def annotations_of(item: Object) -> Mapping[str, str]:
    """Annotations of an object, {} when it has none."""
    found: Mapping[str, str] = item.get("metadata", {}).get("annotations") or {}
    return found


def condition(item: Object, kind: str) -> Mapping[str, Any]:
    """One condition of a foreign object's status, {} when it is not there."""
    conditions = item.get("status", {}).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == kind), {})


class Pods:
    """Counts in the Deployment's status; absent means none."""

    def __init__(self, deployment: Object | None) -> None:
        status = (deployment or {}).get("status", {})
        self.total = int(status.get("replicas", 0))
        self.ready = int(status.get("readyReplicas", 0))
        self.updated = int(status.get("updatedReplicas", 0))
        spec = (deployment or {}).get("spec", {})
        self.wanted = int(spec.get("replicas", 1)) if deployment is not None else 0
