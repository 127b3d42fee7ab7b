"""One look at one gateway: what is written, what never is, and that it always comes to rest."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtp_operator.cluster.api import Object
from smtp_operator.fleet.model import Key
from smtp_operator.reconcile import After, Done
from smtp_operator.rollout import Pacing
from tests.support.cluster_double import ClusterDouble, Killed, refused
from tests.support.fleet_world import (
    KEY,
    GivenClock,
    Process,
    gateway,
    pods_become_ready,
    world,
)

EXPECTED = {
    ("ServiceAccount", "alpha"),
    ("ConfigMap", "alpha-live"),
    ("Secret", "alpha-ca"),
    ("Secret", "alpha-tls"),
    ("Service", "alpha"),
    ("NetworkPolicy", "alpha"),
    ("Deployment", "alpha"),
    ("PodDisruptionBudget", "alpha"),
}


def fixed(cluster: ClusterDouble) -> set[tuple[str, str]]:
    """Children but for the start configurations."""
    return {child for child in cluster.names("mail") if not child[1].startswith("alpha-start-")}


def starts(cluster: ClusterDouble) -> set[str]:
    """Names of the start configurations."""
    return {name for _, name in cluster.names("mail") if name.startswith("alpha-start-")}


def conditions(cluster: ClusterDouble, key: Key = KEY) -> dict[str, tuple[str, str]]:
    """Type -> status and reason."""
    status = cluster.read("SmtpGateway", *key).get("status", {})
    return {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}


def set_spec(cluster: ClusterDouble, **fields: Any) -> None:
    """The user edits the gateway; None removes a field."""

    def change(body: Object) -> None:
        for name, value in fields.items():
            if value is None:
                body["spec"].pop(name, None)
            else:
                body["spec"][name] = value

    cluster.edit("SmtpGateway", *KEY, change)


def deployment(cluster: ClusterDouble) -> Object:
    """The live Deployment."""
    return cluster.read("Deployment", *KEY)


async def test_one_yaml_makes_a_whole_fleet() -> None:
    """All children are there, controlled by the gateway, and Ready follows the pods."""
    cluster, process = world()
    await process.settle()
    assert fixed(cluster) == EXPECTED
    assert len(starts(cluster)) == 1
    uid = cluster.read("SmtpGateway", *KEY)["metadata"]["uid"]
    for kind, name in cluster.names("mail"):
        owners = cluster.read(kind, "mail", name)["metadata"]["ownerReferences"]
        assert [(owner["uid"], owner["controller"]) for owner in owners] == [(uid, True)]
    assert conditions(cluster)["Ready"] == ("False", "PodsUnavailable")
    pods_become_ready(cluster)
    await process.settle()
    assert conditions(cluster)["Ready"] == ("True", "Ready")


async def test_nothing_is_written_when_nothing_changed() -> None:
    """A second look sends no write at all, also in another process that knows nothing."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    cluster.writes.clear()
    await process.look()
    other = Process(cluster, process.clock)
    await other.list_children()
    await other.look()
    assert cluster.writes == []


async def test_nothing_but_status_of_the_users_object_is_written() -> None:
    """No finalizer, no annotation: metadata and spec stay as the user made them."""
    cluster, process = world()
    before = cluster.read("SmtpGateway", *KEY)
    await process.settle()
    after = cluster.read("SmtpGateway", *KEY)
    assert after["spec"] == before["spec"]
    for ours in ("finalizers", "annotations", "labels"):
        assert ours not in after["metadata"]
    managers = {m for verb, kind, _, m in cluster.writes if kind == "SmtpGateway"}
    assert managers == {"smtp-operator-status"}


async def test_a_child_edited_by_hand_is_repaired() -> None:
    """Whoever changes a field of ours loses it again at the next look."""
    cluster, process = world()
    await process.settle()

    def scale(body: Object) -> None:
        body["spec"]["replicas"] = 9

    cluster.edit("Deployment", *KEY, scale, manager="kubectl-scale")
    await process.look()
    assert deployment(cluster)["spec"]["replicas"] == 2


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
    """A taken name is told in a condition; the object stays as it was, and nothing is made."""
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
    assert cluster.names("mail") == {("Service", "alpha")}
    cluster.remove("Service", *KEY)
    await process.settle()
    assert conditions(cluster)["ConfigAccepted"] == ("True", "Accepted")


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
    set_spec(cluster, tls={"secretName": "mine"})
    await later.settle()
    set_spec(cluster, replicas=3)
    await later.settle()
    assert ("Secret", "mine") in cluster.names("mail")
    assert ("Secret", "alpha-ca") not in cluster.names("mail")


async def test_a_paused_gateway_is_only_reported() -> None:
    """Nothing but the status is written, whatever is edited."""
    cluster, process = world()
    await process.settle()
    set_spec(cluster, paused=True, replicas=7)
    cluster.writes.clear()
    await process.settle()
    assert {kind for _, kind, _, _ in cluster.writes} == {"SmtpGateway"}
    assert deployment(cluster)["spec"]["replicas"] == 2
    assert conditions(cluster)["Paused"] == ("True", "Paused")
    set_spec(cluster, paused=False)
    await process.settle()
    assert deployment(cluster)["spec"]["replicas"] == 7


async def test_an_absent_object_forgets_its_key() -> None:
    """Its series, its readers and its turn go; children go by the garbage collector."""
    cluster, process = world()
    await process.settle()
    cluster.remove("SmtpGateway", *KEY)
    assert await process.look() == Done(gone=True)
    assert cluster.names("mail") == set()
    assert process.interests.readers("Secret", "mail", "alpha-tls") == frozenset()
    assert process.metrics.registry.get_sample_value(
        "smtp_operator_paused", {"namespace": "mail", "name": "alpha"}
    ) is None  # fmt: skip


async def test_a_gateway_being_deleted_gets_nothing_new() -> None:
    """With foreground deletion it lingers; making children anew would keep it for ever."""
    cluster, process = world()

    def delete(body: Object) -> None:
        body["metadata"]["deletionTimestamp"] = "2026-11-24T08:00:00Z"

    cluster.edit("SmtpGateway", *KEY, delete)
    cluster._stored["SmtpGateway", *KEY].body["metadata"]["deletionTimestamp"] = "x"  # noqa: SLF001  # the server sets it
    assert await process.look() == Done(gone=True)
    assert cluster.names("mail") == set()


async def test_a_spec_that_cannot_be_read_leaves_what_runs() -> None:
    """Stored under an older schema: the status says which field; children stay."""
    cluster, process = world()
    await process.settle()
    set_spec(cluster, replicas=999)
    cluster.writes.clear()
    await process.settle()
    assert conditions(cluster)["ConfigAccepted"] == ("False", "InvalidSpec")
    assert {kind for _, kind, _, _ in cluster.writes} == {"SmtpGateway"}
    assert fixed(cluster) == EXPECTED


async def test_a_refused_child_is_told_and_tried_again() -> None:
    """A quota is nobody's typing error: the condition says so, and time may heal it."""
    cluster, process = world()
    cluster.refuse = refused("Deployment", detail="exceeded quota")
    result = await process.look()
    assert conditions(cluster)["Degraded"] == ("True", "ApplyFailed")
    assert isinstance(result, After)
    assert result.seconds <= 60
    cluster.refuse = lambda _: None
    await process.settle()
    assert conditions(cluster)["Degraded"][0] == "False"


async def test_a_refused_pod_template_changes_nothing() -> None:
    """The dry run comes before any write, so the old pods and their configuration stay."""
    cluster, process = world()
    await process.settle()
    before = cluster.snapshot("mail")
    cluster.refuse = refused("Deployment", status=422, detail="spec.template: bad")
    set_spec(cluster, podTemplate={"spec": {"hostname": "x"}}, logging={"level": "debug"})
    await process.settle()
    after = cluster.snapshot("mail")
    del before["SmtpGateway", "alpha"], after["SmtpGateway", "alpha"]
    assert after == before
    assert conditions(cluster)["ConfigAccepted"] == ("False", "PodTemplateRejected")


async def test_fields_of_the_status_that_others_own_do_not_make_us_write_for_ever() -> None:
    """A stranger's field stays; our next look still writes nothing."""
    cluster, process = world()
    await process.settle()

    def meddle(body: Object) -> None:
        body["status"]["address"] = "elsewhere"
        body["status"]["theirs"] = "x"

    cluster.edit("SmtpGateway", *KEY, meddle, subresource="status")
    await process.settle()
    cluster.writes.clear()
    await process.look()
    assert cluster.writes == []
    assert cluster.read("SmtpGateway", *KEY)["status"]["address"] == "alpha.mail.svc"


# replicas: spec, autoscaler, by hand


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


# an operator upgrade


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


# properties

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
    from smtp_operator.errors import OperatorError  # noqa: PLC0415

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
            assert number > len(EXPECTED)
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


async def test_waking_comes_from_referenced_secrets_too() -> None:
    """A Secret that the spec names leads to its readers, and to nobody else."""
    cluster, process = world(tls={"secretName": "mine"})
    await process.settle()
    assert conditions(cluster)["TLSReady"] == ("False", "SecretNotFound")
    assert process.interests.readers("Secret", "mail", "mine") == frozenset({KEY})
    assert process.interests.readers("Secret", "other", "mine") == frozenset()


async def test_two_gateways_do_not_know_each_other() -> None:
    """Children of one are never pruned for the other."""
    cluster, process = world()
    beta = Key("mail", "beta")
    cluster.create(gateway(beta))
    await process.settle()
    await process.settle(beta)
    await process.settle()
    assert {name for kind, name in cluster.names("mail") if kind == "Deployment"} == {
        "alpha",
        "beta",
    }


def test_the_clock_of_tests_stands_still() -> None:
    """Two questions, one answer."""
    clock = GivenClock()
    assert clock.utc() == clock.utc()
