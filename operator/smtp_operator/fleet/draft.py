"""What is proposed, and what stands against it: the input of a decision besides the facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.model import Facts, Gateway, Object, Ref


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that the API server refused for good.

    ``reason``: ``PodTemplateRejected`` (a dry run of the Deployment), ``NameConflict``, or
    ``ApplyFailed``. ``message``: what the API server said.
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
        live: the live configuration, the text of its file.
        target_revision: hash of template, start configuration and image.
        config_hash: of the live configuration, as pods export it.
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


@dataclass(frozen=True, slots=True)
class Word:
    """What the queue of an operator upgrade says to one fleet.

    Attributes:
        turn: it may take what the upgrade changed.
        wrong: it took it and went wrong, which stops the upgrade.
        stopped: why nobody may begin, for a status to tell; "" when that is not so.
    """

    turn: bool = True
    wrong: bool = False
    stopped: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All that a check may look at.

    Attributes:
        gateway: the wish.
        facts: what the cluster holds.
        draft: what would reach the pod.
        word: of the rollout queue.
        failures: of applying.
        stopped: nothing is applied now, as the spec is paused or not accepted.
    """

    gateway: Gateway
    facts: Facts
    draft: Draft
    word: Word = Word()
    failures: tuple[Failure, ...] = ()
    stopped: bool = False

    def child(self, kind: str, name: str = "") -> Object | None:
        """A live child; its name is the gateway's unless given."""
        return self.facts.children.get(Ref(kind, name or self.gateway.key.name))

    def refused(self, kind: str) -> bool:
        """Whether the API server refused the child of this kind."""
        return any(failure.ref.kind == kind for failure in self.failures)

    def failed(self, reason: Reason) -> Failure | None:
        """The first failure of this kind."""
        return next((failure for failure in self.failures if failure.reason is reason), None)
