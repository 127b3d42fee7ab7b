"""What becomes of children: repaired, made again, left alone, pruned."""

from __future__ import annotations

from functools import partial

import pytest

from smtp_operator.cluster.api import Object
from smtp_operator.cluster.children import Place
from smtp_operator.errors import Conflict
from smtp_operator.fleet.model import Key
from smtp_operator.reconcile import After
from tests.support.fleet_world import (
    EXPECTED,
    KEY,
    Process,
    conditions,
    deployment,
    fixed,
    pods_become_ready,
    set_spec,
    world,
)


async def test_a_child_edited_by_hand_is_repaired() -> None:
    """Whoever changes a field of ours loses it again at the next look."""
    cluster, process = world()
    await process.settle()

    def scale(body: Object) -> None:
        body["spec"]["replicas"] = 9

    cluster.edit("Deployment", *KEY, scale, manager="kubectl-scale")
    await process.look()
    assert deployment(cluster)["spec"]["replicas"] == 2


@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy"])
@pytest.mark.parametrize("lost", ["labels", "ownerReferences"])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_label_or_owner_taken_away_by_hand_is_brought_back(
    kind: str,
    lost: str,
    restarted: bool,  # noqa: FBT001  # a case
) -> None:
    """The other one still tells whose it is; its owner is woken, and the pods stay as they are."""
    cluster, process = world()
    await process.settle()
    while await _taken(process):
        process.clock.advance(10)
    before = cluster.read(kind, *KEY)["metadata"]
    if restarted:
        cluster.on_change = lambda *_: None
    else:
        cluster.on_change = partial(_by_label, process)
    cluster.edit(kind, *KEY, lambda body: body["metadata"].pop(lost))
    if restarted:
        process = Process(cluster, process.clock)
        await process.list_children()
        cluster.on_change = partial(_by_label, process)
    else:
        assert await _taken(process)
    await process.settle()
    after = cluster.read(kind, *KEY)["metadata"]
    assert (after["uid"], after[lost]) == (before["uid"], before[lost])
    assert conditions(cluster)["ConfigAccepted"] == ("True", "Accepted")
    while await _taken(process):
        process.clock.advance(10)
    cluster.writes.clear()
    await process.look()
    assert cluster.writes == []


async def test_a_secret_without_our_label_is_told_of_by_the_watch_of_all_secrets() -> None:
    """Such a watch goes on to show it, where one by label would say that it is gone."""
    cluster, process = world()
    await process.settle()
    while await _taken(process):
        process.clock.advance(10)
    cluster.edit("Secret", "mail", "alpha-tls", lambda body: body["metadata"].pop("labels"))
    assert await _taken(process)
    await process.settle()
    assert cluster.read("Secret", "mail", "alpha-tls")["metadata"]["labels"]


def _by_label(process: Process, told: str, kind: str, metadata: Object) -> None:
    """As a watch by label hears it."""
    labelled = kind == "SmtpGateway" or metadata["metadata"].get("labels")
    process.hear(told if labelled else "DELETED", kind, metadata)


async def test_what_others_add_to_a_child_stays() -> None:
    """Only what we own is ours to repair."""
    cluster, process = world()
    await process.settle()

    def annotate(body: Object) -> None:
        body["metadata"].setdefault("annotations", {})["team"] = "mail"

    cluster.edit("Service", *KEY, annotate)
    cluster.writes.clear()
    await process.look()
    assert cluster.writes == []
    assert cluster.read("Service", *KEY)["metadata"]["annotations"]["team"] == "mail"


async def test_a_deleted_child_is_made_again() -> None:
    """The event of its deletion leads to a look that makes it."""
    cluster, process = world()
    await process.settle()
    cluster.remove("Service", *KEY)
    await process.look()
    assert ("Service", "alpha") in cluster.names("mail")


async def test_an_edit_missed_by_everybody_is_found_by_the_one_full_comparison() -> None:
    """A change from before the process started shows no drift; comparing in full finds it."""
    cluster, process = world()
    await process.settle()

    def edit(body: Object) -> None:
        body["spec"]["maxUnavailable"] = 2

    cluster.edit("PodDisruptionBudget", *KEY, edit)
    later = Process(cluster, process.clock)
    cluster.on_change = later.hear
    await later.list_children()
    await later.look()
    process.clock.advance(3600)
    await later.look()
    assert cluster.read("PodDisruptionBudget", *KEY)["spec"]["maxUnavailable"] == 1


async def test_a_strangers_object_is_never_touched() -> None:
    """A taken name is told in a condition; the object stays as it was, and nothing comes after."""
    cluster, process = world()
    mine = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "mail", "name": "alpha"},
        "spec": {"ports": [{"port": 80}]},
    }
    before = cluster.create(mine)
    await process.settle()
    assert cluster.read("Service", *KEY) == before
    assert conditions(cluster)["ConfigAccepted"] == ("False", "NameConflict")
    assert fixed(cluster).isdisjoint({("Deployment", "alpha"), ("NetworkPolicy", "alpha")})
    cluster.writes.clear()
    await process.look()
    assert cluster.writes == []
    cluster.remove("Service", *KEY)
    await process.settle()
    assert conditions(cluster)["ConfigAccepted"] == ("True", "Accepted")
    assert fixed(cluster) == EXPECTED


async def test_a_stranger_that_comes_between_look_and_write_is_not_merged_into() -> None:
    """Nothing was there when the look began; what we make says so, and is refused."""
    cluster, process = world()
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "mail", "name": "alpha"},
        "spec": {"replicas": 7},
    }

    def another_is_quicker(body: Object) -> None:
        if body["kind"] == "Deployment":
            cluster.refuse = lambda _: None
            cluster.create(theirs)

    cluster.refuse = another_is_quicker
    await process.look()
    assert deployment(cluster)["spec"] == {"replicas": 7}
    assert "ownerReferences" not in deployment(cluster)["metadata"]
    assert conditions(cluster)["ConfigAccepted"] == ("False", "NameConflict")


async def test_a_stranger_is_met_by_the_dry_run_of_a_template_too() -> None:
    """Before anything is written."""
    cluster, process = world(podTemplate={"spec": {"hostname": "x"}})
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "mail", "name": "alpha"},
        "spec": {"replicas": 7},
    }
    cluster.create(theirs)
    await process.look()
    assert conditions(cluster)["ConfigAccepted"] == ("False", "NameConflict")
    assert cluster.names("mail") == {("Deployment", "alpha")}


async def test_a_child_that_the_watch_has_not_told_of_is_found_by_its_conflict() -> None:
    """It is ours: it is looked at, and the next look goes on with what it found."""
    cluster, process = world()
    await process.settle()
    before = cluster.snapshot("mail")
    forgetful = Process(cluster, process.clock)
    cluster.writes.clear()
    with pytest.raises(Conflict):
        await forgetful.look()
    assert forgetful.children.get(Place("ServiceAccount", "mail", "alpha")) is not None
    await forgetful.settle()
    assert cluster.snapshot("mail") == before


async def test_a_gateway_made_anew_waits_for_its_predecessors_children_to_go() -> None:
    """They are strangers until the garbage collector is through; its last deletion wakes us."""
    cluster, process = world()
    await process.settle()
    others = {place for place in cluster.names("mail") if place != ("Service", "alpha")}

    def predecessor(body: Object) -> None:
        body["metadata"]["ownerReferences"][0]["uid"] = "uid-of-old"

    cluster.edit("Service", *KEY, predecessor)
    assert await process.look() == After(10.0)
    assert conditions(cluster)["ConfigAccepted"] == ("False", "NameConflict")
    while process.queue.oldest_seconds() or await _taken(process):
        pass
    cluster.remove("Service", *KEY)
    assert await _taken(process)
    await process.settle()
    assert cluster.names("mail") == {*others, ("Service", "alpha")}


async def _taken(process: Process) -> bool:
    """Whether a key is due now; it is taken."""
    sentinel = Key("", "nothing")
    process.queue.add_after(sentinel, 0)
    due = await process.queue.take()
    assert due is not None
    process.queue.done(due.key)
    return due.key != sentinel


async def test_children_of_a_former_gateway_of_this_name_are_strangers() -> None:
    """Another UID is another owner; the garbage collector will see to them."""
    cluster, process = world()
    await process.settle()

    def other_owner(body: Object) -> None:
        body["metadata"]["ownerReferences"][0]["uid"] = "uid-of-old"

    cluster.edit("Service", *KEY, other_owner)
    await process.look()
    assert conditions(cluster)["ConfigAccepted"] == ("False", "NameConflict")


async def test_what_is_wanted_no_longer_is_deleted() -> None:
    """A switched-off part goes; objects of others in the namespace stay."""
    cluster, process = world()
    await process.settle()
    note = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "namespace": "mail",
            "name": "notes",
            "labels": {"app.kubernetes.io/managed-by": "smtp-operator"},
        },
        "data": {"a": "b"},
    }
    cluster.create(note)
    set_spec(cluster, disruption={"enabled": False}, networkPolicy={"enabled": False})
    await process.settle()
    gone = {("PodDisruptionBudget", "alpha"), ("NetworkPolicy", "alpha")}
    assert fixed(cluster) == EXPECTED - gone | {("ConfigMap", "notes")}


async def test_without_a_watch_of_secrets_they_are_pruned_all_the_same() -> None:
    """In cluster mode nobody tells of Secrets; both names of ours are asked for."""
    cluster, process = world(secrets_watched=False)
    await process.settle()
    made = {"tls.crt": "", "tls.key": ""}
    own = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": "mail", "name": "mine"},
        "data": made,
    }
    cluster.create(own)
    later = Process(cluster, process.clock, secrets_watched=False)
    cluster.on_change = later.hear
    await later.list_children()
    set_spec(cluster, tls={"secretName": "mine"})
    await later.settle()
    pods_become_ready(cluster)
    await later.settle()
    assert ("Secret", "mine") in cluster.names("mail")
    assert ("Secret", "alpha-ca") not in cluster.names("mail")
