"""What is read for one decision, and how little."""

from __future__ import annotations

import base64

import pytest

from smtp_operator.fleet import names
from smtp_operator.fleet.model import Facts, Gateway, Key, Ref
from smtp_operator.fleet.spec import read_spec
from smtp_operator.observe import Observer, after_writing, is_ours, is_whole
from tests.support.cluster_double import ClusterDouble
from tests.support.fleet_world import IMAGE, KEY, Process, world


def typed(cluster: ClusterDouble) -> Gateway:
    """The gateway as the decision sees it."""
    live = cluster.read("SmtpGateway", *KEY)
    meta = live["metadata"]
    return Gateway(KEY, meta["uid"], meta["generation"], read_spec(live["spec"]))


async def observed(cluster: ClusterDouble, process: Process, *, watched: bool = True) -> Facts:
    """Everything read anew, by an observer of the same memory."""
    observer = Observer(cluster, process.children, default_image=IMAGE, secrets_watched=watched)
    return await observer.observe(typed(cluster), process.clock.utc())


@pytest.mark.parametrize("watched", [True, False])
async def test_a_gateway_that_nobody_has_looked_at_costs_no_read(watched: bool) -> None:  # noqa: FBT001  # a case
    """What no watch told of is absent; making it will meet whoever is there."""
    cluster, process = world()
    found = await observed(cluster, process, watched=watched)
    assert cluster.reads == 0
    assert found.children == {}
    assert found.strangers == frozenset()
    assert found.secrets == {"alpha-tls": None, "alpha-ca": None}


async def test_the_users_own_secret_is_read_at_first_too() -> None:
    """It was there before us."""
    cluster, process = world(tls={"secretName": "mine"})
    cluster.create({"apiVersion": "v1", "kind": "Secret", "data": {"tls.crt": ""},
                    "metadata": {"namespace": "mail", "name": "mine"}})  # fmt: skip
    found = await observed(cluster, process)
    assert cluster.reads == 1
    assert found.secrets == {"mine": {"tls.crt": b""}}


async def test_a_fleet_at_rest_costs_three_reads() -> None:
    """The Deployment in full, and two Secrets; the rest is known by its metadata."""
    cluster, process = world()
    await process.settle()
    before = cluster.reads
    found = await observed(cluster, process)
    assert cluster.reads - before == 3
    assert "spec" in found.children[Ref("Deployment", "alpha")]
    for kind, name in (("ConfigMap", "alpha-live"), ("Service", "alpha")):
        assert set(found.children[Ref(kind, name)]) == {"apiVersion", "kind", "metadata"}


async def test_a_balancers_address_is_read_where_there_is_a_balancer() -> None:
    """The Service's status has it."""
    cluster, process = world(service={"type": "LoadBalancer"})
    await process.settle()
    before = cluster.reads
    found = await observed(cluster, process)
    assert cluster.reads - before == 4
    assert "spec" in found.children[Ref("Service", "alpha")]


async def test_what_was_written_counts_as_read() -> None:
    """The answers to writes take the place of the next look's reads."""
    cluster, process = world()
    before = await observed(cluster, process)
    await process.settle()
    answers = {
        Ref(kind, name): cluster.read(kind, "mail", name)
        for kind, name in (("Secret", "alpha-tls"), ("Deployment", "alpha"))
    }
    after = after_writing(before, answers, frozenset())
    assert set(after.children) == set(answers)
    assert "data" not in after.children[Ref("Secret", "alpha-tls")]
    assert after.secrets["alpha-ca"] is None
    assert set(after.secrets["alpha-tls"] or ()) == {"ca.crt", "tls.crt", "tls.key"}
    assert after_writing(after, {}, frozenset(answers)).children == {}


async def test_content_of_secrets_stands_where_it_is_asked_for_only() -> None:
    """Decoded under its name; never among the children."""
    cluster, process = world()
    await process.settle()
    found = await observed(cluster, process, watched=False)
    data = found.secrets["alpha-tls"]
    assert data is not None
    live = cluster.read("Secret", "mail", "alpha-tls")["data"]["tls.crt"]
    assert data["tls.crt"] == base64.b64decode(live)
    assert "data" not in found.children[Ref("Secret", "alpha-tls")]


async def test_controller_or_label_and_apply_make_it_ours() -> None:
    """One of label and controller may have been taken away by hand, but for a deletion."""
    cluster, process = world()
    await process.settle()
    child, gateway = cluster.read("Service", *KEY), typed(cluster)
    meta = child["metadata"]
    bare, orphan = {**meta, "labels": {}}, {**meta, "ownerReferences": []}
    other = {**meta["ownerReferences"][0], "uid": "uid-of-old"}
    cases = [
        (meta, True, True),
        (bare, True, False),
        (orphan, True, False),
        ({**orphan, "labels": {}}, False, False),
        ({**orphan, "managedFields": []}, False, False),
        ({**orphan, "labels": names.labels(Key("mail", "beta"))}, False, False),
        ({**meta, "ownerReferences": [other]}, False, False),
    ]
    for changed, ours, whole in cases:
        found = {**child, "metadata": changed}
        assert (is_ours(found, gateway), is_whole(found, gateway)) == (ours, whole)
