"""How many requests a fleet costs: the token bucket divides by these numbers."""

from __future__ import annotations

from smtp_operator.cluster.api import Object
from tests.support.cluster_double import ClusterDouble
from tests.support.fleet_world import Process, pods_become_ready, set_spec, world


class Bill:
    """Requests since it was made: reads, writes, Events."""

    def __init__(self, cluster: ClusterDouble) -> None:
        self._cluster = cluster
        self._before = self._now()

    def _now(self) -> tuple[int, int, int]:
        return self._cluster.reads, len(self._cluster.writes), len(self._cluster.events)

    def made(self) -> tuple[int, int, int]:
        """How many."""
        reads, writes, events = (b - a for a, b in zip(self._before, self._now(), strict=True))
        return reads, writes, events


async def test_a_new_fleet_is_made_and_told_of_by_twelve_requests() -> None:
    """One read, nine children, the status with its certificate and address, one Event."""
    cluster, process = world(secrets_watched=False)
    bill = Bill(cluster)
    await process.look()
    assert bill.made() == (1, 10, 1)
    assert {name for _, name in cluster.names("mail")} > {"alpha-tls", "alpha-live"}
    status = cluster.read("SmtpGateway", "mail", "alpha")["status"]
    assert status["address"] == "alpha.mail.svc"
    assert status["tls"]["secretName"] == "alpha-tls"


async def test_its_first_ready_pods_cost_six_requests() -> None:
    """The gateway, the Deployment, two Secrets; a status; and one Event, that it is ready."""
    cluster, process = world(secrets_watched=False)
    await process.look()
    pods_become_ready(cluster)
    bill = Bill(cluster)
    await process.look()
    assert bill.made() == (4, 1, 1)
    assert [event["reason"] for event in cluster.events] == ["FirstStart", "Ready"]


async def test_a_look_at_a_fleet_at_rest_reads_four_objects_and_writes_none() -> None:
    """Also in a process that has just begun to lead, which lists the metadata of all once."""
    cluster, process = world(secrets_watched=False)
    await process.look()
    pods_become_ready(cluster)
    await process.settle()
    later = Process(cluster, process.clock, secrets_watched=False)
    await later.list_children()
    bill = Bill(cluster)
    await later.look()
    assert bill.made() == (4, 0, 0)


async def test_an_edit_sends_what_it_changed_alone() -> None:
    """Four reads, the Deployment, and the status that it leads to."""
    cluster, process = world(secrets_watched=False)
    await process.look()
    pods_become_ready(cluster)
    await process.settle()
    set_spec(cluster, replicas=5)
    bill = Bill(cluster)
    cluster.writes.clear()
    await process.look()
    assert [(verb, kind) for verb, kind, _, _ in cluster.writes] == [
        ("apply", "Deployment"),
        ("status", "SmtpGateway"),
    ]
    assert bill.made()[0] == 4


async def test_an_old_standby_that_takes_over_costs_no_more() -> None:
    """What it compares in full is spread over its first hour of leading, not of its life."""
    cluster, process = world(secrets_watched=False)
    await process.look()
    pods_become_ready(cluster)
    await process.settle()
    standby = Process(cluster, process.clock, secrets_watched=False)
    standby.switchboard.stop()
    await standby.list_children()
    process.clock.advance(2 * 3600)
    standby.switchboard.lead()
    bill = Bill(cluster)
    await standby.look()
    assert bill.made() == (4, 0, 0)
    process.clock.advance(3600)
    bill = Bill(cluster)
    await standby.look()
    assert bill.made()[0] > 4


async def test_what_the_leader_changed_is_no_drift_to_its_standby() -> None:
    """The new hash tells that it was an apply; an edit by hand carries none."""
    cluster, process = world(secrets_watched=False)
    standby = Process(cluster, process.clock, secrets_watched=False)
    standby.switchboard.stop()

    def both(told: str, kind: str, metadata: Object) -> None:
        standby.hear(told, kind, metadata)
        process.hear(told, kind, metadata)

    cluster.on_change = both
    await process.settle()
    set_spec(cluster, service={"annotations": {"team": "mail"}})
    await process.settle()
    cluster.on_change = standby.hear
    standby.switchboard.lead()
    cluster.writes.clear()
    await standby.look()
    assert cluster.writes == []
    standby.switchboard.stop()
    cluster.edit("Service", "mail", "alpha", lambda body: body["spec"].update(type="NodePort"))
    standby.switchboard.lead()
    await standby.look()
    assert [kind for _, kind, _, _ in cluster.writes] == ["Service"]
