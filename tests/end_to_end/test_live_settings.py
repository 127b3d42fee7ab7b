"""Settings that change while sessions live, and those that only a start can change."""

from __future__ import annotations

import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Dialer, Dialers, Gateways
from tests.support.gateway import Certificates, GatewayProcess, free_ports
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, letter
from tests.support.wire import eventually, plain


@pytest.fixture(scope="module")
def live_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that changes."""
    path = tmp_path_factory.mktemp("live") / "live.env"
    path.write_text("SMTP_MAX_RECIPIENTS=2\n", encoding="ascii")
    return path


@pytest.fixture(scope="module")
def extra_tls_port() -> int:
    """One more implicit TLS port."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def gateway(gateways: Gateways, live_path: Path, extra_tls_port: int) -> Iterator[GatewayProcess]:
    """A gateway for TLS 1.3 with a live file."""
    variables = {
        "SMTP_LIVE_PATH": str(live_path),
        "SMTPS_EXTRA_PORTS": str(extra_tls_port),
        "SMTP_MESSAGES_PER_CONNECTION": "2",
        "TLS_MIN_VERSION": "1.3",
    }
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture
def dial(dial_to: Dialers, gateway: GatewayProcess) -> Dialer:
    """Connections to it."""
    return dial_to(gateway)


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_live_path")
def test_trap_33_a_changed_live_file_reaches_new_sessions_and_cuts_none(
    gateway: GatewayProcess, dial: Dialer, tenant: Tenant, live_path: Path
) -> None:
    """No restart; a session keeps the limits it began with; a bad file changes nothing."""
    before = dial.as_tenant(tenant)
    assert "LIMITS RCPTMAX=2" in before.say("EHLO x")
    hash_before = gateway.metric("smtp_live_hash")

    live_path.write_text("SMTP_MAX_RECIPIENTS=1\nLOG_LEVEL=WARNING\n", encoding="ascii")
    eventually(lambda: gateway.metric("smtp_live_hash") != hash_before, "the file was taken")
    assert "LIMITS RCPTMAX=1" in dial.as_tenant(tenant).say("EHLO x")
    assert "LIMITS RCPTMAX=2" in before.say("EHLO x")

    live_path.write_text("SMTP_MAX_RECIPIENTS=many\n", encoding="ascii")
    eventually(lambda: gateway.metric("smtp_live_reload_failures_total") == 1, "it was refused")
    assert "LIMITS RCPTMAX=1" in dial.as_tenant(tenant).say("EHLO x")
    assert before.say("NOOP") == "250 OK"
    (line,) = gateway.log_lines("live settings refused")
    assert line["problems"] == ["SMTP_MAX_RECIPIENTS: must be a whole number"]


@pytest.mark.trap(33)
def test_trap_33_what_the_live_file_says_of_logins_holds_from_the_next_one_on(
    gateway: GatewayProcess, dial: Dialer, tenant: Tenant, sandbox: Sandbox, live_path: Path
) -> None:
    """Mechanisms, lock-out and how long a login is believed."""
    dial.as_tenant(tenant)
    content = "SMTP_AUTH_MECHANISMS=PLAIN\nSMTP_LOCKOUT_PER_LOGIN=1\nCAKEMAIL_LOGIN_CACHE=0\n"
    live_path.write_text(content, encoding="ascii")
    wanted = int(hashlib.sha256(content.encode()).hexdigest()[:12], 16)
    eventually(lambda: gateway.metric("smtp_live_hash") == wanted, "the file was taken")

    said = []
    for password in (tenant.password, "a", "b"):
        wire = dial(implicit=True)
        wire.reply()
        assert "250-AUTH PLAIN" in wire.say("EHLO x").splitlines()
        said.append(wire.say(f"AUTH PLAIN {plain(tenant.username, password)}"))
    assert [reply[:3] for reply in said] == ["235", "535", "421"]
    assert len(sandbox.requests("/token")) == 3
    live_path.write_text("SMTP_MAX_RECIPIENTS=1\n", encoding="ascii")
    eventually(lambda: gateway.metric("smtp_live_hash") != wanted, "the rest has defaults again")


@pytest.mark.trap(33)
@pytest.mark.setting("smtp_messages_per_connection")
def test_trap_33_a_connection_carries_as_many_messages_as_set(
    dial: Dialer, tenant: Tenant, sandbox: Sandbox
) -> None:
    """The third MAIL on one connection hears 421."""
    wire = dial.as_tenant(tenant)
    for name in ("a", "b"):
        reply = wire.mail(tenant.sender, [f"{name}@example.org"], letter(tenant))
        assert reply.startswith("250 Ok ")
    assert wire.say(f"MAIL FROM:<{tenant.sender}>").startswith("421 4.7.0 Too many messages")
    assert len(sandbox.accepted()) == 2


@pytest.mark.trap(33)
@pytest.mark.setting("smtps_extra_ports")
def test_trap_33_every_implicit_tls_port_serves(dial: Dialer, extra_tls_port: int) -> None:
    """The further one greets inside TLS as the first does."""
    assert dial(port=extra_tls_port, implicit=True).reply() == "220 localhost ESMTP"


@pytest.mark.trap(33)
@pytest.mark.setting("tls_min_version")
def test_trap_33_tls_is_not_older_than_set(
    gateway: GatewayProcess, certificates: Certificates
) -> None:
    """A client that knows nothing newer than TLS 1.2 has no handshake."""
    old = ssl.create_default_context(cafile=certificates.ca_path)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=5) as sock,
        pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|protocol version"),
    ):
        old.wrap_socket(sock, server_hostname="localhost")
