"""Others at work in the same cluster, at the worst moment; and the Lease, in others' hands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial

import pytest

from tests.support.faulty_api import APPLIES, where
from tests.support.faulty_api_faults import meanwhile
from tests.support.faulty_api_world import EDIT, Picture, User, World, world_of
from tests.support.gateways import Gateways
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api", "controllers")

LEASE = "smtp-operator"
DEPLOYMENT, SERVICE = where("PATCH", path="/deployments/"), where("PATCH", path="/services/")
PORTS = {"ports": [{"name": "theirs", "port": 9999}], "selector": {"their": "pods"}}


async def test_a_gateway_deleted_between_read_and_write_leaves_nothing(world: World) -> None:
    """What was made for it goes with it, and is not made again."""
    with world.api.trouble(APPLIES, meanwhile(world.user.delete), times=1) as trouble:
        await world.user.create()
        await world.until(lambda: trouble.hits)

        async def nothing_left() -> bool:
            return world.gateways() == 0 and not await world.user.children()

        await world.until(lambda: world.count("smtp_operator_reconcile_total", result="gone"))
        await world.until(nothing_left)
    await world.user.create(name="next")
    await world.until(lambda: world.user.has("PodDisruptionBudget", "next"))
    assert {c["metadata"]["name"].split("-")[0] for c in await world.user.children()} == {"next"}
    assert world.ends == []


async def test_a_child_deleted_between_read_and_write_is_made_anew(
    world: World, undisturbed_picture: Picture
) -> None:
    """The apply means the one that was read, so it revives no other by half."""
    await world.user.create()
    await world.lives()
    delete = partial(world.user.delete, "Deployment")
    with world.api.trouble(DEPLOYMENT, meanwhile(delete), times=1) as trouble:
        await world.user.edit({"spec": EDIT})
        await world.until(lambda: trouble.hits)
        await world.comes_to(undisturbed_picture)
    assert world.ends == []


async def test_a_child_edited_by_another_manager_is_repaired(
    world: World, undisturbed_picture: Picture
) -> None:
    """Also when that happens between our read and our write."""
    await world.user.create()
    await world.lives()

    async def edit() -> None:
        await world.user.edit({"spec": {"replicas": 9}}, "Deployment")
        await world.user.edit({"data": {"live.env": "SMTP_X=1"}}, "ConfigMap", "alpha-live")

    with world.api.trouble(DEPLOYMENT, meanwhile(edit), times=1) as trouble:
        await world.user.edit({"spec": EDIT})
        await world.until(lambda: trouble.hits)
        await world.comes_to(undisturbed_picture)
    await edit()
    await world.comes_to(undisturbed_picture)
    assert world.ends == []


@pytest.mark.parametrize("late", [False, True], ids=["before", "between read and write"])
async def test_a_name_taken_by_a_stranger_is_left_alone_until_it_is_free(
    late: bool,  # noqa: FBT001  # a parameter of the test
    world: World,
    undisturbed_picture: Picture,
) -> None:
    """The condition names it; the stranger's Service stays as it was made."""
    take = partial(world.user.make, "Service", "alpha", spec=PORTS)
    if not late:
        await take()
    with world.api.trouble(SERVICE, meanwhile(take), times=1):
        await world.user.create({"replicas": 2})

        async def told() -> bool:
            return (await world.user.condition("ConfigAccepted"))[1] == "NameConflict"

        await world.until(told)
    found = await world.user.get("Service")
    assert [port["port"] for port in found["spec"]["ports"]] == [9999]
    assert "ownerReferences" not in found["metadata"]
    assert "app.kubernetes.io/managed-by" not in found["metadata"].get("labels", {})
    await world.user.delete("Service")
    await world.user.edit({"spec": EDIT})
    await world.comes_to(undisturbed_picture)
    assert world.ends == []


async def test_a_quota_is_told_and_once_it_is_lifted_the_fleet_is_made(
    world: World, undisturbed_picture: Picture
) -> None:
    """The API server's sentence stands in the condition; the user's next edit tries again."""
    await world.user.set_quota({"count/services": "0"})
    await world.user.create()

    async def told() -> bool:
        status, reason, message = await world.user.condition("Degraded")
        return (status, reason) == ("True", "ApplyFailed") and "exceeded quota" in message

    await world.until(told)
    assert not await world.user.has("Service")
    await world.user.lift_quota()
    await world.user.edit({"spec": EDIT})
    await world.comes_to(undisturbed_picture)
    assert world.ends == []


async def test_a_namespace_that_is_being_deleted_is_let_go(
    kubernetes: Kubernetes,
    gateways: Gateways,
    namespace: str,
    unused_tcp_port_factory: Callable[[], int],
) -> None:
    """While something else holds it, nothing is made in it, and nobody is alarmed."""
    assert gateways is not None
    doomed = f"{namespace}-doomed"
    kubernetes.kubectl("create", "namespace", doomed)
    ports = unused_tcp_port_factory
    async with world_of(kubernetes, doomed, ports, own_namespace=namespace) as world:
        held = {"name": "holds", "finalizers": ["tests.cakemail.com/hold"]}
        await world.user.make("ConfigMap", "holds", data={})
        await world.user.edit({"metadata": held}, "ConfigMap", "holds")
        await world.user.create()
        await world.lives()
        kubernetes.kubectl("delete", "namespace", doomed, "--wait=false")

        async def empty() -> bool:
            return not await world.user.gateways() and not await world.user.children()

        await world.until(empty)
        await world.until(lambda: world.gateways() == 0)
        alarms = [line for line in world.lines if line["level"] in {"warning", "error"}]
        await world.user.edit({"metadata": {"finalizers": None}}, "ConfigMap", "holds")
        await world.until(lambda: not kubernetes.kubectl(
            "get", "namespace", doomed, "--ignore-not-found", "--output=name"
        ))  # fmt: skip
        assert alarms == []
        assert world.ends == []


@asynccontextmanager
async def stolen_lease(user: User) -> AsyncIterator[None]:
    """In a stranger's hands, who renews it until the block ends, and then lets it go."""
    ended = asyncio.Event()

    async def renew() -> None:
        while not ended.is_set():
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            await user.edit({"spec": {"holderIdentity": "thief", "renewTime": now}}, "Lease", LEASE)
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), 1)

    async with asyncio.TaskGroup() as group:
        group.create_task(renew())
        yield
        ended.set()
    await user.edit({"spec": {"holderIdentity": ""}}, "Lease", LEASE)


async def test_a_stolen_lease_ends_the_process_and_nothing_is_written_till_it_is_free(
    world: World, undisturbed_picture: Picture
) -> None:
    """The next process stands by, though it hears of an edit; then it goes on."""
    await world.user.create()
    await world.lives()
    await world.settles()
    async with stolen_lease(world.user):
        await world.until(lambda: world.ends == [1])
        before = len(world.api.writes())
        await world.user.edit({"spec": EDIT})
        await world.until(lambda: world.operator.details()["gateways"] == 1)
        assert world.operator.details()["leading"] is False
        assert len(world.api.writes()) == before
    await world.comes_to(undisturbed_picture)
    assert world.ends == [1]


async def test_a_deleted_lease_is_made_anew_by_its_holder(
    world: World, undisturbed_picture: Picture
) -> None:
    """Nobody else may take it so soon, so the holder may go on."""
    await world.user.create()
    await world.lives()
    first = await world.user.get("Lease", LEASE)
    await world.user.delete("Lease", LEASE)

    async def another() -> bool:
        found = [lease["metadata"]["uid"] for lease in await world.user.all_of("Lease")]
        return found not in ([], [first["metadata"]["uid"]])

    await world.until(another)
    held = await world.user.get("Lease", LEASE)
    assert held["spec"]["holderIdentity"] == first["spec"]["holderIdentity"]
    await world.user.edit({"spec": EDIT})
    await world.comes_to(undisturbed_picture)
    assert world.ends == []
