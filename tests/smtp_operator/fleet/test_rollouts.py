"""Who changed the pod, whether that waits, and where the pods are."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.fleet.draft import View, Word
from smtp_operator.fleet.model import Facts, Gateway, Ref
from smtp_operator.fleet.rollouts import Change, Pods, State, change, current_revision, state
from smtp_operator.resources.rendering import draft
from tests.support.fleets import a_gateway, running, some_facts

OLD = "0000000000000000"


def view(gateway: Gateway, facts: Facts, **more: Any) -> View:
    """What the checks see."""
    return View(gateway, facts, draft(gateway, facts), **more)


def test_without_a_deployment_it_is_the_first_start() -> None:
    """Nobody changed anything yet."""
    seen = view(a_gateway(), some_facts())
    assert (change(seen), state(seen)) == (Change.FIRST, State.PROGRESSING)


def test_an_equal_revision_is_no_change() -> None:
    """An operator release that renders the same restarts nothing."""
    gateway = a_gateway()
    seen = view(gateway, running(gateway, some_facts()), word=Word(turn=False))
    assert (change(seen), state(seen)) == (Change.NONE, State.IDLE)


def test_other_inputs_are_the_user_s_change_and_roll_at_once() -> None:
    """Whatever the queue says."""
    gateway = a_gateway(rollout={"onOperatorUpgrade": "Hold"})
    facts = running(gateway, some_facts(), revision=OLD, inputs=OLD)
    seen = view(gateway, facts, word=Word(turn=False))
    assert (change(seen), state(seen)) == (Change.USER, State.PROGRESSING)


@pytest.mark.parametrize(("turn", "wanted"), [(True, State.PROGRESSING), (False, State.WAITING)])
def test_an_operator_upgrade_waits_for_its_turn(*, turn: bool, wanted: State) -> None:
    """Equal inputs, another revision: the operator renders differently."""
    gateway = a_gateway()
    seen = view(gateway, running(gateway, some_facts(), revision=OLD), word=Word(turn=turn))
    assert (change(seen), state(seen)) == (Change.OPERATOR, wanted)


def test_a_new_default_image_is_an_operator_upgrade() -> None:
    """The spec did not change."""
    gateway = a_gateway()
    facts = running(gateway, some_facts(default_image="registry.example/smtp-gateway:2"))
    seen = view(gateway, some_facts(children=facts.children))
    assert change(seen) is Change.OPERATOR


def test_a_held_fleet_waits_for_approval_of_exactly_this_revision() -> None:
    """An approval of an older upgrade does not let the next through."""
    held = a_gateway(rollout={"onOperatorUpgrade": "Hold"})
    facts = running(held, some_facts(), revision=OLD)
    assert state(view(held, facts)) is State.HELD
    target = draft(held, facts).target_revision
    for approved, wanted in ((OLD, State.HELD), (target, State.PROGRESSING)):
        gateway = a_gateway(
            rollout={"onOperatorUpgrade": "Hold"},
            annotations={"smtp.cakemail.com/approve": approved},
        )
        assert state(view(gateway, facts, word=Word(turn=False))) is wanted


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("NewReplicaSetAvailable", State.IDLE),
        ("ReplicaSetUpdated", State.PROGRESSING),
        ("ProgressDeadlineExceeded", State.FAILED),
    ],
)
def test_the_deployment_s_controller_says_where_pods_are(reason: str, wanted: State) -> None:
    """By the reason of its own condition."""
    gateway = a_gateway()
    assert state(view(gateway, running(gateway, some_facts(), progress=reason))) is wanted


def test_a_status_of_an_older_spec_says_nothing() -> None:
    """Right after an apply the controller has not looked yet."""
    gateway = a_gateway()
    facts = running(gateway, some_facts())
    facts.children[Ref("Deployment", "mail")]["metadata"]["generation"] = 4
    assert state(view(gateway, facts)) is State.PROGRESSING


def test_what_is_not_applied_does_not_roll() -> None:
    """Paused or refused: only the pods that are there count."""
    gateway = a_gateway()
    facts = running(gateway, some_facts(), revision=OLD, inputs=OLD)
    assert state(view(gateway, facts, stopped=True)) is State.IDLE
    assert state(view(gateway, some_facts(), stopped=True)) is State.IDLE


def test_the_current_revision_is_the_one_whose_rollout_is_complete() -> None:
    """Until then the one before."""
    gateway = a_gateway(status={"currentRevision": OLD})
    done = view(gateway, running(gateway, some_facts(), revision="aaaa"))
    assert current_revision(done) == "aaaa"
    still = running(gateway, some_facts(), revision="aaaa", progress="ReplicaSetUpdated")
    assert current_revision(view(gateway, still)) == OLD
    assert current_revision(view(a_gateway(), some_facts())) == ""


def test_pods_are_counted_from_the_status() -> None:
    """A count that is zero is left out by the API."""
    pods = Pods({"spec": {"replicas": 3}, "status": {"replicas": 3}})
    assert (pods.wanted, pods.total, pods.ready, pods.updated) == (3, 3, 0, 0)
    assert Pods(None).wanted == 0
