"""What a check sees."""

from __future__ import annotations

from smtp_operator.fleet.conditions import Reason
from smtp_operator.fleet.draft import Failure, View
from smtp_operator.fleet.model import Ref
from smtp_operator.resources.rendering import draft
from tests.support.fleets import a_gateway, some_facts


def test_a_child_is_found_under_the_gateway_s_name_or_another() -> None:
    """By kind and name."""
    gateway = a_gateway()
    children = {Ref("Service", "mail"): {"a": 1}, Ref("Service", "mail-metrics"): {"b": 2}}
    facts = some_facts(children=children)
    view = View(gateway, facts, draft(gateway, facts))
    assert view.child("Service") == {"a": 1}
    assert view.child("Service", "mail-metrics") == {"b": 2}
    assert view.child("Deployment") is None


def test_the_first_failure_of_a_reason_is_told() -> None:
    """Others of that reason follow when it is mended."""
    gateway, facts = a_gateway(), some_facts()
    one = Failure(Ref("Service", "mail"), Reason.APPLY_FAILED, "first")
    two = Failure(Ref("Deployment", "mail"), Reason.APPLY_FAILED, "second")
    view = View(gateway, facts, draft(gateway, facts), failures=(one, two))
    assert view.failed(Reason.APPLY_FAILED) == one
    assert view.failed(Reason.NAME_CONFLICT) is None
