"""What becomes of a fleet's certificate over years, and when something stands in its way."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from smtp_operator.cluster.api import Object
from smtp_operator.reconcile import After
from tests.support.certificates import user_pair
from tests.support.cluster_double import ClusterDouble, refused
from tests.support.fleet_world import KEY, Process, conditions, pods_become_ready, world

FORTY_YEARS = timedelta(days=14_610)


def held(cluster: ClusterDouble, secret: str, key: str = "tls.crt") -> bytes:
    """Of a Secret of the fleet."""
    return base64.b64decode(cluster.read("Secret", KEY.namespace, secret)["data"][key])


def tls_secret(name: str, pair: Mapping[str, bytes]) -> Object:
    """As a user makes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": KEY.namespace, "name": name},
        "data": {key: base64.b64encode(value).decode() for key, value in pair.items()},
    }


def certificate_ends(process: Process) -> float | None:
    """What the operator's metrics say."""
    labels = {"namespace": KEY.namespace, "name": KEY.name}
    series = "smtp_operator_certificate_not_after_seconds"
    return process.metrics.registry.get_sample_value(series, labels)


async def through(process: Process, cluster: ClusterDouble, span: timedelta) -> tuple[int, int]:
    """Look whenever the operator asks for it; how many leaves and authorities there were."""
    leaves, authorities = [b""], [b""]
    end = process.clock.utc() + span
    for _ in range(1000):
        result = await process.look()
        for row, secret in ((leaves, "alpha-tls"), (authorities, "alpha-ca")):
            if (now := held(cluster, secret)) != row[-1]:
                row.append(now)
        assert isinstance(result, After)
        process.clock.advance(result.seconds)
        if process.clock.utc() > end:
            return len(leaves) - 1, len(authorities) - 1
    raise AssertionError("it looks again and again")


@pytest.mark.parametrize(
    ("tls", "leaves", "authorities"),
    [
        ({"validityDays": 90}, 244, 3),
        ({"validityDays": 3600}, 5, 3),
        ({"validityDays": 3650}, 5, 3),
        ({"validityDays": 3650, "renewBeforeDays": 1825}, 9, 3),
    ],
    ids=["usual", "long", "longest", "longest, renewed early"],
)
async def test_leaves_follow_each_other_under_an_authority_that_lasts(
    tls: dict[str, int], leaves: int, authorities: int
) -> None:
    """However long they are valid: in forty years clients have to trust another one twice."""
    cluster, process = world(tls={"selfSigned": {}, **tls})
    await process.look()
    pods_become_ready(cluster)
    assert await through(process, cluster, FORTY_YEARS) == (leaves, authorities)


@pytest.mark.parametrize(
    "refuses",
    [refused("Secret"), refused("Deployment", status=422, detail="spec.template: bad")],
    ids=["Secret", "pod template"],
)
async def test_a_refused_certificate_is_tried_again_after_a_minute(
    refuses: Callable[[Object], None],
) -> None:
    """Not each second with new keys: a quota, or a policy, is seldom raised at once."""
    cluster, process = world(podTemplate={"spec": {"hostname": "x"}})
    cluster.refuse = refuses
    assert await process.look() == After(60.0)
    assert ("Secret", "alpha-tls") not in cluster.names("mail")
    cluster.refuse = lambda _: None
    await process.look()
    assert conditions(cluster)["TLSReady"] == ("True", "Issued")


@pytest.mark.parametrize("secret", ["alpha-tls", "alpha-ca"])
async def test_an_authority_s_certificate_taken_out_of_a_secret_is_put_back(secret: str) -> None:
    """Clients and their administrators look for it there."""
    cluster, process = world()
    await process.settle()
    before = cluster.read("Secret", KEY.namespace, secret)["data"]
    cluster.edit("Secret", KEY.namespace, secret, lambda body: body["data"].pop("ca.crt"))
    await process.settle()
    assert cluster.read("Secret", KEY.namespace, secret)["data"] == before


async def test_what_others_add_to_a_certificate_s_secret_stays_theirs() -> None:
    """It is neither written nor removed."""
    cluster, process = world()
    await process.settle()

    def add(body: Object) -> None:
        body["data"]["truststore.jks"] = "eA=="

    cluster.edit("Secret", KEY.namespace, "alpha-tls", add)
    cluster.writes.clear()
    await process.settle()
    assert [write for write in cluster.writes if write[1] == "Secret"] == []
    assert held(cluster, "alpha-tls", "truststore.jks") == b"x"


async def test_the_series_of_a_certificate_goes_with_it() -> None:
    """Else an alert would tell of the end of what nobody has any more."""
    cluster, process = world(tls={"secretName": "bought"})
    await process.settle()
    assert certificate_ends(process) is None
    pair = user_pair(["a.example"], process.clock.utc(), days=1)
    cluster.create(tls_secret("bought", pair))
    await process.settle()
    assert certificate_ends(process) == 1795593600.0  # 2026-11-25T08:00:00Z
    cluster.remove("Secret", KEY.namespace, "bought")
    await process.settle()
    assert conditions(cluster)["TLSReady"] == ("False", "SecretNotFound")
    assert certificate_ends(process) is None
