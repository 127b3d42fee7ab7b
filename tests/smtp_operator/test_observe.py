"""What is read for one decision, and how little."""

from __future__ import annotations

import base64

from smtp_operator.fleet.model import Gateway, Ref
from smtp_operator.fleet.spec import read_spec
from smtp_operator.observe import Observed, Observer, is_ours
from tests.support.cluster_double import ClusterDouble
from tests.support.fleet_world import IMAGE, KEY, Process, world


def typed(cluster: ClusterDouble) -> Gateway:
    """The gateway as the decision sees it."""
    live = cluster.read("SmtpGateway", *KEY)
    meta = live["metadata"]
    return Gateway(KEY, meta["uid"], meta["generation"], read_spec(live["spec"]))


async def observed(cluster: ClusterDouble, process: Process, *, watched: bool = True) -> Observed:
    """Everything read anew, by an observer of the same memory."""
    observer = Observer(cluster, process.children, default_image=IMAGE, secrets_watched=watched)
    return await observer.observe(typed(cluster), process.clock.utc())


async def test_at_first_every_name_is_asked_for() -> None:
    """None is known, and all are free."""
    cluster, process = world()
    found = await observed(cluster, process)
    assert found.facts.children == {}
    assert found.facts.strangers == frozenset()
    assert Ref("Service", "alpha") in found.absent
    assert found.facts.secrets == {"alpha-tls": None, "alpha-ca": None}


async def test_a_fleet_at_rest_costs_four_reads() -> None:
    """Deployment and Service in full, and two Secrets; the rest is known by its metadata."""
    cluster, process = world()
    await process.settle()
    before = cluster.reads
    found = await observed(cluster, process)
    assert cluster.reads - before == 4
    assert found.absent == frozenset()
    assert "spec" in found.facts.children[Ref("Deployment", "alpha")]
    assert set(found.facts.children[Ref("ConfigMap", "alpha-live")]) == {
        "apiVersion", "kind", "metadata",
    }  # fmt: skip


async def test_content_of_secrets_stands_where_it_is_asked_for_only() -> None:
    """Decoded under its name; never among the children."""
    cluster, process = world()
    await process.settle()
    found = await observed(cluster, process, watched=False)
    data = found.facts.secrets["alpha-tls"]
    assert data is not None
    live = cluster.read("Secret", "mail", "alpha-tls")["data"]["tls.crt"]
    assert data["tls.crt"] == base64.b64decode(live)
    assert "data" not in found.facts.children[Ref("Secret", "alpha-tls")]


async def test_label_and_controller_make_it_ours() -> None:
    """One of them is not enough."""
    cluster, process = world()
    await process.settle()
    child = cluster.read("Service", *KEY)
    gateway = typed(cluster)
    assert is_ours(child, gateway)
    assert not is_ours({"metadata": {**child["metadata"], "labels": {}}}, gateway)
    assert not is_ours({"metadata": {**child["metadata"], "ownerReferences": []}}, gateway)
