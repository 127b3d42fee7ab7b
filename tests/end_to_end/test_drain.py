"""SIGTERM: nobody's mail is lost or doubled, and 421 stands only between transactions."""

from __future__ import annotations

import signal
import time

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, letter, recipient
from tests.support.wire import Wire, eventually

STOPPING = "421 4.3.2 Service shutting down ["


def terminate(gateway: GatewayProcess) -> None:
    """SIGTERM; returns when readiness says so."""
    gateway.process.send_signal(signal.SIGTERM)
    eventually(lambda: gateway.readiness()[0] == 503, "readiness turned red")
    assert "draining" in gateway.readiness()[1]["faults"]


def ends_with_421(wire: Wire) -> bool:
    """Whether the last word is 421, and the only one that was left."""
    return [reply[: len(STOPPING)] for reply in wire.replies()] == [STOPPING]


def refuses_connections(dial: Dialer) -> bool:
    """Whether nobody listens any more."""
    try:
        dial().close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.trap(29)
@pytest.mark.trap(30)
@pytest.mark.trap(31)
def test_trap_30_sessions_in_every_phase_end_well(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Idle ones hear 421; a mail begun, loading or waiting is finished first; exit status 0."""
    sandbox.fault(recipient="late@*", latency_seconds=1.5)
    with gateways() as gateway:
        dial = dial_to(gateway)
        idle = [dial.as_tenant(tenant), dial(implicit=True).secure(), dial()]
        assert idle[-1].reply().startswith("220 ")
        begun = dial.as_tenant(tenant)
        assert begun.say(f"MAIL FROM:<{tenant.sender}>") == "250 OK"
        loading = dial.as_tenant(tenant)
        loading.begin(tenant.sender, ["loading@example.org"])
        content = letter(tenant)
        loading.send(content[:50])
        waiting, gone = dial.as_tenant(tenant), dial.as_tenant(tenant)
        for wire, name in ((waiting, "late"), (gone, "late")):
            wire.begin(tenant.sender, [recipient(name)])
            wire.send(letter(tenant) + b".\r\n")
        eventually(lambda: len(sandbox.emails()) == 2, "two calls began")
        gone.reset()

        terminate(gateway)
        gateway.process.send_signal(signal.SIGTERM)  # a second one changes nothing

        assert all(ends_with_421(wire) for wire in idle)
        eventually(lambda: refuses_connections(dial), "the ports closed")
        assert begun.go_on(["begun@example.org"], letter(tenant)).startswith("250 Ok ")
        assert ends_with_421(begun)
        loading.send(content[50:] + b".\r\n")
        assert loading.reply().startswith("250 Ok ")
        assert ends_with_421(loading)
        assert waiting.reply().startswith("250 Ok ")
        assert ends_with_421(waiting)
        assert gateway.stop() == 0

    arrived = sorted(each["recipient"] for each in sandbox.accepted())
    names = ["begun", "late", "late", "loading"]
    assert arrived == [recipient(name) for name in names]
    assert gateway.log_lines("gateway stopped")[0]["cut"] == 0


@pytest.mark.trap(31)
def test_trap_31_refusals_and_pipelined_mails_keep_their_own_answers(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """While draining a dot is answered by its outcome, and only the MAIL behind it by 421."""
    sandbox.fault(recipient="late@*", latency_seconds=2, status=503)
    with gateways() as gateway:
        wire = dial_to(gateway).as_tenant(tenant)
        wire.begin(tenant.sender, ["late@example.org"])
        wire.send(letter(tenant) + b".\r\n" + f"MAIL FROM:<{tenant.sender}>\r\nNOOP\r\n".encode())
        eventually(lambda: len(sandbox.emails()) == 1, "the call began")

        terminate(gateway)

        assert wire.reply().startswith("451 4.3.2 Service temporarily unavailable [")
        assert ends_with_421(wire)
        assert gateway.stop() == 0
    assert sandbox.accepted() == []


@pytest.mark.trap(30)
@pytest.mark.setting("smtp_pre_stop")
def test_trap_30_connections_are_taken_until_balancers_know(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """For the pre-stop time a new client still sends its mail; then the port closes and it ends."""
    with gateways({"SMTP_PRE_STOP": "2"}) as gateway:
        dial = dial_to(gateway)
        terminate(gateway)
        began = time.monotonic()

        late = dial.as_tenant(tenant)
        assert late.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
        assert ends_with_421(late)
        assert time.monotonic() - began < 4.5  # the default is 5
        assert refuses_connections(dial)
        assert gateway.stop() == 0
    assert len(sandbox.accepted()) == 1


@pytest.mark.trap(30)
@pytest.mark.setting("smtp_grace")
def test_trap_30_an_upload_that_never_ends_is_cut_in_time(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """At grace less deadline less five seconds: 421, nothing was taken, exit status 0."""
    with gateways({"SMTP_GRACE": "11", "SMTP_DEADLINE": "1"}) as gateway:
        wire = dial_to(gateway).as_tenant(tenant)
        wire.begin(tenant.sender, [recipient()])
        wire.send(letter(tenant))
        terminate(gateway)

        assert ends_with_421(wire)
        assert gateway.stop() == 0
    assert sandbox.emails() == []
    assert gateway.log_lines("gateway stopped")[0]["cut"] == 1
