"""Pods come and go by what Kubernetes decides: load, a drained node, a lost node."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import aiosmtplib
import pytest

from tests.cluster.commands import wait_until
from tests.end_to_end.fleet import InstalledOperator, Mailbox, ManagedFleet, SandboxPod
from tests.end_to_end.fleet_history import followed
from tests.end_to_end.senders import sending
from tests.support.kubernetes import Kubernetes

pytestmark = [pytest.mark.needs("pods", "images", "dns"), pytest.mark.timeout(1200)]

_CLIENTS = 4
_BUSY_CLIENTS = 8
_FOLLOWED_SECONDS = 240  # CPU is measured every 10 s, and a measure needs two samples
_NOTICED_SECONDS = 240  # a node counts as lost after 20 s, its pods leave after 10 more
_QUICK_DOWN = {
    "stabilizationWindowSeconds": 5,
    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}],
}


@dataclass
class PacedMailbox:
    """Clients that wait before each connection."""

    mailbox: Mailbox
    pause_seconds: float = 0

    async def session(self) -> aiosmtplib.SMTP:
        """A connection, after STARTTLS and AUTH."""
        await asyncio.sleep(self.pause_seconds)
        return await self.mailbox.session()


@pytest.mark.needs("metrics")
async def test_pods_follow_the_load_up_and_down_and_no_mail_is_lost(
    fleet: ManagedFleet, sandbox_pod: SandboxPod
) -> None:
    """The autoscaler's number stands while the operator writes; clients send all the time."""
    fleet.apply(
        autoscaling={"minReplicas": 1, "maxReplicas": 3, "behavior": {"scaleDown": _QUICK_DOWN}},
        # Idle pods use 4m each, all of them together 80m and more when four clients never rest.
        resources={"requests": {"cpu": "40m", "memory": "128Mi"}},
    )
    fleet.wait_for("Ready")
    clients = PacedMailbox(fleet.mailbox())
    async with followed(fleet) as history, sending(clients, _BUSY_CLIENTS) as sender:
        await history.until(lambda seen: seen.ready[-1] == 3, _FOLLOWED_SECONDS)
        rise = list(history.wanted)
        await asyncio.to_thread(_write_the_deployment, fleet)
        while_written = history.wanted[len(rise) :]
        clients.pause_seconds = 10
        await history.until(lambda seen: seen.ready[-1] == 1, _FOLLOWED_SECONDS)
        await sender.sent_more(_BUSY_CLIENTS)

    assert sender.without_doubt(sandbox_pod.counts()) == sender.expected()
    assert rise == sorted(rise)
    assert (rise[0], rise[-1]) == (1, 3)
    assert while_written == []
    assert history.wanted[len(rise) :] == [2, 1]
    assert _owners_of_replicas(fleet) == {"kube-controller-manager"}
    fleet.wait_for("Ready")


def _write_the_deployment(fleet: ManagedFleet) -> None:
    """By an edit that changes the Deployment and not its pods."""
    fleet.patch({"rollout": {"progressDeadlineSeconds": 500}})

    def written() -> bool:
        found = fleet.kubernetes.get("deployment/mail", fleet.namespace)
        return bool(found["spec"]["progressDeadlineSeconds"] == 500)

    wait_until("the operator has written", written, 60)


def _owners_of_replicas(fleet: ManagedFleet) -> set[str]:
    words = ("deployment/mail", "--show-managed-fields", "--output=json")
    fields = json.loads(fleet.kubectl("get", *words))["metadata"]["managedFields"]
    return {
        entry["manager"] for entry in fields if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }


@pytest.mark.needs("multinode")
async def test_a_drained_node_loses_no_mail_and_never_two_pods_at_once(
    fleet: ManagedFleet, sandbox_pod: SandboxPod
) -> None:
    """Pods lie evenly on the nodes, as is required; the budget lets them move one by one."""
    fleet.apply(replicas=4, scheduling={"topologySpread": "Required"})
    fleet.wait_for("Ready")
    before = fleet.nodes()
    assert len(before) > 1
    assert max(before.values()) - min(before.values()) <= 1
    drained = _another_node(fleet, sandbox_pod)
    sandbox_pod.slow(0.2)
    try:
        async with followed(fleet) as history, sending(fleet.mailbox(), _CLIENTS) as sender:
            await sender.sent_more(20)
            await asyncio.to_thread(_drain, fleet.kubernetes, drained)
            await history.until(lambda seen: seen.ready[-1] == 4, _FOLLOWED_SECONDS)
            await sender.sent_more(20)
        after = fleet.nodes()
    finally:
        fleet.kubernetes.kubectl("uncordon", drained)

    assert sender.without_doubt(sandbox_pod.counts()) == sender.expected()
    assert min(history.ready) == 3
    assert drained not in after
    assert after.total() == 4


def _another_node(fleet: ManagedFleet, sandbox_pod: SandboxPod) -> str:
    """A node of the fleet's without the sandbox, which would forget all mail."""
    return min(set(fleet.nodes()) - {sandbox_pod.node()})


def _drain(kubernetes: Kubernetes, node: str) -> None:
    words = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
    kubernetes.kubectl("drain", node, *words, timeout=360)


@pytest.mark.needs("multinode", "nodes")
async def test_a_fleet_serves_on_without_a_node_that_is_cut_off(
    fleet: ManagedFleet, sandbox_pod: SandboxPod, operator: InstalledOperator
) -> None:
    """Its pod is replaced on another node. A mail whose answer was cut off may come twice."""
    cluster = fleet.kubernetes.local
    assert cluster is not None
    fleet.apply(replicas=2)
    fleet.wait_for("Ready")
    assert len(fleet.nodes()) == 2
    cut = _another_node(fleet, sandbox_pod)
    try:
        async with sending(fleet.mailbox(), _CLIENTS) as sender:
            await sender.sent_more(20)
            await asyncio.to_thread(cluster.cut_node, cut)
            await sender.sent_more(20)
            await asyncio.to_thread(
                wait_until, "another pod", lambda: _moved(fleet, cut), _NOTICED_SECONDS, 1
            )
            await sender.sent_more(20)
    finally:
        cluster.mend_node(cut)
        cluster.wait_for_nodes([cut])
        wait_until("what was replaced is gone", lambda: len(fleet.pods()) == 2, 240, 1)
        operator.scale(2)

    counts = sandbox_pod.counts()
    assert counts.keys() >= sender.expected().keys()
    assert sum(counts.values()) - len(sender.taken) <= _CLIENTS


def _moved(fleet: ManagedFleet, node: str) -> bool:
    ready = fleet.observed()["status"]["readyReplicas"]
    return node not in fleet.nodes() and bool(ready == 2)
