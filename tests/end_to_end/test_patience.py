"""Time: how long the gateway waits for clients and for the API, and what it says in the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import BODY, Tenant, letter, recipient
from tests.support.wire import Closed, Wire, eventually

IDLE_SECONDS = 2
DEADLINE_SECONDS = 4
TIMEOUT = "421 4.4.2 Timeout ["
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def brisk(gateways: Gateways) -> Iterator[GatewayProcess]:
    """A gateway with little patience for idle clients, and some for the API."""
    variables = {"CONNECTION_TIMEOUT": str(IDLE_SECONDS), "SMTP_DEADLINE": str(DEADLINE_SECONDS)}
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture
def dial(dial_to: Dialers, brisk: GatewayProcess) -> Dialer:
    """Connections to that gateway."""
    return dial_to(brisk)


@pytest.mark.trap(15)
@pytest.mark.setting("connection_timeout")
def test_trap_15_every_phase_ends_with_421(dial: Dialer, tenant: Tenant, sandbox: Sandbox) -> None:
    """Whoever says nothing more is told so before the connection closes, in each phase."""

    def greeted() -> Wire:
        wire = dial()
        assert wire.reply().startswith("220 ")
        return wire

    def said(wire: Wire, *lines: str) -> Wire:
        for line in lines:
            wire.say(line)
        return wire

    def half_a_command(wire: Wire) -> Wire:
        wire.send(b"MAIL FROM:<a@")
        return wire

    sender, rcpt = f"MAIL FROM:<{tenant.sender}>", f"RCPT TO:<{recipient()}>"
    phases = {
        "greeted": greeted(),
        "EHLO in clear": said(greeted(), "EHLO x"),
        "in TLS": dial(implicit=True).secure(),
        "AUTH under way": said(dial(implicit=True).secure(), "AUTH LOGIN"),
        "half a command": half_a_command(dial(implicit=True).secure()),
        "idle after login": dial.as_tenant(tenant),
        "half a command after login": half_a_command(dial.as_tenant(tenant)),
        "MAIL": said(dial.as_tenant(tenant), sender),
        "RCPT": said(dial.as_tenant(tenant), sender, rcpt),
        "after a mail": said(dial.as_tenant(tenant), sender, rcpt, "RSET"),
    }

    for phase, wire in phases.items():
        assert [reply[: len(TIMEOUT)] for reply in wire.replies()] == [TIMEOUT], phase


@pytest.mark.trap(16)
def test_trap_16_noop_does_not_keep_an_anonymous_session_alive(dial: Dialer) -> None:
    """Whatever is sent before a login, the time for it ends."""
    wire = dial(implicit=True).secure()
    said: list[str] = []

    def ended() -> bool:
        try:
            said.append(wire.say("NOOP"))
        except (Closed, BrokenPipeError, ConnectionResetError):
            return True
        return said[-1].startswith("421")

    eventually(ended, "the session ended", seconds=4 * IDLE_SECONDS)
    assert set(said[:-1]) == {"250 OK"}
    assert said[-1].startswith(TIMEOUT)


@pytest.mark.trap(14)
def test_trap_14_an_honest_slow_upload_passes(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """25 MB in pieces, over more time than a client may be idle: 250, and all of it arrived."""
    wire = dial.as_tenant(tenant)
    line = b"x" * 1022 + b"\r\n"
    wire.begin(tenant.sender, [recipient()])
    wire.send(letter(tenant))
    for _ in range(24):
        wire.send(line * 1024)
        assert wire.is_silent(IDLE_SECONDS * 1.5 / 24)  # no reply, and time passes
    wire.send(b".\r\n")

    assert wire.reply().startswith("250 Ok ")
    (mail,) = sandbox.accepted()
    assert len(mail["body"]["content"]["text"]) == len(BODY) + 1 + 24 * 1024 * 1023


@pytest.mark.trap(14)
def test_trap_14_a_slow_api_within_the_deadline_is_waited_for(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Longer than a client may be idle, shorter than the deadline: 250."""
    sandbox.fault(latency_seconds=IDLE_SECONDS + 1)
    wire = dial.as_tenant(tenant)

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
    assert wire.say("NOOP") == "250 OK"


@pytest.mark.setting("smtp_deadline")
def test_at_the_deadline_the_reply_is_temporary_and_the_call_goes_on(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """One accepted, one still under way: 451 4.4.2; its answer is remembered for the retry."""
    sandbox.fault(recipient="bob@*", latency_seconds=DEADLINE_SECONDS + 1, times=1)
    content = letter(tenant)
    both = ["ada@example.org", "bob@example.org"]
    first = dial.as_tenant(tenant)
    assert first.mail(tenant.sender, both, content).startswith("451 4.4.2 Submission not confirm")

    assert dial.as_tenant(tenant).mail(tenant.sender, both, content).startswith("250 Ok ")
    assert len(sandbox.emails()) == 2
    assert len(sandbox.accepted()) == 2


def test_a_call_without_any_answer_is_not_confirmed(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The API takes the connection and says nothing: 451 4.4.2 at the deadline."""
    sandbox.fault(manner="hang")
    wire = dial.as_tenant(tenant)

    assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("451 4.4.2 ")
    sandbox.clear()  # ends the call, for which a shutdown would wait
