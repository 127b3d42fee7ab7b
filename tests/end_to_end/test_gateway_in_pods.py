"""The image as Kubernetes runs it: real pods, a Service, a Secret; mail in, API requests out."""

from __future__ import annotations

import asyncio
import time

import pytest
import trustme

from tests.cluster.commands import wait_until
from tests.end_to_end.pods import IMAGE, Fleet, mail, serial
from tests.end_to_end.senders import Sender
from tests.support.images import archive_of
from tests.support.kubernetes import Kubernetes
from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.needs("pods", "images", "webhooks"), pytest.mark.timeout(1200)]

_SECRET_SECONDS = 300  # the kubelet looks once a minute by default, and once more to be sure


@pytest.fixture(scope="session")
def image(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Dockerfile.gateway, in every node."""
    archive = archive_of("Dockerfile.gateway", IMAGE, tmp_path_factory.mktemp("images"))
    kubernetes.load_image(archive)
    return IMAGE


@pytest.fixture
def fleet(kubernetes: Kubernetes, namespace: str, image: str) -> Fleet:
    """No pods yet."""
    return Fleet(kubernetes, namespace, trustme.CA(key_type=trustme.KeyType.ECDSA))


async def test_a_mail_to_the_service_reaches_the_api(
    fleet: Fleet, kubernetes: Kubernetes, sandbox: Sandbox
) -> None:
    """STARTTLS with a verified certificate, AUTH, one mail, one request."""
    fleet.deploy(kubernetes.host_url(sandbox.port))
    fleet.wait_until_ready()

    client = await fleet.session()
    await client.send_message(mail(1))
    await client.quit()

    (request,) = await sandbox.arrived(1)
    assert request["accepted"]
    assert request["body"]["email"] == "reader1@example.org"


async def test_deleting_a_pod_loses_no_mail(
    fleet: Fleet, kubernetes: Kubernetes, sandbox: Sandbox
) -> None:
    """Clients that retry as clients do go on with the other pod; nothing is lost or doubled."""
    fleet.deploy(kubernetes.host_url(sandbox.port), replicas=2)
    fleet.wait_until_ready()
    sandbox.fault(latency_seconds=0.2)  # so that mails are under way when the pod is told to end
    sender = Sender(fleet)
    async with asyncio.TaskGroup() as group:
        sending = [group.create_task(sender.keep_sending()) for _ in range(4)]
        await sender.sent_more(20)
        victim = fleet.pods()[0]
        await asyncio.to_thread(fleet.kubectl, "delete", "pod", victim, "--wait=true")
        await sender.sent_more(20)
        sender.stop()
        await asyncio.gather(*sending)

    assert victim not in fleet.pods()
    assert sender.without_doubt(sandbox.counts()) == sender.expected()


async def test_a_renewed_secret_serves_new_sessions_and_cuts_no_old_one(
    fleet: Fleet, kubernetes: Kubernetes, sandbox: Sandbox
) -> None:
    """The kubelet renews the files and the gateway reads them; nothing restarts."""
    fleet.deploy(kubernetes.host_url(sandbox.port))
    fleet.wait_until_ready()
    pods = fleet.pods()
    old = await fleet.session()
    first = serial(old)

    fleet.renew_certificate()

    deadline = time.monotonic() + _SECRET_SECONDS
    while await _serial_of_new_session(fleet) == first:
        assert time.monotonic() < deadline
        await old.noop()
    await old.send_message(mail(1))
    await old.quit()
    assert fleet.pods() == pods
    (request,) = await sandbox.arrived(1)
    assert request["accepted"]


async def test_a_message_limit_beyond_the_pods_memory_is_refused_at_the_start(
    fleet: Fleet, kubernetes: Kubernetes, sandbox: Sandbox
) -> None:
    """The limit of the container is seen, and the log says what does not fit."""
    fleet.deploy(kubernetes.host_url(sandbox.port), MESSAGE_SIZE_LIMIT=str(1 << 30))

    # One look for all of it: the container ends and starts again, and each life has its own log.
    why = "MESSAGE_SIZE_LIMIT: memory has room for"
    wait_until("the log says why", lambda: why in fleet.log(), 180)
    assert not fleet.ready()


async def _serial_of_new_session(fleet: Fleet) -> str:
    client = await fleet.session()
    found = serial(client)
    await client.quit()
    return found
