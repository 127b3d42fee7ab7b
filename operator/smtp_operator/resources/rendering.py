"""All children of one fleet, in the order in which they are applied."""

from __future__ import annotations

from smtp_operator.fleet.decision import Decision, Draft
from smtp_operator.fleet.model import Facts, Gateway, Object


def draft(gateway: Gateway, facts: Facts) -> Draft:
    """What would reach the pod, and its hashes. Never raises; see ``Draft.faults``."""
    raise NotImplementedError


def render(gateway: Gateway, facts: Facts, decision: Decision) -> list[Object]:
    """The children, complete with names, labels and owner references.

    Equal arguments give equal objects, unless ``decision.issue_certificate`` asks for a new key.
    """
    raise NotImplementedError
