"""From events to keys: who is woken by what, and that a standby queues nothing."""

from __future__ import annotations

from functools import partial

from smtp_operator.cluster.api import Object
from smtp_operator.fleet.model import Key
from smtp_operator.workqueue import Due, Priority
from tests.support.cluster_double import ClusterDouble
from tests.support.fleet_world import KEY, GivenClock, Process, gateway, world


def metadata(name: str = "alpha", version: str = "1") -> Object:
    """Of a gateway."""
    return {"namespace": "mail", "name": name, "resourceVersion": version}


async def taken(process: Process) -> Due[Key] | None:
    """What a worker would take now; None when nothing is due."""
    sentinel = Key("", "nothing")
    process.queue.add_after(sentinel, 0)
    due = await process.queue.take()
    assert due is not None
    process.queue.done(due.key)
    if due.key == sentinel:
        return None
    rest = await process.queue.take()
    assert rest is not None
    process.queue.done(rest.key)
    return due


async def at_rest() -> tuple[ClusterDouble, Process]:
    """A fleet that nobody has to look at."""
    cluster, process = world()
    await process.settle()
    process.clock.advance(10)
    while await taken(process) is not None:
        process.clock.advance(10)
    return cluster, process


async def test_edits_go_before_what_is_new_and_that_before_the_first_list() -> None:
    """A user waits for an edit; a thousand made at once are patient; nobody waits for the rest."""
    process = Process(ClusterDouble(), GivenClock())
    process.switchboard.gateway_seen(metadata("old"), listed=True)
    process.switchboard.gateway_seen(metadata("edited"), listed=True)
    process.switchboard.gateway_seen(metadata("new"), listed=False)
    process.switchboard.gateway_seen(metadata("edited", "2"), listed=False)
    taken = [await process.queue.take() for _ in range(3)]
    assert [(due.key.name, due.priority) for due in taken if due] == [
        ("edited", Priority.EDIT),
        ("new", Priority.NEW),
        ("old", Priority.ROUTINE),
    ]


async def test_our_own_status_wakes_nobody() -> None:
    """Else each write would cost another look."""
    cluster, process = await at_rest()
    version = cluster.read("SmtpGateway", *KEY)["metadata"]["resourceVersion"]
    process.switchboard.gateway_seen(metadata("alpha", version), listed=False)
    assert await taken(process) is None
    process.switchboard.gateway_seen(metadata("alpha", "999999"), listed=False)
    assert await taken(process) is not None


async def test_an_edit_below_our_own_status_is_not_lost_when_the_watch_had_a_gap() -> None:
    """The version that a list shows is ours, and the edit came before it."""
    cluster, process = await at_rest()

    def edit_unheard(told: str, kind: str, metadata: Object) -> None:
        if told == "ADDED" and kind == "Service":
            cluster.edit("SmtpGateway", *KEY, lambda body: body["spec"].update(replicas=4))

    cluster.on_change = edit_unheard
    cluster.remove("Service", *KEY)
    process.switchboard.listed("Service", "", [])
    due = await process.queue.take()
    assert due is not None
    cluster.edit("Deployment", *KEY, partial(_set_ready, 2), manager="x", subresource="status")
    await process.look()
    process.queue.done(KEY)
    assert cluster.read("Deployment", *KEY)["spec"]["replicas"] == 2
    process.switchboard.gateway_seen(cluster.read("SmtpGateway", *KEY)["metadata"], listed=True)
    assert await taken(process) is not None
    await process.look()
    assert cluster.read("Deployment", *KEY)["spec"]["replicas"] == 4


async def test_our_own_apply_wakes_nobody() -> None:
    """The answer was noted when it came."""
    cluster, process = await at_rest()
    process.hear("MODIFIED", "Service", cluster.read("Service", *KEY))
    process.clock.advance(10)
    assert await taken(process) is None


async def test_an_echo_that_overtakes_its_answer_wakes_nobody_either() -> None:
    """A whole fleet made, each event heard before the answer to its write."""
    _, process = world()
    due = await process.queue.take()
    assert due is not None
    await process.look()
    process.queue.done(due.key)
    process.clock.advance(10)
    assert await taken(process) is None


async def test_an_edit_while_we_write_the_status_is_not_lost() -> None:
    """It waits for the answer and is looked at then, as an edit."""
    cluster, process = await at_rest()

    def edit_meanwhile(told: str, kind: str, metadata: Object) -> None:
        cluster.on_change = process.hear
        process.hear(told, kind, metadata)
        cluster.edit("SmtpGateway", *KEY, lambda body: body["spec"].update(replicas=4))

    cluster.edit("Deployment", *KEY, partial(_set_ready, 2), manager="x", subresource="status")
    process.clock.advance(10)
    due = await process.queue.take()
    cluster.on_change = edit_meanwhile
    await process.look()
    process.queue.done(KEY)
    due = await taken(process)
    assert due is not None
    assert due.priority is Priority.EDIT
    await process.look()
    assert cluster.read("Deployment", *KEY)["spec"]["replicas"] == 4


async def test_the_status_of_a_budget_wakes_nobody() -> None:
    """It changes with each pod, and nothing is decided by it."""
    cluster, process = await at_rest()

    def count(body: Object) -> None:
        body["status"] = {"disruptionsAllowed": 1}

    cluster.edit("PodDisruptionBudget", *KEY, count, manager="x", subresource="status")
    process.clock.advance(10)
    assert await taken(process) is None


async def test_a_port_added_to_a_service_wakes_at_once() -> None:
    """The double's lists are atomic, so this one claims the port as the API server writes it."""
    cluster, process = await at_rest()
    live = cluster.read("Service", *KEY)
    port: Object = {"f:spec": {"f:ports": {'k:{"port":9,"protocol":"TCP"}': {}}}}
    live["metadata"]["managedFields"].append(
        {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": port}
    )
    live["metadata"]["resourceVersion"] = "999999"
    process.hear("MODIFIED", "Service", live)
    due = await taken(process)
    assert due is not None
    assert due.priority is Priority.EDIT


async def test_a_change_of_what_we_own_wakes_at_once() -> None:
    """Drift is repaired before routine work."""
    cluster, process = await at_rest()
    cluster.edit("Service", *KEY, lambda body: body["spec"].update(type="NodePort"))
    due = await taken(process)
    assert due is not None
    assert (due.key, due.priority) == (KEY, Priority.EDIT)


async def test_counts_of_pods_are_gathered_for_half_a_second() -> None:
    """A rollout changes them many times."""
    cluster, process = await at_rest()
    for number in (1, 2):
        cluster.edit(
            "Deployment",
            *KEY,
            partial(_set_ready, number),
            manager="kube-controller-manager",
            subresource="status",
        )
    assert await taken(process) is None
    process.clock.advance(0.5)
    due = await taken(process)
    assert due is not None
    assert due.priority is Priority.ROUTINE


def _set_ready(number: int, body: Object) -> None:
    body["status"] = {"readyReplicas": number}


async def test_a_vanished_child_wakes_its_owner() -> None:
    """Also when only a list shows that it is gone."""
    cluster, process = await at_rest()
    cluster.remove("Service", *KEY)
    assert await taken(process) is not None
    cluster, process = await at_rest()
    cluster.on_change = lambda *_: None
    cluster.remove("Service", *KEY)
    assert await taken(process) is None
    process.switchboard.listed("Service", "", [])
    due = await taken(process)
    assert due is not None
    assert due.key == KEY


async def test_a_deleted_event_of_a_predecessor_removes_nothing() -> None:
    """Another UID is another object."""
    cluster, process = await at_rest()
    old = cluster.read("Service", *KEY)
    old["metadata"]["uid"] = "uid-of-old"
    process.switchboard.vanished("Service", old)
    assert await taken(process) is None


async def test_a_referenced_secret_wakes_its_readers_only() -> None:
    """A Secret without our label that no gateway names is nobody's business."""
    cluster, process = world(tls={"secretName": "mine"})
    await process.settle()
    process.clock.advance(10)
    while await taken(process) is not None:
        process.clock.advance(10)
    for name, wakes in (("other", False), ("mine", True)):
        cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"namespace": "mail", "name": name},
                "data": {},
            }
        )
        assert (await taken(process) is not None) is wakes
    assert not any(child.place.kind == "Secret" for child in process.children.of("mail", ""))


async def test_a_standby_queues_nothing_and_begins_with_recent_edits() -> None:
    """What was edited just before it took over goes first."""
    clock = GivenClock()
    process = Process(ClusterDouble(), clock)
    board = process.switchboard
    board.stop()
    board.gateway_seen(metadata("old"), listed=True)
    board.gateway_seen(metadata("long-ago"), listed=False)
    clock.advance(61)
    board.gateway_seen(metadata("recent"), listed=False)
    board.gateway_seen(metadata("deleted"), listed=False)
    board.gateway_deleted(metadata("deleted"))
    assert await taken(process) is None
    board.lead()
    order = []
    for _ in range(3):
        due = await process.queue.take()
        assert due is not None
        order.append((due.key.name, due.priority))
    assert order == [
        ("recent", Priority.EDIT),
        ("old", Priority.ROUTINE),
        ("long-ago", Priority.ROUTINE),
    ]


async def test_everything_is_looked_at_when_a_kind_comes() -> None:
    """As when cert-manager is installed after us."""
    _, process = await at_rest()
    process.switchboard.look_at_all()
    assert await taken(process) is not None
    process.switchboard.forget(KEY)
    assert process.switchboard.known() == frozenset()
    assert gateway()["metadata"]["name"] == KEY.name
