"""A fleet in its days of work: new certificates, another image, and one that does not exist.

``test_fleet`` has a gateway's life from apply to delete; here its users change what it stands on.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiosmtplib
import pytest
import trustme

from tests.cluster.commands import wait_until
from tests.end_to_end.fleet import InstalledOperator, Mailbox, ManagedFleet, SandboxPod
from tests.end_to_end.operations import changed
from tests.end_to_end.pods import SMTP_PORT, mail, serial
from tests.end_to_end.senders import Sender
from tests.support.kubernetes import Kubernetes

pytestmark = [pytest.mark.needs("pods", "images", "dns"), pytest.mark.timeout(1200)]

Lives = list[tuple[str, int]]

_MOUNT_SECONDS = 300  # the kubelet looks once a minute by default, and once more to be sure
_RESYNC_SECONDS = 10  # instead of five minutes, after which Secrets are read again
_SEEN_SECONDS = 120
_ROLLED_SECONDS = 400


@pytest.fixture(scope="module", autouse=True)
def _prompt(operator: InstalledOperator) -> Iterator[None]:
    """It looks at Secrets often, so that nobody has to wait for minutes."""
    with changed(operator, RESYNC_SECRETS_SECONDS=str(_RESYNC_SECONDS)):
        yield


@pytest.fixture(scope="module", autouse=True)
def misspelt(kubernetes: Kubernetes, _prompt: None) -> Iterator[tuple[ManagedFleet, Lives]]:
    """A fleet with an image that does not exist, and the pods that it had before.

    A rollout has a minute at the least: it passes while other tests of this module run.
    """
    with kubernetes.namespace() as namespace:
        SandboxPod(kubernetes, namespace).start()
        fleet = ManagedFleet(kubernetes, namespace)
        fleet.apply(rollout={"progressDeadlineSeconds": 60})
        fleet.wait_for("Ready")
        lives = fleet.lives()
        fleet.patch({"image": "registry.invalid/no-such-gateway:1"})
        fleet.wait_for("Progressing", _SEEN_SECONDS)
        yield fleet, lives


# -- certificates


async def test_a_due_certificate_is_renewed_and_no_session_is_cut(
    fleet: ManagedFleet, sandbox_pod: SandboxPod
) -> None:
    """A longer notice makes it due; the same authority signs, the same pods serve it."""
    fleet.apply(replicas=2, tls={"selfSigned": {}, "validityDays": 20, "renewBeforeDays": 10})
    fleet.wait_for("Ready")
    lives, mailbox = fleet.lives(), fleet.mailbox()
    old = await mailbox.session()

    fleet.patch({"tls": {"validityDays": 90, "renewBeforeDays": 30}})

    ends = await _served_instead(fleet, mailbox, old)
    await old.send_message(mail(1))
    await old.quit()
    (request,) = sandbox_pod.emails(1, wait_seconds=40)
    assert request["accepted"]
    assert fleet.lives() == lives
    assert ends == {_end_shown(fleet)}


async def test_a_users_new_certificate_is_served_and_shown(
    fleet: ManagedFleet, sandbox_pod: SandboxPod
) -> None:
    """Applied over the old one: the kubelet brings it to the pods, the next look to the status."""
    authority, now = trustme.CA(), datetime.now(UTC).replace(microsecond=0)
    fleet.kubernetes.apply(_certificate(fleet, authority, now + timedelta(days=50)))
    fleet.apply(replicas=2, tls={"secretName": "our-certificate"})
    fleet.wait_for("Ready")
    assert _end_shown(fleet) == now + timedelta(days=50)
    lives, trust = fleet.lives(), ssl.create_default_context()
    authority.configure_trust(trust)
    mailbox = Mailbox(fleet.address(), trust, fleet.server_name)
    old = await mailbox.session()

    fleet.kubernetes.apply(_certificate(fleet, authority, now + timedelta(days=80)))

    assert await _served_instead(fleet, mailbox, old) == {now + timedelta(days=80)}
    await old.send_message(mail(1))
    await old.quit()
    (request,) = sandbox_pod.emails(1, wait_seconds=40)
    assert request["accepted"]
    assert fleet.lives() == lives
    shown = now + timedelta(days=80)
    wait_until("the status says so", lambda: _end_shown(fleet) == shown, _SEEN_SECONDS)


def test_a_deleted_certificate_is_made_anew_by_the_same_authority(fleet: ManagedFleet) -> None:
    """Noticed at the next look, as Secrets are not watched; who trusted it need do nothing."""
    fleet.apply(replicas=0)
    fleet.wait_for("TLSReady")
    before = fleet.kubernetes.get("secret/mail-tls", fleet.namespace)["data"]

    fleet.kubectl("delete", "secret/mail-tls")
    wait_until("it is there again", lambda: fleet.there("secret/mail-tls"), _SEEN_SECONDS)

    after = fleet.kubernetes.get("secret/mail-tls", fleet.namespace)["data"]
    assert after["ca.crt"] == before["ca.crt"]
    assert after["tls.crt"] != before["tls.crt"]
    fleet.wait_for("TLSReady")


def _certificate(fleet: ManagedFleet, authority: trustme.CA, end: datetime) -> dict[str, Any]:
    issued = authority.issue_cert(fleet.server_name, not_after=end)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "our-certificate", "namespace": fleet.namespace},
        "stringData": {"tls.crt": chain, "tls.key": issued.private_key_pem.bytes().decode()},
    }


async def _served_instead(
    fleet: ManagedFleet, mailbox: Mailbox, old: aiosmtplib.SMTP
) -> set[datetime]:
    """Wait until no pod serves what an old session has, and return when the new ones end."""
    deadline = time.monotonic() + _MOUNT_SECONDS
    while True:
        served = [await _presented(fleet, mailbox, pod) for pod in fleet.pods()]
        if serial(old) not in [number for number, _ in served]:
            return {end for _, end in served}
        assert time.monotonic() < deadline
        await old.noop()


async def _presented(
    fleet: ManagedFleet, mailbox: Mailbox, pod: dict[str, Any]
) -> tuple[str, datetime]:
    """Serial number and end of what one pod serves."""
    target = f"pod/{pod['metadata']['name']}"
    address = fleet.kubernetes.reach(target, SMTP_PORT, fleet.namespace)
    client = await Mailbox(address, mailbox.trust, mailbox.server_name).session()
    transport = client.transport
    assert transport is not None
    end = transport.get_extra_info("peercert")["notAfter"]
    number = serial(client)
    await client.quit()
    return number, datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC)


def _end_shown(fleet: ManagedFleet) -> datetime:
    return datetime.fromisoformat(fleet.observed()["status"]["tls"]["notAfter"])


# -- images


async def test_another_image_is_rolled_out_and_loses_no_mail(
    fleet: ManagedFleet, sandbox_pod: SandboxPod, next_gateway: str
) -> None:
    """Clients keep sending; each mail arrives once, and the status follows."""
    fleet.apply(replicas=2)
    fleet.wait_for("Ready")
    assert fleet.observed()["status"]["image"] != next_gateway
    sender = Sender(fleet.mailbox())
    async with asyncio.TaskGroup() as group:
        sending = [group.create_task(sender.keep_sending()) for _ in range(4)]
        await sender.sent_more(20)
        await asyncio.to_thread(fleet.patch, {"image": next_gateway})
        await asyncio.to_thread(
            wait_until,
            "only new pods",
            lambda: _images(fleet) == [next_gateway] * 2,
            _ROLLED_SECONDS,
            1,
        )
        await sender.sent_more(20)
        sender.stop()
        await asyncio.gather(*sending)

    assert sender.without_doubt(sandbox_pod.counts()) == sender.expected()
    fleet.wait_for("Progressing=False", _SEEN_SECONDS)
    fleet.wait_for("Ready", _SEEN_SECONDS)
    assert fleet.observed()["status"]["image"] == next_gateway


async def test_an_image_that_does_not_exist_stops_nothing_and_is_taken_back(
    kubernetes: Kubernetes, misspelt: tuple[ManagedFleet, Lives]
) -> None:
    """The old pods serve, the conditions say what to do, and doing that is enough."""
    fleet, lives = misspelt
    fleet.wait_for("Degraded", _ROLLED_SECONDS)

    degraded = fleet.condition("Degraded")
    assert degraded["reason"] == "RolloutFailed"
    assert (
        "the old ones serve on; correct the spec; to see why: kubectl describe pods"
        in (degraded["message"])
    )
    assert fleet.condition("Progressing")["reason"] == "RolloutFailed"
    assert fleet.condition("Ready")["status"] == "True"
    client = await fleet.mailbox().session()
    await client.send_message(mail(1))
    await client.quit()
    fleet.patch({"image": None})
    fleet.wait_for("Degraded=False", _SEEN_SECONDS)
    fleet.wait_for("Progressing=False", _SEEN_SECONDS)
    wait_until("the old pods are all", lambda: fleet.lives() == lives, _SEEN_SECONDS)
    (request,) = SandboxPod(kubernetes, fleet.namespace).emails(1, wait_seconds=40)
    assert request["accepted"]


def _images(fleet: ManagedFleet) -> list[str]:
    return [pod["spec"]["containers"][0]["image"] for pod in fleet.pods()]
