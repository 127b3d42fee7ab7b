"""What is to happen with one fleet, and what is to be said about it. Pure.

    draft = rendering.draft(gateway, facts)                  what would reach the pod, its hashes
    decision = decide(gateway, facts, draft, word=...)       conditions, status, what to hold
    objects = rendering.render(gateway, facts, decision)     children, in the order of applying
    ... apply, prune (all that is ours and neither in ``objects`` nor in ``decision.keep``) ...
    decide(..., failures=[...]).status                       when applying met refusals

``decide`` is cheap: call it again with the failures instead of patching its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from smtp_operator.fleet import certificates, names, status, tls_checks
from smtp_operator.fleet.checks import evaluate, with_verdict
from smtp_operator.fleet.conditions import Condition, ConditionType, Reason, merge
from smtp_operator.fleet.draft import Draft, Failure, Fault, View, Word
from smtp_operator.fleet.model import OPTIONAL_KINDS, Facts, Gateway, Object, Ref
from smtp_operator.fleet.replicas import Replicas, plan
from smtp_operator.fleet.rollouts import (
    Change,
    State,
    applied_template,
    change,
    state,
    upgraded,
)

__all__ = [
    "Change", "Decision", "Draft", "Failure", "Fault", "Replicas", "State", "Word", "decide",
    "refused",
]  # fmt: skip

ANYTIME = Word()
KEPT_STARTS = 3  # start configurations left for rolled-back pods
TRIED = frozenset({Reason.POD_TEMPLATE_REJECTED, Reason.APPLY_FAILED})
SOON_SECONDS = 1.0  # a certificate made in this pass is looked at in the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer.

    Attributes:
        conditions: all seven.
        status: whole, as it is to be applied; compare with the last one before writing.
        proceed: render, apply and prune; False writes nothing but the status.
        change: who changed the pod, if anybody.
        rollout: where the rollout stands.
        upgraded: an operator upgrade brought the pods' revision, or brings it, to a sound fleet.
        hold: keep the running pod template; everything else is applied.
        replicas: what the Deployment carries.
        issue_certificate: a new self-signed leaf is due; ``render`` makes it.
        keep: objects of ours that ``render`` may not name and prune must leave.
        requeue_seconds: look again then at the latest; None waits for an event.
        draft: as given; ``render`` reads it.
    """

    conditions: tuple[Condition, ...]
    status: Object
    proceed: bool
    change: Change
    rollout: State
    upgraded: bool
    hold: bool
    replicas: Replicas
    issue_certificate: bool
    keep: frozenset[Ref]
    requeue_seconds: float | None
    draft: Draft = field(repr=False)


def decide(
    gateway: Gateway,
    facts: Facts,
    draft: Draft,
    *,
    word: Word = ANYTIME,
    failures: Sequence[Failure] = (),
) -> Decision:
    """The chains of checks, and all that follows from them.

    Args:
        gateway: the wish.
        facts: what the cluster holds.
        draft: what would reach the pod.
        word: of the rollout queue, on what an operator upgrade changed. It has no say in what the
            user changed.
        failures: of applying what an earlier call decided.
    """
    view = with_verdict(View(gateway, facts, draft, word, tuple(failures)))
    conditions = evaluate(view)
    stage = state(view)
    proceed = _proceeds(gateway, conditions)
    return Decision(
        conditions=conditions,
        status=status.build(view, conditions),
        proceed=proceed,
        change=change(view),
        rollout=stage,
        upgraded=upgraded(view, ready=_ready(conditions)),
        hold=stage in {State.WAITING, State.HELD},
        replicas=plan(gateway, facts),
        issue_certificate=certificates.issue_due(gateway, facts),
        keep=_kept(view),
        requeue_seconds=_requeue(gateway, facts, writing=proceed and not failures),
        draft=draft,
    )


def refused(previous: Mapping[str, Any], *, generation: int, now: datetime, detail: str) -> Object:
    """The status of an object whose spec cannot even be read (``SpecInvalid``).

    What runs goes on, so all that was said of it stays; only what the new generation is refused
    for is new.
    """
    said = [
        Condition(kind, False, Reason.INVALID_SPEC, detail)
        for kind in (ConditionType.READY, ConditionType.CONFIG_ACCEPTED)
    ]
    fresh = merge(previous.get("conditions", ()), said, generation=generation, now=now)
    named = {item["type"] for item in fresh}
    old = [item for item in previous.get("conditions", ()) if item.get("type") not in named]
    order = [str(kind) for kind in ConditionType]
    conditions = sorted([*fresh, *old], key=lambda item: order.index(item["type"]))
    return {**previous, "observedGeneration": generation, "conditions": conditions}


def _proceeds(gateway: Gateway, conditions: Sequence[Condition]) -> bool:
    """An unacceptable spec leaves everything as it is, the last good pods included.

    What the API server refused is tried again: the refusal may have been the namespace's (a quota,
    a policy), and neither a dry run nor what is refused changes anything.
    """
    accepted = next(item for item in conditions if item.type is ConditionType.CONFIG_ACCEPTED)
    trying = accepted.holds or accepted.reason in TRIED
    return trying and not gateway.spec.paused


def _ready(conditions: Sequence[Condition]) -> bool:
    return next(item.holds for item in conditions if item.type is ConditionType.READY)


def _kept(view: View) -> frozenset[Ref]:
    """The newest start configurations, and whatever the running and the applied template mount."""
    prefix = names.start_prefix(view.gateway.key)
    starts = [
        (str(child.get("metadata", {}).get("creationTimestamp", "")), ref)
        for ref, child in view.facts.children.items()
        if ref.kind == "ConfigMap" and ref.name.startswith(prefix)
    ]
    newest = {ref for _, ref in sorted(starts)[-KEPT_STARTS:]}
    deployment = view.child("Deployment") or {}
    live = deployment.get("spec", {}).get("template", {})
    templates = (live, applied_template(deployment))
    mounted = {
        ref
        for ref in view.facts.children
        if any(_mentions(template, ref) for template in templates)
    }
    return frozenset(newest | mounted | _issued_and_in_use(view) | _not_served(view))


def _not_served(view: View) -> set[Ref]:
    """Objects of kinds that the cluster does not serve, or that one discovery missed."""
    away = set(OPTIONAL_KINDS) - view.facts.kinds
    return {ref for ref in view.facts.children if ref.kind in away}


def _issued_and_in_use(view: View) -> set[Ref]:
    """Secrets of ``selfSigned`` while pods that mount them may still be there, or be made anew.

    Whoever goes back to it meanwhile finds the authority that clients trust.
    """
    if state(view) is State.IDLE:
        return set()
    key = view.gateway.key
    secrets = {Ref("Secret", name) for name in (names.tls(key), names.ca(key))}
    return secrets & view.facts.children.keys()


def _mentions(template: Mapping[str, Any], ref: Ref) -> bool:
    pod = template.get("spec", {})
    volumes = pod.get("volumes", ())
    if ref.kind == "Secret":
        return any(item.get("secret", {}).get("secretName") == ref.name for item in volumes)
    if ref.kind != "ConfigMap":
        return False
    sources = [source for item in pod.get("containers", ()) for source in item.get("envFrom", ())]
    named = [item.get("configMap", {}).get("name") for item in volumes]
    return ref.name in [*named, *(source.get("configMapRef", {}).get("name") for source in sources)]


def _requeue(gateway: Gateway, facts: Facts, *, writing: bool) -> float | None:
    """The next moment at which time alone changes the answer: a renewal, or an end.

    What was refused is tried again when its condition says, not a second later with new keys.
    """
    if writing and certificates.issue_due(gateway, facts):
        return SOON_SECONDS
    certificate = tls_checks.found(gateway, facts)
    if certificate is None:
        return None
    moments = (
        certificate.not_before,
        certificate.renew_at(gateway.spec.tls.renew_before_days),
        certificate.not_after,
    )
    ahead = [(moment - facts.now).total_seconds() for moment in moments]
    return min((seconds for seconds in ahead if seconds > 0), default=None)
