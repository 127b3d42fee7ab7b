"""Who sets the number of pods, and when an operator upgrade may roll them."""

from __future__ import annotations

from smtp_operator.cluster.api import Object
from smtp_operator.rollout import Pacing
from tests.support.fleet_world import (
    KEY,
    Process,
    conditions,
    deployment,
    pods_become_ready,
    set_spec,
    world,
)


async def test_pods_never_drop_while_autoscaling_is_switched_on_and_off() -> None:
    """Neither handover ever lets the field fall to its default of one."""
    cluster, process = world(replicas=5)
    await process.settle()
    seen: list[int] = []

    def watch(told: str, kind: str, metadata: Object) -> None:
        if kind == "Deployment" and told != "DELETED":
            seen.append(deployment(cluster)["spec"]["replicas"])
        process.hear(told, kind, metadata)

    cluster.on_change = watch
    set_spec(cluster, autoscaling={"minReplicas": 2, "maxReplicas": 20})
    await process.settle()

    def scale(body: Object) -> None:
        body["spec"]["replicas"] = 11

    cluster.edit("Deployment", *KEY, scale, manager="kube-controller-manager", subresource="scale")
    await process.settle()
    assert deployment(cluster)["spec"]["replicas"] == 11
    assert min(seen) == 5
    set_spec(cluster, autoscaling=None)
    await process.settle()
    assert deployment(cluster)["spec"]["replicas"] == 5
    assert min(seen) == 5
    assert ("HorizontalPodAutoscaler", "alpha") not in cluster.names("mail")


async def test_the_autoscaler_is_there_before_replicas_are_let_go() -> None:
    """First the autoscaler, then the handover, then the Deployment without the field."""
    cluster, process = world(replicas=5)
    await process.settle()
    set_spec(cluster, autoscaling={"minReplicas": 2, "maxReplicas": 20})
    cluster.writes.clear()
    await process.look()
    order = [
        (verb, kind, manager)
        for verb, kind, _, manager in cluster.writes
        if kind in {"Deployment", "HorizontalPodAutoscaler"}
    ]
    assert order == [
        ("apply", "HorizontalPodAutoscaler", "smtp-operator"),
        ("apply", "Deployment", "smtp-operator-handover"),
        ("apply", "Deployment", "smtp-operator"),
    ]


async def test_autoscaling_switched_on_for_a_fleet_of_no_pods_starts_it() -> None:
    """An autoscaler leaves a Deployment of zero alone, so the first pods are asked for by us."""
    cluster, process = world(replicas=0)
    await process.settle()
    set_spec(cluster, autoscaling={"minReplicas": 3, "maxReplicas": 20})
    cluster.writes.clear()
    await process.look()
    assert deployment(cluster)["spec"]["replicas"] == 3
    assert conditions(cluster)["Ready"] == ("False", "FirstStart")
    pods_become_ready(cluster)
    await process.settle()
    managers = [m for _, kind, _, m in cluster.writes if kind == "Deployment"]
    assert managers == ["smtp-operator", "smtp-operator-handover", "smtp-operator"]
    assert deployment(cluster)["spec"]["replicas"] == 3
    assert conditions(cluster)["Ready"] == ("True", "Ready")


async def test_pods_scaled_to_zero_by_hand_stay_away_and_are_told() -> None:
    """While autoscaling is on the number is not ours, and at zero it is not the autoscaler's."""
    cluster, process = world(autoscaling={"minReplicas": 3, "maxReplicas": 20})
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()

    def scale(body: Object) -> None:
        body["spec"]["replicas"] = 0

    cluster.edit("Deployment", *KEY, scale, manager="kubectl", subresource="scale")
    pods_become_ready(cluster)
    await process.settle()
    assert deployment(cluster)["spec"]["replicas"] == 0
    assert conditions(cluster)["Ready"] == ("False", "PodsUnavailable")
    assert conditions(cluster)["Degraded"] == ("True", "PodsUnavailable")


async def test_the_autoscaler_is_gone_before_replicas_are_taken_back() -> None:
    """Otherwise both would set them in turn."""
    cluster, process = world(autoscaling={"minReplicas": 3, "maxReplicas": 20})
    await process.settle()
    assert deployment(cluster)["spec"]["replicas"] == 3
    set_spec(cluster, autoscaling=None, replicas=4)
    cluster.writes.clear()
    await process.look()
    order = [
        (verb, kind)
        for verb, kind, _, _ in cluster.writes
        if kind in {"Deployment", "HorizontalPodAutoscaler"}
    ]
    assert order == [("delete", "HorizontalPodAutoscaler"), ("apply", "Deployment")]


async def test_an_upgrade_waits_for_its_turn_and_an_edit_does_not() -> None:
    """What a new operator renders is held; what the user edits rolls at once."""
    cluster, process = world()
    await process.settle()
    held = Process(
        cluster,
        process.clock,
        image="registry.test/gateway:2",
        pacing=Pacing(budget_percent=10, soak_seconds=0, hold=True),
    )
    cluster.on_change = held.hear
    await held.list_children()
    await held.settle()
    pod = deployment(cluster)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.test/gateway:1"
    assert conditions(cluster)["Progressing"] == ("False", "RolloutWaiting")
    set_spec(cluster, hostname="mail.example.org")
    await held.settle()
    pod = deployment(cluster)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.test/gateway:2"


async def test_an_upgrade_rolls_when_its_turn_comes() -> None:
    """The queue admits it, and the pods change."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    new = Process(cluster, process.clock, image="registry.test/gateway:2")
    cluster.on_change = new.hear
    await new.list_children()
    await new.settle()
    pod = deployment(cluster)["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.test/gateway:2"
