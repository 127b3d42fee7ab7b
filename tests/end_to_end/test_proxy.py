"""The PROXY protocol: only named balancers announce a client, before TLS of either kind."""

from __future__ import annotations

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, letter, recipient
from tests.support.wire import eventually


def clients(gateway: GatewayProcess) -> list[str]:
    """Client addresses of the sessions that have ended."""
    return [line["client"] for line in gateway.log_lines("session")]


@pytest.mark.trap(27)
@pytest.mark.setting("smtp_proxy_peers")
def test_trap_27_a_header_from_outside_the_list_is_closed_unanswered(
    gateways: Gateways, dial_to: Dialers
) -> None:
    """Nobody but the named balancers may announce an address, or come without a header."""
    with gateways({"SMTP_PROXY_PEERS": "192.0.2.0/24"}) as gateway:
        dial = dial_to(gateway)
        assert dial(announced="203.0.113.9").closes()
        assert dial().closes()
        eventually(lambda: len(clients(gateway)) == 2, "both sessions ended")
        assert clients(gateway) == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.trap(27)
def test_trap_27_a_balancer_announces_clients_on_both_kinds_of_port(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """Without a list of ports all of them; implicit TLS begins behind the header."""
    with gateways({"SMTP_PROXY_PEERS": "127.0.0.0/8"}) as gateway:
        dial = dial_to(gateway)
        for number, implicit in enumerate((False, True)):
            wire = dial(implicit=implicit, announced=f"203.0.113.{number}")
            wire.log_in(tenant.username, tenant.password)
            assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
            assert wire.say("QUIT").startswith("221 ")
        with dial() as silent:  # named, and no header: closed unanswered as well
            silent.send(b"EHLO client.example\r\n")
            assert silent.closes()
        eventually(lambda: len(clients(gateway)) == 3, "the sessions ended")
        assert clients(gateway)[:2] == ["203.0.113.0", "203.0.113.1"]
    assert len(sandbox.accepted()) == 2


@pytest.mark.trap(27)
@pytest.mark.setting("smtp_proxy_ports")
def test_trap_27_where_it_is_off_the_header_is_a_bad_command(
    dial: Dialer, gateway: GatewayProcess, proxied_port: int
) -> None:
    """Other ports of the same gateway take no header, and change no address for one."""
    before = len(clients(gateway))
    wire = dial(announced="203.0.113.77")
    assert wire.reply().startswith("220 ")
    assert wire.reply().startswith("5")
    wire.close()
    eventually(lambda: len(clients(gateway)) > before, "the session ended")
    assert "203.0.113.77" not in clients(gateway)
