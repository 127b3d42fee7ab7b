"""Operator upgrades and users: whose doing a failed rollout is, and what is edited by hand."""

from __future__ import annotations

from typing import Any

import pytest

from smtp_operator.cluster.api import Object
from smtp_operator.rollout import Halt, Pacing
from smtp_operator.telemetry import HALTS
from tests.support.cluster_double import ClusterDouble, refused
from tests.support.fleet_world import (
    IMAGE,
    KEY,
    Process,
    conditions,
    deployment,
    pods_become_ready,
    set_spec,
    world,
)

NEXT = "registry.test/gateway:2"


def pods_miss_their_deadline(cluster: ClusterDouble, *, old_pods_serve: bool) -> None:
    """What the Deployment's controller says of new pods that do not come up."""

    def fail(body: Object) -> None:
        body["status"] |= {
            "observedGeneration": body["metadata"]["generation"],
            "readyReplicas": body["spec"]["replicas"] if old_pods_serve else 0,
            "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
        }

    cluster.edit("Deployment", *KEY, fail, manager="kube-controller-manager", subresource="status")


def pods_are_gone(cluster: ClusterDouble) -> None:
    """Ended, while those of the new revision are still to come."""

    def lose(body: Object) -> None:
        body["status"] |= {
            "observedGeneration": body["metadata"]["generation"],
            "readyReplicas": 0,
            "conditions": [{"type": "Progressing", "reason": "ReplicaSetUpdated"}],
        }

    cluster.edit("Deployment", *KEY, lose, manager="kube-controller-manager", subresource="status")


def halted(process: Process) -> set[str]:
    """Reasons that the gauge shows."""
    (family,) = process.metrics.rollout_halted.collect()
    assert {sample.labels["reason"] for sample in family.samples} == set(HALTS)
    assert set(HALTS) == {halt.name.capitalize() for halt in Halt if halt is not Halt.NONE}
    return {sample.labels["reason"] for sample in family.samples if sample.value == 1}


async def ready_fleet() -> tuple[ClusterDouble, Process]:
    """One that runs its first revision whole."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    return cluster, process


async def another(
    cluster: ClusterDouble, process: Process, image: str = NEXT, *, hold: bool = False
) -> Process:
    """An operator that starts anew, perhaps as a newer release, and has looked once at all."""
    pacing = Pacing(budget_percent=100, soak_seconds=0, hold=hold)
    new = Process(cluster, process.clock, image=image, pacing=pacing)
    cluster.on_change = new.hear
    await new.list_children()
    await new.settle()
    return new


def image(cluster: ClusterDouble) -> str:
    """What the Deployment runs."""
    return str(deployment(cluster)["spec"]["template"]["spec"]["containers"][0]["image"])


def set_image(cluster: ClusterDouble, name: str) -> None:
    """What ``kubectl set image`` does."""

    def change(body: Object) -> None:
        body["spec"]["template"]["spec"]["containers"][0]["image"] = name

    cluster.edit("Deployment", *KEY, change, manager="kubectl-set")


def halt(process: Process) -> Halt:
    """Why nobody may begin."""
    return process.pacing.halt(process.clock.now)


@pytest.mark.parametrize("old_pods_serve", [True, False])
async def test_a_sound_fleet_that_an_upgrade_broke_stops_it(*, old_pods_serve: bool) -> None:
    """Also after a restart of the operator, which an upgrade is itself."""
    cluster, process = await ready_fleet()
    new = await another(cluster, process)
    pods_miss_their_deadline(cluster, old_pods_serve=old_pods_serve)
    await new.settle()
    assert halt(new) is Halt.FAILED
    assert halt(await another(cluster, process)) is Halt.FAILED
    pods_become_ready(cluster)
    assert halt(await another(cluster, process)) is Halt.NONE


@pytest.mark.parametrize("old_pods_serve", [True, False])
async def test_a_user_s_failed_rollout_stops_no_upgrade(*, old_pods_serve: bool) -> None:
    """Neither untouched by the upgrade, nor when it misses its deadline once more in it."""
    cluster, process = await ready_fleet()
    set_spec(cluster, image="registry.test/gatewey:1")
    await process.settle()
    pods_miss_their_deadline(cluster, old_pods_serve=old_pods_serve)
    untouched = await another(cluster, process)
    assert halt(untouched) is Halt.NONE
    set_spec(cluster, image=None)  # a second edit that fails, and one that the upgrade touches
    old = await another(cluster, process, image="registry.test/gateway:0")
    pods_miss_their_deadline(cluster, old_pods_serve=old_pods_serve)
    await old.settle()
    new = await another(cluster, process)
    assert image(cluster) == NEXT
    pods_miss_their_deadline(cluster, old_pods_serve=old_pods_serve)
    await new.settle()
    assert halt(new) is Halt.NONE
    assert halt(await another(cluster, process)) is Halt.NONE


async def test_a_fleet_that_was_not_ready_before_the_upgrade_does_not_stop_it() -> None:
    """It lacks a pull secret, so its rollout comes to an end that is not Ready."""
    cluster, process = await ready_fleet()
    set_spec(cluster, imagePullSecrets=["registry"])
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    assert conditions(cluster)["Ready"] == ("False", "SecretNotFound")
    new = await another(cluster, process)
    assert new.pacing.turn(KEY)
    pods_become_ready(cluster)
    await new.settle()
    assert halt(new) is Halt.NONE
    assert not new.pacing.turn(KEY)


async def test_who_holds_upgrades_back_answers_for_the_one_that_he_lets_through() -> None:
    """Others do not wait for a fleet that is out of the queue."""
    cluster, process = await ready_fleet()
    new = await another(cluster, process)
    pods_miss_their_deadline(cluster, old_pods_serve=True)
    set_spec(cluster, rollout={"onOperatorUpgrade": "Hold"})
    await new.settle()
    assert halt(new) is Halt.NONE


async def test_new_pods_that_the_api_server_refused_are_not_called_rolling() -> None:
    """The status says where the reason stands."""
    cluster, process = await ready_fleet()
    cluster.refuse = refused("Deployment")
    set_spec(cluster, hostname="mail.example.org")
    await process.settle()
    assert conditions(cluster)["Progressing"] == ("False", "ApplyFailed")
    assert conditions(cluster)["Degraded"] == ("True", "ApplyFailed")
    cluster.refuse = lambda _: None
    await process.settle()
    assert conditions(cluster)["Progressing"] == ("True", "RolloutProgressing")


async def test_an_upgrade_that_the_api_server_refused_says_nothing_against_the_spec() -> None:
    """The user's spec is what runs; what the new operator wanted is Degraded's to tell."""
    cluster, process = await ready_fleet()
    cluster.refuse = refused("Deployment")
    await another(cluster, process)
    assert conditions(cluster)["Degraded"] == ("True", "ApplyFailed")
    assert conditions(cluster)["ConfigAccepted"] == ("True", "Accepted")
    assert conditions(cluster)["Ready"] == ("True", "Ready")


HELD: list[tuple[dict[str, Any], bool]] = [
    ({"onOperatorUpgrade": "Hold"}, False),
    ({"wave": 5}, True),
]


@pytest.mark.parametrize(("rollout", "hold"), HELD, ids=["Held", "Waiting"])
async def test_pods_edited_by_hand_are_mended_while_an_upgrade_is_held(
    rollout: dict[str, Any], *, hold: bool
) -> None:
    """Back to what ran before, as the upgrade may not restart them; and for good."""
    cluster, process = await ready_fleet()
    set_spec(cluster, rollout=rollout)
    await process.settle()
    new = await another(cluster, process, hold=hold)
    assert image(cluster) == IMAGE
    set_image(cluster, "registry.test/by-hand:1")
    await new.settle()
    assert image(cluster) == IMAGE
    after = await another(cluster, process, hold=hold)
    set_image(cluster, "registry.test/by-hand:2")
    await after.settle()
    assert image(cluster) == IMAGE


async def test_pods_edited_while_no_operator_ran_are_mended_within_the_hour() -> None:
    """Held or not: the comparison after a start knows what was applied."""
    cluster, process = await ready_fleet()
    set_spec(cluster, rollout={"onOperatorUpgrade": "Hold"})
    await process.settle()
    set_image(cluster, "registry.test/by-hand:1")
    new = await another(cluster, process)
    process.clock.advance(3600)
    await new.settle()
    assert image(cluster) == IMAGE


async def test_a_stopped_upgrade_shows_on_the_fleet_that_stopped_it() -> None:
    """Its readiness is gone, its deadline is not yet: condition, Event and gauge all the same."""
    cluster, process = await ready_fleet()
    new = await another(cluster, process)
    pods_are_gone(cluster)
    await new.settle()
    new.reconciler.next_turns()
    assert KEY in new.woken
    await new.settle()
    assert conditions(cluster)["Degraded"] == ("True", "RolloutFailed")
    assert "RolloutFailed" in {event["reason"] for event in cluster.events}
    assert halted(new) == {"Failed"}
    pods_become_ready(cluster)
    await new.settle()
    new.reconciler.next_turns()
    assert conditions(cluster)["Degraded"] == ("False", "AsExpected")
    assert halted(new) == set()


async def test_a_fleet_that_waits_says_that_the_upgrade_is_held() -> None:
    """And the gauge says so too."""
    cluster, process = await ready_fleet()
    new = await another(cluster, process, hold=True)
    status = cluster.read("SmtpGateway", *KEY)["status"]
    (progress,) = [c for c in status["conditions"] if c["type"] == "Progressing"]
    assert progress["reason"] == "RolloutWaiting"
    assert progress["message"].endswith("the operator's setting ROLLOUT_HOLD stops the upgrade")
    new.reconciler.next_turns()
    assert halted(new) == {"Held"}
