"""An API server that refuses, is slow, or loses what it says: later all is as without a fault."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from smtp_operator.cluster.connection import Patience
from smtp_operator.utils.clock import SystemClock
from tests.support.faulty_api import APPLIES, READS, WATCHES, Exchange, Fault, Where, where
from tests.support.faulty_api_faults import (
    aborted,
    dropped,
    empty,
    ended,
    expired,
    failed,
    half,
    half_a_line,
    one_of,
    refusing,
    slow,
    spoiled,
    unanswered,
)
from tests.support.faulty_api_world import EDIT, Picture, World, world_of
from tests.support.kubernetes import Kubernetes

pytestmark = pytest.mark.needs("api", "controllers")

# A second for a write, so that what is slow is soon too slow.
IMPATIENT = Patience(read=5.0, write=1.0)


@pytest.fixture
def patience() -> Patience:
    """What is slow is soon too slow."""
    return IMPATIENT


OFTEN = 4
FAULTS = {
    "429": (APPLIES, refusing(429)),
    "429 with Retry-After": (APPLIES, refusing(429, retry_after=1)),
    "500 to writes": (APPLIES, refusing(500)),
    "500 to reads": (READS, refusing(500)),
    "503": (where(), refusing(503)),
    "409": (APPLIES, refusing(409)),
    "401": (where(), refusing(401)),
    "dropped": (where(), dropped),
    "done, but unanswered": (APPLIES, unanswered),
    "half an answer to writes": (APPLIES, half),
    "half an answer to reads": (READS, half),
    "an empty answer": (where(), empty),
    "too slow": (APPLIES, slow(1.5)),
}


@pytest.mark.parametrize(("at", "fault"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_while_a_fleet_is_made_and_edited_only_delays_it(
    at: Where, fault: Fault, world: World, undisturbed_picture: Picture
) -> None:
    """Four requests of each phase meet it; the process lives on, and the end is the usual one."""
    await world.begun()
    with world.api.trouble(at, fault, times=OFTEN) as making:
        await world.user.create()
        await world.until(lambda: making.hits == OFTEN)
    await world.lives()
    with world.api.trouble(at, fault, times=OFTEN) as editing:
        await world.user.edit({"spec": EDIT})
        await world.until(lambda: editing.hits > 0)
        await world.comes_to(undisturbed_picture)
    assert world.ends == []


async def test_the_patience_that_is_asked_for_is_kept(world: World) -> None:
    """After 429 with Retry-After nothing of this fleet is written before that time."""
    refused: list[float] = []
    refuse = refusing(429, retry_after=3)

    async def fault(exchange: Exchange) -> web.StreamResponse:
        refused.append(SystemClock().monotonic())
        return await refuse(exchange)

    with world.api.trouble(APPLIES, fault, times=1):
        await world.user.create()
        await world.lives()
    (began,) = refused
    assert SystemClock().monotonic() - began >= 3


async def test_watches_that_are_refused_come_back(
    world: World, undisturbed_picture: Picture
) -> None:
    """An outage of all watches, kopf's too; what happened meanwhile is found afterwards."""
    await world.user.create()
    await world.lives()
    with world.api.trouble(WATCHES, refusing(503)) as outage:
        for stream in world.api.watches():
            stream.end()
        await world.user.edit({"spec": EDIT})
        await world.user.delete("Service")
        await world.until(lambda: outage.hits > 20)
    await world.comes_to(undisturbed_picture)
    assert world.ends == []


async def test_a_new_token_is_read_from_its_file(
    kubernetes: Kubernetes,
    namespace: str,
    unused_tcp_port_factory: Callable[[], int],
    tmp_path: Path,
    undisturbed_picture: Picture,
) -> None:
    """The old one is refused from one moment to the next; the process need not start again."""
    file = tmp_path / "token"
    file.write_text("first", encoding="ascii")
    ports = unused_tcp_port_factory
    async with world_of(kubernetes, namespace, ports, token_file=file) as world:
        world.api.tokens = frozenset({"first"})
        await world.user.create()
        await world.lives()
        world.api.tokens = frozenset({"second"})
        refused = world.api.refused
        for stream in world.api.watches():
            stream.end()
        await world.user.edit({"spec": EDIT})
        await world.until(lambda: world.api.refused > refused + 10)
        file.write_text("second\n", encoding="ascii")
        await world.comes_to(undisturbed_picture)
        assert world.ends == []


ANSWERS = one_of(
    refusing(429), refusing(429, retry_after=1), refusing(500), refusing(503), refusing(409),
    refusing(401), dropped, unanswered, half, empty, slow(0.3), slow(1.2),
)  # fmt: skip
STREAMS = one_of(
    refusing(503), dropped, spoiled(0, ended), spoiled(1, half_a_line), spoiled(1, expired),
    spoiled(2, failed), spoiled(2, aborted),
)  # fmt: skip


@pytest.mark.parametrize("seed", [20261124, 4])
async def test_any_mix_of_faults_comes_to_the_same_end(
    seed: int,
    kubernetes: Kubernetes,
    namespace: str,
    unused_tcp_port_factory: Callable[[], int],
    undisturbed_picture: Picture,
) -> None:
    """By the dice a sixth of all requests meets one of twelve faults, and a fourth of all watches.

    A process may lose its Lease in that; the next one goes on.
    """
    async with world_of(
        kubernetes, namespace, unused_tcp_port_factory, patience=IMPATIENT, seed=seed
    ) as world:
        with (
            world.api.trouble(where(), ANSWERS, share=1 / 6) as answers,
            world.api.trouble(WATCHES, STREAMS, share=1 / 4) as streams,
        ):
            await world.user.create()
            for kind in ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"):
                await world.lives()
                await world.until(partial(world.user.has, kind))
                await world.user.delete(kind)
            for stream in world.api.watches():
                stream.end()
            for recipients in range(1, 9):
                limits = {"maxRecipients": recipients}
                await world.user.edit({"spec": {"limits": limits}})
                await world.until(partial(_lives_with, world, recipients))
            await world.user.edit({"spec": EDIT})
        assert answers.hits > 10
        assert streams.hits > 0
        await world.comes_to(undisturbed_picture)
        assert set(world.ends) <= {1}


async def _lives_with(world: World, recipients: int) -> bool:
    """Whether this limit has come to where pods read it."""
    found = await world.user.get("ConfigMap", "alpha-live")
    return f"SMTP_MAX_RECIPIENTS={recipients}\n" in "".join(found["data"].values())
