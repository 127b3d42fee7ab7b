"""The running gateway in front of the running sandbox, and customers that nobody has met before.

Gateways live for the whole run, because starting one costs more than most tests. When one ends, its
log is searched for whatever customers wrote.

The operator of a whole cluster is there for the tests of this package and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from smtp_gateway.telemetry import Event
from tests.end_to_end.fleet import InstalledOperator, ManagedFleet, SandboxPod
from tests.end_to_end.operations import (
    NEXT_GATEWAY,
    NEXT_OPERATOR,
    load_next_gateway,
    load_next_operator,
)
from tests.support.gateway import (
    Certificates,
    GatewayProcess,
    free_ports,
    make_certificates,
    running_gateway,
)
from tests.support.kubernetes import Kubernetes
from tests.support.sandbox import Sandbox
from tests.support.tenants import Tenant, new_tenant, private_words, seed_of
from tests.support.wire import Wire

Gateways = Callable[..., AbstractContextManager[GatewayProcess]]


def defects(gateway: GatewayProcess) -> list[dict[str, Any]]:
    """What was logged as a defect of its own; clients and the API do not cause these."""
    events = (Event.TASK_FAILED, Event.HOOK_FAILED, Event.LIBRARY)
    return [line for event in events for line in gateway.log_lines(event)]


class Dialer:
    """Makes connections to one gateway, and closes those that a test leaves open."""

    def __init__(self, stack: ExitStack, gateway: GatewayProcess) -> None:
        self._stack = stack
        self.gateway = gateway

    def __call__(self, *, port: int = 0, implicit: bool = False, announced: str = "") -> Wire:
        """A new connection, nothing said yet.

        Args:
            port: instead of the usual one of the kind.
            implicit: TLS from the first octet.
            announced: client address for the PROXY protocol.
        """
        chosen = port or (self.gateway.tls_port if implicit else self.gateway.port)
        context = self.gateway.client_context()
        wire = Wire(chosen, context, implicit=implicit, announced=announced)
        return self._stack.enter_context(wire)

    def as_tenant(self, tenant: Tenant) -> Wire:
        """A new connection, logged in by password over implicit TLS."""
        return self(implicit=True).log_in(tenant.username, tenant.password)


Dialers = Callable[[GatewayProcess], Dialer]


@pytest.fixture
def dial_to() -> Iterator[Dialers]:
    """Connections to any gateway."""
    with ExitStack() as stack:
        yield lambda gateway: Dialer(stack, gateway)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates and logs."""
    return tmp_path_factory.mktemp("end_to_end")


@pytest.fixture(scope="session")
def certificates(place: Path) -> Certificates:
    """The authority that clients trust, and what gateways serve with."""
    return make_certificates(place)


@pytest.fixture(scope="session")
def gateways(running_sandbox: Sandbox, certificates: Certificates, place: Path) -> Gateways:
    """Starts a gateway with further settings, for the time of a block."""

    @contextmanager
    def start(
        variables: Mapping[str, str] | None = None, *, api_url: str = ""
    ) -> Iterator[GatewayProcess]:
        url = api_url or running_sandbox.url
        with running_gateway(url, certificates, place, variables) as gateway:
            yield gateway
        assert private_words(gateway.log_text()) == []
        assert defects(gateway) == []

    return start


@pytest.fixture(scope="session")
def proxied_port() -> int:
    """Where clients may announce any address by the PROXY protocol."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def gateway(gateways: Gateways, proxied_port: int) -> Iterator[GatewayProcess]:
    """The gateway for most tests; it logs all that it ever would."""
    variables = {
        "LOG_LEVEL": "DEBUG",
        "SMTP_EXTRA_PORTS": str(proxied_port),
        "SMTP_PROXY_PEERS": "127.0.0.1",
        "SMTP_PROXY_PORTS": str(proxied_port),
    }
    with gateways(variables) as gateway:
        yield gateway


@pytest.fixture
def dial(dial_to: Dialers, gateway: GatewayProcess) -> Dialer:
    """Connections to the gateway for most tests."""
    return dial_to(gateway)


@pytest.fixture
def tenants() -> list[Tenant]:
    """Three customers whom no gateway has met."""
    return [new_tenant() for _ in range(3)]


@pytest.fixture
def tenant(tenants: list[Tenant], sandbox: Sandbox) -> Tenant:
    """The first of them; the sandbox knows it."""
    return tenants[0]


@pytest.fixture
def sandbox(running_sandbox: Sandbox, tenants: list[Tenant]) -> Sandbox:
    """The sandbox with these customers, with nothing captured and no faults."""
    running_sandbox.clear(seed_of(tenants))
    return running_sandbox


# -- managed fleets, in a cluster


@pytest.fixture(scope="package")
def operator(
    kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[InstalledOperator]:
    """The published base, applied; two operators, one of which leads. Gone after this package.

    It serves the whole cluster, so it would answer for objects of other tests too.
    """
    installed = InstalledOperator.install(kubernetes, tmp_path_factory.mktemp("images"))
    yield installed
    installed.remove()


@pytest.fixture(scope="package")
def next_operator(
    kubernetes: Kubernetes, operator: InstalledOperator, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An image of the next version of the operator, which nobody runs yet."""
    assert operator.pods()
    load_next_operator(kubernetes, tmp_path_factory.mktemp("images"))
    return NEXT_OPERATOR


@pytest.fixture(scope="package")
def next_gateway(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of the gateway under another name."""
    load_next_gateway(kubernetes, tmp_path_factory.mktemp("images"))
    return NEXT_GATEWAY


@pytest.fixture
def sandbox_pod(kubernetes: Kubernetes, namespace: str) -> SandboxPod:
    """In the test's namespace, running."""
    pod = SandboxPod(kubernetes, namespace)
    pod.start()
    return pod


@pytest.fixture
def fleet(
    kubernetes: Kubernetes, namespace: str, operator: InstalledOperator
) -> Iterator[ManagedFleet]:
    """Nothing applied yet; whatever a test does, users' objects are theirs afterwards."""
    assert operator.pods()
    made = ManagedFleet(kubernetes, namespace)
    yield made
    assert made.untouched()
