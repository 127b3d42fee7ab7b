"""What is to happen with one fleet, and what is to be said about it. Pure.

    draft = rendering.draft(gateway, facts)                  what would reach the pod, its hashes
    decision = decide(gateway, facts, draft, turn=...)       conditions, status, what to hold
    objects = rendering.render(gateway, facts, decision)     children, in the order of applying
    ... apply, prune (all that is ours and neither in ``objects`` nor in ``decision.keep``) ...
    decide(..., failures=[...]).status                       when applying met refusals

``decide`` costs microseconds: call it again with the failures instead of patching its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from smtp_operator.fleet.conditions import Condition, Reason
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that the API server refused for good, or that observing found.

    ``reason``: ``PodTemplateRejected`` (a dry run of the Deployment), ``NameConflict``, or
    ``ApplyFailed``.
    """

    ref: Ref
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A reason why the spec cannot be rendered."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What would reach the pod. Made by ``resources.rendering.draft``.

    Attributes:
        template: the Deployment's pod template, overlay included.
        start: the start configuration: environment variables of the gateway.
        live: the live configuration as the JSON text of its file.
        target_revision: hash of template, start configuration and image.
        config_hash: hash of the live configuration.
        inputs_hash: hash of what the user asked for of the pod; a changed revision with equal
            inputs was caused by an operator upgrade.
        faults: why this must not be applied; empty when it may.
    """

    template: Object
    start: Mapping[str, str]
    live: str
    target_revision: str
    config_hash: str
    inputs_hash: str
    faults: tuple[Fault, ...] = ()


class Change(StrEnum):
    """Who changed what reaches the pod."""

    NONE = "None"
    FIRST = "First"
    USER = "User"
    OPERATOR = "Operator"


@dataclass(frozen=True, slots=True)
class Replicas:
    """Who says how many pods there are (see ``fleet/replicas.py``).

    Attributes:
        sent: value in the Deployment's apply; None leaves the field out.
        handover: value to apply **first**, alone, by the manager ``smtp-operator-handover``.
        autoscaler_first: delete the autoscaler before the Deployment is applied.
    """

    sent: int | None
    handover: int | None = None
    autoscaler_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer.

    Attributes:
        conditions: all seven.
        status: whole, as it is to be applied; compare with the last one before writing.
        proceed: render, apply and prune; False writes nothing but the status.
        change: who changed the pod, if anybody.
        hold: keep the running pod template; everything else is applied.
        replicas: what the Deployment carries.
        issue_certificate: a new self-signed leaf is due; ``render`` makes it.
        keep: objects of ours that ``render`` does not name and prune must leave.
        requeue_seconds: look again then at the latest; None waits for an event.
        draft: as given; ``render`` reads it.
    """

    conditions: tuple[Condition, ...]
    status: Object
    proceed: bool
    change: Change
    hold: bool
    replicas: Replicas
    issue_certificate: bool
    keep: frozenset[Ref] = frozenset()
    requeue_seconds: float | None = None
    draft: Draft = field(repr=False)


def decide(
    gateway: Gateway,
    facts: Facts,
    draft: Draft,
    *,
    turn: bool = True,
    failures: Sequence[Failure] = (),
) -> Decision:
    """The chain of checks, and all that follows from it.

    Args:
        gateway: the wish.
        facts: what the cluster holds.
        draft: what would reach the pod.
        turn: whether the rollout queue lets this fleet take what an operator upgrade changed.
            It has no say in what the user changed.
        failures: of applying what an earlier call decided.
    """
    raise NotImplementedError


def refused(status: Mapping[str, Any], *, generation: int, facts_now: Any, detail: str) -> Object:
    """The status of an object whose spec cannot even be read (``SpecInvalid``)."""
    raise NotImplementedError
