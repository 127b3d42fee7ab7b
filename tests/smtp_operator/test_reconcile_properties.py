"""Twice is once, any order comes to the same end, and so does a death at any write."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtp_operator.cluster.api import Object
from smtp_operator.errors import OperatorError
from tests.support.cluster_double import ClusterDouble, Killed
from tests.support.fleet_world import KEY, GivenClock, Process, set_spec, world

EDITS: dict[str, dict[str, Any]] = {
    "replicas": {"replicas": 4},
    "autoscaled": {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}},
    "plain": {"autoscaling": None},
    "no budget": {"disruption": {"enabled": False}},
    "ports": {"listeners": [{"name": "relay", "port": 2525, "tls": "StartTLS"}]},
    "limits": {"limits": {"maxRecipients": 7}},
    "paused": {"paused": True},
    "awake": {"paused": False},
}


def meddle(cluster: ClusterDouble, what: str) -> None:
    """What others do to children."""
    if what == "scaled":
        cluster.edit("Deployment", *KEY, lambda b: b["spec"].update(replicas=9))
    elif what == "service deleted":
        cluster.remove("Service", *KEY)
    else:
        cluster.edit("ConfigMap", "mail", "alpha-live", lambda b: b["data"].clear())


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=st.lists(st.sampled_from(sorted(EDITS)), max_size=4))
async def test_twice_is_once(edits: list[str]) -> None:
    """Once a fleet is at rest, looking again writes nothing."""
    cluster, process = world()
    for edit in edits:
        set_spec(cluster, **EDITS[edit])
        await process.settle()
    await process.settle()
    cluster.writes.clear()
    await process.look()
    assert cluster.writes == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(st.sampled_from(sorted(EDITS)), max_size=4),
    meddling=st.lists(st.sampled_from(["scaled", "service deleted", "emptied"]), max_size=3),
    seed=st.integers(),
)
async def test_any_order_of_events_comes_to_the_same_end(
    edits: list[str], meddling: list[str], seed: int
) -> None:
    """Events late, out of order, and between any two looks: the end is that of no disorder."""
    straight, orderly = world()
    for edit in edits:
        set_spec(straight, **EDITS[edit])
    await orderly.settle()

    cluster, process = world()
    late: list[tuple[str, str, Object]] = []
    cluster.on_change = lambda *event: late.append(event)
    chance = random.Random(seed)
    steps: list[Any] = [*meddling]
    await process.settle()
    for edit in edits:
        set_spec(cluster, **EDITS[edit])
        steps += [None]
    chance.shuffle(steps)
    for step in steps:
        if step is None:
            await _quiet_look(process)
        elif ("Service", "alpha") in cluster.names("mail"):
            meddle(cluster, step)
    chance.shuffle(late)
    while late:
        process.hear(*late.pop())
    cluster.on_change = process.hear
    await process.list_children()
    await process.settle()
    # Paused from the first look on there would be nothing; the order of pause and work matters.
    if "paused" not in edits:
        assert differences(cluster, straight) == set()


def differences(one: ClusterDouble, other: ClusterDouble) -> set[tuple[str, str]]:
    """Which objects differ, but for what rightly depends on the way there.

    The number of pods while an autoscaler is there is the autoscaler's; start configurations that
    no pod mounts are kept for rolled-back pods.
    """
    left, right = _comparable(one), _comparable(other)
    return {place for place in left | right if left.get(place) != right.get(place)}


def _comparable(cluster: ClusterDouble) -> dict[tuple[str, str], Any]:
    found = cluster.snapshot("mail")
    template = str(found["Deployment", "alpha"]["spec"]["template"])
    for kind, name in list(found):
        if name.startswith("alpha-start-") and name not in template:
            del found[kind, name]
    if ("HorizontalPodAutoscaler", "alpha") in found:
        found["Deployment", "alpha"]["spec"].pop("replicas")
        found["SmtpGateway", "alpha"].pop("status")
    return found


async def _quiet_look(process: Process) -> None:
    try:
        await process.look()
    except OperatorError:
        return  # the queue would look again; so does the end of the test


async def _finished_by_another(cluster: ClusterDouble, clock: GivenClock) -> None:
    """A process that knows nothing takes over."""
    successor = Process(cluster, clock)
    cluster.on_change = successor.hear
    await successor.list_children()
    await successor.settle()


async def test_killed_at_any_write_of_the_first_start_it_converges() -> None:
    """A process that dies right after its n-th write leaves nothing that the next cannot finish."""
    undisturbed, calm = world()
    await calm.settle()
    for number in range(1, 40):
        cluster, process = world()
        if not await _dies(cluster, process, number):
            assert number > 8  # children of a plain fleet
            return
        await _finished_by_another(cluster, process.clock)
        assert differences(cluster, undisturbed) == set(), number
    pytest.fail("never got through")


@pytest.mark.parametrize("first", [{}, {"autoscaling": {"minReplicas": 2, "maxReplicas": 9}}])
@pytest.mark.parametrize("edit", sorted(EDITS))
async def test_killed_at_any_write_of_an_edit_it_converges(
    first: dict[str, Any], edit: str
) -> None:
    """The same for each kind of edit of a fleet at rest."""
    rested, calm = world(**first)
    await calm.settle()
    rested.on_change = lambda *_: None
    undisturbed = copy.deepcopy(rested)
    set_spec(undisturbed, **EDITS[edit])
    await _finished_by_another(undisturbed, calm.clock)
    for number in range(1, 40):
        cluster = copy.deepcopy(rested)
        process = Process(cluster, calm.clock)
        cluster.on_change = process.hear
        await process.list_children()
        set_spec(cluster, **EDITS[edit])
        if not await _dies(cluster, process, number):
            return
        await _finished_by_another(cluster, calm.clock)
        assert differences(cluster, undisturbed) == set(), number
    pytest.fail("never got through")


async def _dies(cluster: ClusterDouble, process: Process, number: int) -> bool:
    cluster.die_after = number
    try:
        await process.settle()
    except Killed:
        return True
    cluster.die_after = None
    return False
