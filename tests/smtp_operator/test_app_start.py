"""What the whole program waits for before it leads, and before it calls itself ready or alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from smtp_operator.app import Operator, silent
from smtp_operator.settings import load
from smtp_operator.utils.clock import SystemClock
from tests.support.answering import answering
from tests.support.empty_api import EmptyApi
from tests.support.fleet_world import quiet_log


@asynccontextmanager
async def running(port: int, *refused: str) -> AsyncIterator[tuple[Operator, EmptyApi]]:
    """An operator whose role lacks kinds, by their plurals; it ends with the block."""
    settings, _ = load({
        "GATEWAY_IMAGE": "registry.test/gateway:1", "POD_NAMESPACE": "mail", "POD_NAME": "one",
        "WATCH_NAMESPACES": "mail", "HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(port),
    })  # fmt: skip
    api = EmptyApi()
    api.refused |= set(refused)
    async with answering(api.answer) as connection, asyncio.TaskGroup() as group:
        operator = Operator(settings, connection, SystemClock(), quiet_log())
        ending = group.create_task(operator.run())
        try:
            yield operator, api
        finally:
            operator.stop()
            assert await ending == 0


async def until(holds: Callable[[], object]) -> None:
    """Wait on a condition; the limit is the test's patience."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # what is waited for may be any fact, not an event
            await asyncio.sleep(0.01)


def looks(operator: Operator) -> float:
    """At gateways, so far."""
    labels = {"result": "gone"}
    read = operator.metrics.registry.get_sample_value
    return read("smtp_operator_reconcile_total", labels) or 0.0


async def test_a_leader_works_without_an_optional_kind_that_its_role_lacks(
    unused_tcp_port: int,
) -> None:
    """Fleets that need none of it must not wait; it is told, and no reason to be unready."""
    async with running(unused_tcp_port, "certificates") as (operator, _):
        await until(lambda: looks(operator) and not operator.faults())
        assert operator.details()["notListed"] == ["Certificate"]


async def test_a_leader_does_not_begin_without_a_kind_that_each_fleet_has(
    unused_tcp_port: int,
) -> None:
    """It would take what is there for absent."""
    async with running(unused_tcp_port, "services") as (operator, api):
        await until(lambda: operator.faults() == ["not listed yet: Service"])
        assert looks(operator) == 0
        api.refused.clear()
        await until(lambda: looks(operator) and not operator.faults())


async def test_it_is_not_ready_before_gateways_are_watched(unused_tcp_port: int) -> None:
    """The most important watch of all is kopf's; its age is told like that of the others."""
    async with running(unused_tcp_port, "smtpgateways") as (operator, api):
        await until(lambda: operator.faults() == ["not listed yet: SmtpGateway"])
        api.refused.clear()
        await until(lambda: not operator.faults())
        labels = {"kind": "SmtpGateway"}
        read = operator.metrics.registry.get_sample_value
        await until(lambda: read("smtp_operator_watch_age_seconds", labels) is not None)


@pytest.mark.parametrize(
    ("ages", "why"),
    [
        ({}, []),
        ({"SmtpGateway": 299.0, "Secret": 400.0}, []),
        ({"SmtpGateway": 301.0, "Secret": 1.0}, ["the watch of SmtpGateway is old"]),
        (
            {"SmtpGateway": 301.0, "Secret": 301.0},
            ["every watch is old", "the watch of SmtpGateway is old"],
        ),
    ],
)
def test_silence_about_gateways_is_deadly_by_itself(ages: dict[str, float], why: list[str]) -> None:
    """Of another kind resync finds what was missed; of gateways it knows no new one."""
    assert silent(ages) == why
