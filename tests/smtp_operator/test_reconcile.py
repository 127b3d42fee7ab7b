"""One look at one gateway: what is written, what never is, and what is said of it."""

from __future__ import annotations

import pytest

from smtp_operator.cluster.api import Object
from smtp_operator.errors import ClusterUnavailable, Refused
from smtp_operator.fleet.model import Key
from smtp_operator.reconcile import After, Done
from smtp_operator.rollout import Halt
from tests.support.cluster_double import refused
from tests.support.fleet_world import (
    EXPECTED,
    KEY,
    GivenClock,
    Process,
    conditions,
    deployment,
    fixed,
    gateway,
    pods_become_ready,
    set_spec,
    starts,
    world,
)


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
    assert conditions(cluster)["Ready"] == ("False", "FirstStart")
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


async def test_writes_of_the_status_are_counted_like_those_of_children() -> None:
    """One as long as nothing changes: the count shows a status that would never rest."""
    _, process = world(paused=True)
    labels = {"kind": "SmtpGateway", "result": "applied"}
    for _ in range(2):
        await process.look()
        written = process.metrics.registry.get_sample_value("smtp_operator_apply_total", labels)
        assert written == 1


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
    assert conditions(cluster)["ConfigAccepted"] == ("False", "ApplyFailed")
    assert isinstance(result, After)
    assert result.seconds <= 60
    cluster.refuse = lambda _: None
    await process.settle()
    assert conditions(cluster)["Degraded"][0] == "False"


async def test_an_edit_of_the_pods_that_is_refused_is_not_called_ready() -> None:
    """The old pods serve on; whoever waits for the new generation must not be told that it is."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    cluster.refuse = refused("Deployment", status=422, detail="tolerations[0].operator: bad")
    set_spec(cluster, scheduling={"tolerations": [{"key": "x", "operator": "Exists"}]})
    await process.settle()
    assert conditions(cluster) | {"CredentialsReady": ("", ""), "TLSReady": ("", "")} == {
        "Ready": ("False", "ApplyFailed"),
        "ConfigAccepted": ("False", "ApplyFailed"),
        "CredentialsReady": ("", ""),
        "TLSReady": ("", ""),
        "Progressing": ("False", "ApplyFailed"),
        "Degraded": ("True", "ApplyFailed"),
        "Paused": ("False", "NotPaused"),
    }
    cluster.refuse = lambda _: None
    await process.settle()
    assert conditions(cluster)["Progressing"] == ("True", "RolloutProgressing")


@pytest.mark.parametrize("template", [None, {"spec": {"hostname": "x"}}])
async def test_an_edit_that_is_refused_again_and_again_holds_no_rollouts(
    template: Object | None,
) -> None:
    """It takes no readiness from what runs, so it is no sign of an ill cluster."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    cluster.refuse = refused("Deployment", status=422, detail="bad")
    set_spec(cluster, hostname="mail.example.org", podTemplate=template)
    for _ in range(3):
        await process.look()
        assert process.pacing.halt(process.clock.monotonic()) is Halt.NONE
        process.clock.advance(60)


@pytest.mark.parametrize("kind", ["ServiceAccount", "Secret", "ConfigMap"])
async def test_no_pods_are_made_that_would_lack_what_was_refused(kind: str) -> None:
    """They could never start; all else of the fleet is made."""
    cluster, process = world()
    cluster.refuse = refused(kind)
    await process.look()
    made = {kind for kind, _ in cluster.names("mail")}
    assert "Deployment" not in made
    assert {"Service", "NetworkPolicy", "PodDisruptionBudget"} <= made
    assert conditions(cluster)["ConfigAccepted"] == ("False", "ApplyFailed")
    assert conditions(cluster)["Progressing"] == ("False", "ApplyFailed")
    cluster.refuse = lambda _: None
    await process.settle()
    assert fixed(cluster) == EXPECTED
    assert conditions(cluster)["ConfigAccepted"] == ("True", "Accepted")


async def test_pods_stay_when_their_new_configuration_is_refused() -> None:
    """A rollout would hang on a ConfigMap that is not there."""
    cluster, process = world()
    await process.settle()
    pods_become_ready(cluster)
    await process.settle()
    before = deployment(cluster)
    cluster.refuse = refused("ConfigMap", detail="quota")
    set_spec(cluster, drain={"delaySeconds": 7})
    await process.look()
    assert deployment(cluster) == before
    assert conditions(cluster)["Ready"] == ("False", "ApplyFailed")
    assert conditions(cluster)["Progressing"] == ("False", "ApplyFailed")


async def test_a_refused_child_keeps_no_others_that_are_wanted_no_longer() -> None:
    """But none of its own kind go, as it may be what takes their place."""
    cluster, process = world(monitoring={"serviceMonitor": {"enabled": True}})
    await process.settle()
    assert ("Service", "alpha-metrics") in cluster.names("mail")
    cluster.refuse = refused("Service")
    set_spec(
        cluster,
        networkPolicy={"enabled": False},
        monitoring={"serviceMonitor": {"enabled": False}},
        service={"type": "NodePort"},
    )
    await process.settle()
    left = cluster.names("mail")
    assert ("NetworkPolicy", "alpha") not in left
    assert ("Service", "alpha-metrics") in left
    cluster.refuse = lambda _: None
    await process.settle()
    assert ("Service", "alpha-metrics") not in cluster.names("mail")


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


@pytest.mark.parametrize(
    ("error", "halt"),
    [
        (ValueError("a defect"), Halt.NONE),
        (Refused("no right", status=403), Halt.NONE),
        (ClusterUnavailable("an outage"), Halt.UNSEEN),
    ],
)
async def test_a_look_that_will_always_fail_holds_no_rollouts(error: Exception, halt: Halt) -> None:
    """After a start nobody begins before each fleet was seen; this one never is."""
    cluster, process = world()
    process.pacing.expect([KEY])

    def fail(*_: str) -> Object:
        raise error

    cluster.before_get = fail
    with pytest.raises(type(error)):
        await process.look()
    assert process.pacing.halt(process.clock.monotonic()) is halt


async def test_a_pod_template_of_another_shape_is_told() -> None:
    """Its schema lets anything through, and a look must come to a status all the same."""
    cluster, process = world(podTemplate={"spec": {"containers": [{"name": {"a": "b"}}]}})
    await process.settle()
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
