"""The seven conditions, each the answer of an ordered chain of small checks.

One condition, one chain; the first check that speaks decides, and the last one always speaks. A
message says what to do, names what it speaks of, and holds no content of a Secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from smtp_operator.fleet import availability, tls_checks
from smtp_operator.fleet.conditions import Condition, ConditionType, Reason
from smtp_operator.fleet.draft import Failure, View
from smtp_operator.fleet.names import APPROVE, refs
from smtp_operator.fleet.references import Reference, config_maps, credentials
from smtp_operator.fleet.rollouts import Change, State, change, refused, started, state

Check = Callable[[View], Condition | None]


def with_verdict(view: View) -> View:
    """The view, knowing whether anything is applied now: the other chains ask for it."""
    accepted = first(CHAINS[ConditionType.CONFIG_ACCEPTED], view)
    tried = accepted.holds or accepted.reason is Reason.APPLY_FAILED
    return replace(view, stopped=view.gateway.spec.paused or not tried)


def evaluate(view: View) -> tuple[Condition, ...]:
    """All seven; ``Ready`` is made of the others."""
    found = {kind: first(chain, view) for kind, chain in CHAINS.items()}
    ready = availability.ready(view, [found[kind] for kind in availability.NEEDED])
    return (*found.values(), ready)


def first(chain: Sequence[Check], view: View) -> Condition:
    """The answer of the first check that has one."""
    return next(answer for check in chain if (answer := check(view)) is not None)


# ConfigAccepted


def _config(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.CONFIG_ACCEPTED, reason is Reason.ACCEPTED, reason, message)


def _no_fault(view: View) -> Condition | None:
    fault = next(iter(view.draft.faults), None)
    return _config(fault.reason, fault.message) if fault else None


def _no_stranger(view: View) -> Condition | None:
    taken = sorted(view.facts.strangers & refs(view.gateway))
    failure = view.failed(Reason.NAME_CONFLICT)
    ref = taken[0] if taken else failure.ref if failure else None
    if ref is None:
        return None
    return _config(
        Reason.NAME_CONFLICT,
        f"{ref.kind} {ref.name} belongs to somebody else and is left untouched; delete or rename "
        "it, or give this SmtpGateway another name",
    )


def _references_found(view: View) -> Condition | None:
    for reference in config_maps(view.gateway):
        lack = _lack("ConfigMap", reference, view.facts.config_maps.get(reference.name))
        if lack:
            return _config(Reason.REFERENCE_NOT_FOUND, lack[1])
    return None


def _template_taken(view: View) -> Condition | None:
    failure = view.failed(Reason.POD_TEMPLATE_REJECTED)
    if failure is None:
        return None
    return _config(
        Reason.POD_TEMPLATE_REJECTED,
        f"the cluster refuses the pods, look at spec.podTemplate: {failure.message}",
    )


def _pods_taken(view: View) -> Condition | None:
    """Without it the edit has not taken effect, whatever the old pods say.

    What an operator upgrade wanted says nothing about the spec.
    """
    failure = next((item for item in view.failures if _is_of_pods(item)), None)
    if failure is None or change(view) is Change.OPERATOR:
        return None
    ref = failure.ref
    return _config(
        Reason.APPLY_FAILED,
        f"{ref.kind} {ref.name} was not applied, so pods stay as they are: {failure.message}",
    )


def _is_of_pods(failure: Failure) -> bool:
    return failure.reason is Reason.APPLY_FAILED and failure.ref.kind == "Deployment"


def _accepted(_: View) -> Condition | None:
    return _config(Reason.ACCEPTED, "the spec is rendered and applied")


# CredentialsReady


def _credential(reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.CREDENTIALS_READY, reason is Reason.FOUND, reason, message)


def _credentials_found(view: View) -> Condition | None:
    for reference in credentials(view.gateway):
        lack = _lack("Secret", reference, view.facts.secrets.get(reference.name))
        if lack:
            return _credential(*lack)
    return None


def _all_found(view: View) -> Condition | None:
    if credentials(view.gateway):
        return _credential(Reason.FOUND, "every referenced Secret is there")
    return _credential(Reason.FOUND, "the spec names no Secret besides the certificate's")


def _lack(
    kind: str, reference: Reference, data: Mapping[str, Any] | None
) -> tuple[Reason, str] | None:
    """What a referenced object lacks, and what to do; None when it is whole."""
    where = f"{kind} {reference.name} (named by {reference.field})"
    if data is None:
        return Reason.SECRET_NOT_FOUND, f"{where} does not exist; create it in this namespace"
    for alternatives in reference.keys:
        if not any(key in data for key in alternatives):
            return Reason.KEY_MISSING, f"{where} has no key {' or '.join(alternatives)}; add it"
    return None


# Progressing


def _progress(view: View) -> Condition:
    if view.stopped and change(view) is not Change.NONE:
        text = "a new revision waits until the spec is accepted and not paused"
        status, reason, message = False, Reason.NOT_EVALUATED, text
    elif refused(view):
        text = "the cluster refused the new revision; see Degraded"
        status, reason, message = False, Reason.APPLY_FAILED, text
    elif not started(view) and state(view) is State.PROGRESSING:
        status, reason, message = True, Reason.FIRST_START, "the first pods are starting"
    else:
        status, reason, message = PROGRESS[state(view)]
    text = message.format(revision=view.draft.target_revision)
    if reason is Reason.ROLLOUT_WAITING and view.word.stopped:
        text = f"{text}; {view.word.stopped}"
    return Condition(ConditionType.PROGRESSING, status, reason, text)


PROGRESS = {
    State.IDLE: (False, Reason.ROLLOUT_COMPLETE, "all pods run the wanted revision"),
    State.WAITING: (
        False, Reason.ROLLOUT_WAITING,
        "revision {revision} of an operator upgrade waits for this fleet's turn",
    ),
    State.HELD: (
        False, Reason.ROLLOUT_HELD,
        f"an operator upgrade would restart the pods; to let it, annotate {APPROVE}={{revision}}",
    ),
    State.PROGRESSING: (True, Reason.ROLLOUT_PROGRESSING, "pods of a new revision are starting"),
    State.FAILED: (
        False, Reason.ROLLOUT_FAILED, "the new pods did not become ready in time; see Degraded",
    ),
}  # fmt: skip


# Paused


def _paused(view: View) -> Condition:
    if view.gateway.spec.paused:
        text = "nothing is written but this status; set spec.paused to false to go on"
        return Condition(ConditionType.PAUSED, True, Reason.PAUSED, text)
    text = "the operator keeps this fleet as its spec says"
    return Condition(ConditionType.PAUSED, False, Reason.NOT_PAUSED, text)


CHAINS: dict[ConditionType, tuple[Check, ...]] = {
    ConditionType.CONFIG_ACCEPTED: (
        _no_fault, _no_stranger, _references_found, _template_taken, _pods_taken,
        _accepted,
    ),
    ConditionType.CREDENTIALS_READY: (_credentials_found, _all_found),
    ConditionType.TLS_READY: tls_checks.CHECKS,
    ConditionType.PROGRESSING: (_progress,),
    ConditionType.DEGRADED: availability.DEGRADED,
    ConditionType.PAUSED: (_paused,),
}  # fmt: skip
