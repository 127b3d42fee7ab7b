"""What never ends takes no memory, what is large stalls nobody, and what does not fit is told."""

from __future__ import annotations

import base64
import subprocess

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import FILE_NAME, Tenant, letter, recipient
from tests.support.wire import Wire, eventually

MEGABYTE = 1024 * 1024
MEMORY_LIMIT = 420 * MEGABYTE


def resident_bytes(gateway: GatewayProcess) -> int:
    """What the process holds, as ``ps`` tells it on every Unix."""
    command = ["ps", "-o", "rss=", "-p", str(gateway.process.pid)]
    return int(subprocess.check_output(command, text=True)) * 1024


def flood(wire: Wire, piece: bytes) -> int:
    """Send the piece again and again until the gateway says something; how many octets."""
    sent = 0
    while wire.is_silent():
        wire.send(piece)
        sent += len(piece)
        assert sent < 100 * MEGABYTE
    return sent


# What begins it, what is repeated, and how many MB may be held: one message, or one header section.
ENDLESS = {
    "line": (b"Subject: x\r\n\r\n", b"x" * 65_536, 40),
    "DATA": (b"Subject: x\r\n\r\n", b"x" * 998 + b"\r\n", 40),
    "header": (b"", b"X-More: " + b"x" * 900 + b"\r\n", 8),
    "field": (b"X-One: ", b" x" * 500 + b"\r\n", 8),
    "header line": (b"X-One: ", b"x" * 65_536, 8),
}


@pytest.mark.trap(17)
@pytest.mark.parametrize("what", ENDLESS)
def test_trap_17_an_endless_message_takes_no_more_than_its_limit(
    dial: Dialer, gateway: GatewayProcess, tenant: Tenant, sandbox: Sandbox, what: str
) -> None:
    """On and on: at twice the size limit it is refused, and no more was held than one message."""
    first, piece, megabytes = ENDLESS[what]
    wire = dial.as_tenant(tenant)
    wire.begin(tenant.sender, [recipient()])
    before = resident_bytes(gateway)
    wire.send(first)
    sent = flood(wire, piece * (65_536 // len(piece)))

    assert sent > 50 * MEGABYTE
    assert resident_bytes(gateway) - before < megabytes * MEGABYTE
    assert [reply[:9] for reply in wire.replies()] == ["552 5.3.4"]
    assert sandbox.emails() == []
    assert gateway.metric("smtp_bytes_in_flight") == 0


@pytest.mark.trap(17)
def test_trap_17_an_endless_command_takes_no_memory(dial: Dialer, gateway: GatewayProcess) -> None:
    """A line of 30 MB before any login is thrown away as it comes."""
    wire = dial(implicit=True).secure()
    before = resident_bytes(gateway)
    for _ in range(30):
        wire.send(b"x" * MEGABYTE)
    wire.send(b"\r\n")

    assert wire.reply().startswith("500 5.5.2 Line too long [")
    assert wire.say("NOOP") == "250 OK"
    assert resident_bytes(gateway) - before < 4 * MEGABYTE


def large_letter(tenant: Tenant, octets: int) -> bytes:
    """A message with a file of about that size once it is in base64."""
    lines = base64.encodebytes(b"%PDF-1.4" + b"z" * (octets * 3 // 4)).replace(b"\n", b"\r\n")
    body = (
        "--b\r\nContent-Type: text/plain\r\n\r\ncrimson heron\r\n--b\r\nContent-Type: "
        f'application/pdf; name="{FILE_NAME}.pdf"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
        f"{lines.decode()}--b--\r\n"
    )
    return letter(tenant, "Content-Type: multipart/mixed; boundary=b", body=body)


@pytest.mark.trap(40)
def test_trap_40_a_large_mail_beside_fifty_small_ones(
    dial: Dialer, gateway: GatewayProcess, tenants: list[Tenant], sandbox: Sandbox
) -> None:
    """While 24 MB are read, converted and sent, the small ones pass and the loop stays free."""
    one, other = tenants[:2]
    large, small = dial.as_tenant(one), dial.as_tenant(other)
    sandbox.fault(recipient="large@*", latency_seconds=1)
    large.begin(one.sender, ["large@example.org"])
    large.send(large_letter(one, 24 * MEGABYTE) + b".\r\n")
    lags = []
    for number in range(50):
        assert small.mail(other.sender, [f"s{number}@example.org"], letter(other))[:3] == "250"
        if number % 10 == 0:
            lags.append(gateway.metric("smtp_event_loop_lag_seconds"))

    assert large.is_silent()
    assert large.reply().startswith("250 Ok ")
    *_, sent = sandbox.accepted()
    (attachment,) = sent["body"]["attachment"]
    assert attachment["filename"] == f"{FILE_NAME}.pdf"
    assert len(base64.b64decode(attachment["content"])) == 8 + 18 * MEGABYTE
    assert max(lags) < 1.0  # generous: other programs share the processors with this test


@pytest.mark.trap(29)
@pytest.mark.setting("smtp_memory_limit")
def test_trap_29_without_memory_it_is_not_ready_and_alive_all_the_same(
    gateways: Gateways, dial_to: Dialers, tenants: list[Tenant], sandbox: Sandbox
) -> None:
    """All room is promised: readiness red, 452 and 421 to clients, liveness green; then free."""
    variables = {"SMTP_MEMORY_LIMIT": str(MEMORY_LIMIT), "MESSAGE_SIZE_LIMIT": str(20 * MEGABYTE)}
    with gateways(variables) as gateway:
        dial = dial_to(gateway)
        one, other, third = (dial.as_tenant(tenant) for tenant in tenants)
        room = int(gateway.metric("smtp_memory_budget_bytes"))
        assert room < MEMORY_LIMIT * 0.75
        # The first mail of a login may take what is there, so two logins take it all.
        for wire, tenant in ((one, tenants[0]), (other, tenants[1])):
            size = min(20 * MEGABYTE, room // 3)
            assert wire.say(f"MAIL FROM:<{tenant.sender}> SIZE={size}") == "250 OK"
            room -= 3 * size
        assert gateway.metric("smtp_bytes_in_flight") > 0
        rest = dial.as_tenant(tenants[2])
        if room >= 65_536:
            assert rest.say(f"MAIL FROM:<{tenants[2].sender}> SIZE={room // 3}") == "250 OK"

        eventually(lambda: gateway.readiness()[0] == 503, "readiness turned red")
        assert gateway.readiness()[1]["faults"] == ["no memory left"]
        assert gateway.is_alive()
        assert third.say(f"MAIL FROM:<{tenants[2].sender}>").startswith("452 4.3.1 Insufficient sy")
        assert dial().replies()[0].startswith("421 4.3.2 Service overloaded, try again later [")

        assert one.say("RSET") == "250 OK"
        eventually(lambda: gateway.readiness()[0] == 200, "readiness turned green")
        said = third.mail(tenants[2].sender, [recipient()], letter(tenants[2]))
        assert said.startswith("250 Ok ")
        other.close()  # a mail that was begun would keep the gateway from ending
        rest.close()
