"""Watches that break, lie or fall silent: what happened in the gap is found afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from smtp_operator.cluster.connection import Patience
from tests.support.faulty_api import WATCHES, Stream
from tests.support.faulty_api_faults import (
    a_broken_line,
    a_strange_line,
    aborted,
    ended,
    expired,
    failed,
    half_a_line,
    refusing,
    silenced,
)
from tests.support.faulty_api_world import EDIT, Picture, World

pytestmark = pytest.mark.needs("api", "controllers")


@pytest.fixture
def patience() -> Patience:
    """A stream is dead after 3 s of silence, not after 70."""
    return Patience(silence=3.0)


async def a_gap(world: World) -> None:
    """No watch tells anything; meanwhile a child is deleted, a fleet edited, another deleted."""
    await world.user.create()
    await world.user.create(name="beta")
    await world.lives()
    await world.until(lambda: world.user.has("PodDisruptionBudget", "beta"))
    await world.settles()
    for stream in world.api.watches():
        silenced(stream)
    await world.user.delete("Service")
    await world.user.delete(name="beta")
    await world.user.edit({"spec": EDIT})


async def all_is_found(world: World, wanted: Picture) -> None:
    """The child is back, the edit done, the other fleet forgotten; the process lives on."""
    await world.comes_to(wanted)
    await world.until(lambda: world.gateways() == 1)
    assert world.ends == []


ENDS = {
    "ended": ended,
    "aborted": aborted,
    "half a line": half_a_line,
    "a broken line": a_broken_line,
    "a strange line": a_strange_line,
    "410": expired,
    "500": failed,
    "silent": silenced,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_what_happened_while_no_watch_told_is_found(
    end: Callable[[Stream], None], world: World, undisturbed_picture: Picture
) -> None:
    """However they end; a silent one is left by us."""
    await a_gap(world)
    for stream in world.api.watches():
        end(stream)
    await all_is_found(world, undisturbed_picture)


async def test_versions_that_are_too_old_when_a_watch_comes_back(
    world: World, undisturbed_picture: Picture
) -> None:
    """410 as the answer itself: everything is listed, and deletions in the gap are noticed."""
    await a_gap(world)
    with world.api.trouble(WATCHES, refusing(410), times=12) as trouble:
        for stream in world.api.watches():
            stream.end()
        await world.until(lambda: trouble.hits == 12)
    await all_is_found(world, undisturbed_picture)
