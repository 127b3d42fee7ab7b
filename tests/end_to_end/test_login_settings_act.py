"""Trap 33 for the settings about logins, waiting for the API, and the form of the log."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import GatewayProcess
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, letter, recipient
from tests.support.wire import Wire, eventually, plain

REFUSED = "535 5.7.8 Authentication credentials invalid"
BACKLOG = 4


@pytest.fixture(scope="module")
def strict(gateways: Gateways) -> Iterator[GatewayProcess]:
    """A gateway that offers PLAIN alone, believes no login, and waits for half a second."""
    variables = {
        "SMTP_AUTH_MECHANISMS": "plain",
        "CAKEMAIL_LOGIN_CACHE": "0",
        "CAKEMAIL_READ_TIMEOUT": "0.5",
        "LOG_FORMAT": "console",
    }
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture
def dial(dial_to: Dialers, strict: GatewayProcess) -> Dialer:
    """Connections to it."""
    return dial_to(strict)


def hello(dial: Dialer) -> Wire:
    """A new connection after EHLO."""
    wire = dial(implicit=True)
    assert wire.reply().startswith("220 ")
    assert wire.say("EHLO client.example").startswith("250-")
    return wire


def log_in(dial: Dialer, username: str, password: str) -> str:
    """The answer to AUTH on a new connection, which then ends."""
    with hello(dial) as wire:
        return wire.say(f"AUTH PLAIN {plain(username, password)}")


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_auth_mechanisms")
def test_trap_33_only_the_mechanisms_that_are_set_are_offered_and_taken(dial: Dialer) -> None:
    """LOGIN is neither announced nor known; PLAIN is."""
    wire = hello(dial)
    lines = wire.say("EHLO client.example").splitlines()
    assert [line for line in lines if "AUTH" in line] == ["250-AUTH PLAIN"]
    assert wire.say("AUTH LOGIN").startswith("504 5.5.4 Unrecognized authentication type [")
    assert wire.say("AUTH PLAIN").startswith("334 ")


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_login_cache")
def test_trap_33_a_login_is_believed_for_as_long_as_set(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """For no time: each connection's password is asked about."""
    for _ in range(2):
        assert log_in(dial, tenant.username, tenant.password).startswith("235 ")
    forms = [each["method"] for each in sandbox.requests("/token")]
    assert forms == ["POST", "POST"]


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_read_timeout")
def test_trap_33_an_answer_is_waited_for_as_long_as_set(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The API takes longer than that, and less than the default: the mail is not confirmed."""
    wire = hello(dial)
    assert wire.say(f"AUTH PLAIN {plain(tenant.username, tenant.password)}").startswith("235 ")
    sandbox.fault(latency_seconds=3, path="/v2/emails")
    said = wire.mail(tenant.sender, [recipient()], letter(tenant))
    assert said.startswith("451 4.4.2 Submission not confirmed, try again [")


@pytest.mark.trap(33)
@pytest.mark.setting("log_format")
def test_trap_33_the_log_has_the_form_that_is_set(strict: GatewayProcess) -> None:
    """A line for people, which is no JSON."""
    (started,) = [line for line in strict.log_text().splitlines() if "gateway started" in line]
    assert "[info     ] gateway started" in started
    with pytest.raises(json.JSONDecodeError):
        json.loads(started)


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_lockout_per_login", "smtp_lockout_per_address", "smtp_lockout_seconds")
def test_trap_33_wrong_passwords_are_borne_as_many_as_set(
    gateways: Gateways, dial_to: Dialers, tenants: list[Tenant], sandbox: Sandbox
) -> None:
    """Two for one user name, three of one address; the lock tells how long it lasts."""
    first, second, *_ = tenants
    variables = {
        "SMTP_LOCKOUT_PER_LOGIN": "2",
        "SMTP_LOCKOUT_PER_ADDRESS": "3",
        "SMTP_LOCKOUT_SECONDS": "77",
    }
    guesses = [(first, "a"), (first, "b"), (first, "c"), (second, "a"), (second, "b")]
    with gateways(variables) as gateway:
        dial = dial_to(gateway)
        said = [log_in(dial, tenant.username, guess) for tenant, guess in guesses]
    locked = "421 4.7.0 Too many different wrong passwords, retry in 77 s"
    verdicts = [reply.partition(" [")[0] for reply in said]
    assert verdicts == [REFUSED, REFUSED, locked, REFUSED, locked]


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_lockout_window")
def test_trap_33_wrong_passwords_count_for_as_long_as_set(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant, sandbox: Sandbox
) -> None:
    """For a moment: each has been forgotten when the next one comes."""
    variables = {"SMTP_LOCKOUT_PER_LOGIN": "1", "SMTP_LOCKOUT_WINDOW": "0.0001"}
    with gateways(variables) as gateway:
        dial = dial_to(gateway)
        said = [log_in(dial, tenant.username, guess) for guess in "abc"]
    assert [reply.partition(" [")[0] for reply in said] == [REFUSED] * 3


@contextmanager
def no_answer() -> Iterator[str]:
    """The URL of a host that answers no further connection: its queue is full.

    A full queue makes Linux drop what asks for a place in it, as a lost host would.
    """
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(BACKLOG):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.trap(33)
@pytest.mark.setting("cakemail_connect_timeout")
def test_trap_33_a_connection_is_waited_for_as_long_as_set(
    gateways: Gateways, dial_to: Dialers, tenant: Tenant
) -> None:
    """For a fifth of a second; the bound is below the five of the default, and far above that."""
    failed = 'smtp_api_latency_seconds_{}{{endpoint="auth",status="error"}}'
    with (
        no_answer() as url,
        gateways({"CAKEMAIL_CONNECT_TIMEOUT": "0.2"}, api_url=url) as gateway,
    ):
        said = log_in(dial_to(gateway), tenant.username, tenant.password)
        assert said.startswith("454 4.7.0 Temporary authentication failure [")
        eventually(lambda: gateway.metric(failed.format("count")) == 1, "the call was counted")
        assert 0.2 <= gateway.metric(failed.format("sum")) < 4.5
