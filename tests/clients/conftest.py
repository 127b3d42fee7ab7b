"""Gateways for client programs: one for most tests, one that takes few recipients per message."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.mail import Server
from tests.clients.stand import Stand
from tests.support.gateway import Certificates, GatewayProcess, make_certificates, running_gateway
from tests.support.sandbox import PASSWORD, USERNAME, Sandbox

# What clients sent and no log may hold: addresses, secrets, subjects, bodies, file names.
PRIVATE = (
    *("@example", "192.0.2.9", PASSWORD, "not the password", "A plain one", "Your order"),
    *("Bonjour", "Thank you!", "invoice-7", "order.csv", "site-backup"),
)


@pytest.fixture(scope="session")
def clients_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and logs of the gateways below."""
    return tmp_path_factory.mktemp("clients")


@pytest.fixture(scope="session")
def clients_certificates(clients_folder: Path) -> Certificates:
    """The authority that every client is told to trust."""
    return make_certificates(clients_folder)


@pytest.fixture(scope="session")
def clients_gateway(
    running_sandbox: Sandbox, clients_certificates: Certificates, clients_folder: Path
) -> Iterator[GatewayProcess]:
    """The gateway that client programs send through."""
    with running_gateway(running_sandbox.url, clients_certificates, clients_folder) as gateway:
        yield gateway
        log = gateway.log_text()
    assert [word for word in PRIVATE if word in log] == []


@pytest.fixture(scope="session")
def narrow_gateway(
    running_sandbox: Sandbox, clients_certificates: Certificates, clients_folder: Path
) -> Iterator[GatewayProcess]:
    """One that takes two recipients per message."""
    limit = {"SMTP_MAX_RECIPIENTS": "2"}
    folder = clients_folder
    with running_gateway(running_sandbox.url, clients_certificates, folder, limit) as gateway:
        yield gateway


def server_of(gateway: GatewayProcess) -> Server:
    """As its clients know it. A name, because a certificate is checked against one."""
    return Server(
        host="localhost",
        starttls_port=gateway.port,
        tls_port=gateway.tls_port,
        ca=gateway.ca_path,
        user=USERNAME,
        password=PASSWORD,
    )


@pytest.fixture(scope="session")
def clients_server(clients_gateway: GatewayProcess) -> Server:
    """Where client programs connect."""
    return server_of(clients_gateway)


@pytest.fixture
def stand(clients_server: Server, running_sandbox: Sandbox) -> Stand:
    """The gateway in front of a sandbox without faults."""
    running_sandbox.no_faults()
    return Stand(clients_server, running_sandbox)


@pytest.fixture
def narrow_stand(narrow_gateway: GatewayProcess, running_sandbox: Sandbox) -> Stand:
    """The narrow gateway in front of a sandbox without faults."""
    running_sandbox.no_faults()
    return Stand(server_of(narrow_gateway), running_sandbox)
