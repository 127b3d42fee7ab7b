"""The API's host goes away and comes back: what clients hear, and what an orchestrator sees."""

from __future__ import annotations

import pytest

from cakemail_sandbox.server import listen
from tests.end_to_end.conftest import Dialers, Gateways
from tests.support.sandbox import Sandbox, recipients
from tests.support.tenants import Tenant, letter, recipient, seed_of
from tests.support.wire import plain

MANY = sorted(f"r{number}@example.org" for number in range(20))
STATE = 'smtp_circuit_breaker_state{service="email"}'


@pytest.mark.trap(11)
@pytest.mark.trap(29)
def test_trap_11_an_outage_from_its_beginning_to_its_end(
    gateways: Gateways, dial_to: Dialers, tenants: list[Tenant]
) -> None:
    """Never 250; the breaker moves the refusal to MAIL; ready all the time; then all is well."""
    tenant, newcomer = tenants[:2]
    with Sandbox(seed_of(tenants)) as host, gateways(api_url=host.url) as gateway:
        dial = dial_to(gateway)
        wire = dial.as_tenant(tenant)
        assert wire.mail(tenant.sender, [recipient()], letter(tenant)).startswith("250 Ok ")
        assert gateway.metric(STATE) == 0
        host.stop()

        content = letter(tenant)
        assert wire.mail(tenant.sender, MANY, content).startswith("451 4.4.1 Service not reachab")
        assert gateway.metric(STATE) == 2
        refused = wire.say(f"MAIL FROM:<{tenant.sender}>")
        assert refused.startswith("451 4.3.2 Service temporarily unavailable [")
        stranger = dial(implicit=True).secure()
        said = stranger.say(f"AUTH PLAIN {plain(newcomer.username, newcomer.password)}")
        assert said.startswith("454 4.7.0 Temporary authentication failure [")
        status, body = gateway.readiness()
        assert (status, body["faults"], body["details"]["api"]) == (200, [], "open")

        with Sandbox(seed_of(tenants), listener=listen("127.0.0.1", host.port)) as again:
            # The host has forgotten all logins: temporary, and the next AUTH makes a new one.
            assert wire.mail_when_taken(tenant.sender, MANY, content)[0] == "4"
            fresh = dial.as_tenant(tenant)
            assert fresh.mail_when_taken(tenant.sender, MANY, content).startswith("250 Ok ")
            assert sorted(recipients(again.accepted())) == MANY
            assert gateway.metric(STATE) == 0
            assert gateway.readiness()[1]["details"]["api"] == "closed"


@pytest.mark.trap(7)
def test_trap_7_a_host_without_an_address_is_454(
    gateways: Gateways, dial_to: Dialers, tenants: list[Tenant]
) -> None:
    """By password and by token: never 535, and the gateway is ready all the same."""
    tenant = tenants[0]
    with gateways(api_url="http://api.invalid") as gateway:
        wire = dial_to(gateway)(implicit=True).secure()
        for pair in ((tenant.username, tenant.password), ("apikey", tenant.token)):
            assert wire.say(f"AUTH PLAIN {plain(*pair)}").startswith("454 4.7.0 ")
        assert gateway.readiness()[0] == 200
