"""Start and stop of the whole program, as a process sees them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from smtp_gateway.app import Begin, main, serve
from smtp_gateway.errors import ConfigurationError
from smtp_gateway.settings import load
from smtp_gateway.telemetry import Event, LogLevel
from smtp_gateway.utils.tasks import TaskOwner
from tests.support.fakes import FakeLog
from tests.support.gateway import free_ports, make_certificates


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """Settings of a gateway that can start; its API does not exist and is not asked."""
    certificates = make_certificates(tmp_path)
    port, http_port = free_ports(2)
    return {
        "CAKEMAIL_API_URL": "http://127.0.0.1:9",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_PRE_STOP": "0",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(http_port),
        "TLS_CERT_PATH": str(certificates.chain_path),
        "TLS_KEY_PATH": str(certificates.key_path),
    }


def start(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the program with these variables, in an empty folder; its exit status."""
    monkeypatch.chdir(Path(variables["TLS_CERT_PATH"]).parent)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return main(arguments)


def test_check_prints_the_settings_in_effect_and_starts_nothing(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One setting a line; what was left aside stands below as a comment."""
    links = {"SMTP_SERVICE_HOST": "10.0.0.1"}
    assert start(variables | links, monkeypatch, "--check") == 0
    printed = capsys.readouterr().out.splitlines()
    assert f"SMTP_PORT={variables['SMTP_PORT']}" in printed
    assert "CAKEMAIL_AUTH_URL=http://127.0.0.1:9/token" in printed
    assert (
        printed[-1] == "# SMTP_SERVICE_HOST comes from a Kubernetes service link and is left aside"
    )


def test_wrong_settings_are_told_and_end_the_start_with_2(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each fault on a line of its own, on standard error."""
    assert start(variables | {"SMTP_PORT": "x", "SMTP_PROT": "1"}, monkeypatch) == 2
    assert capsys.readouterr().err.splitlines() == [
        "SMTP_PORT: must be a whole number",
        "SMTP_PROT: is unknown; did you mean SMTP_PORT?",
    ]


def begin(variables: dict[str, str], log: FakeLog) -> Begin:
    """A start with these variables."""
    return Begin(load(variables)[0], variables, log, LogLevel("INFO"))


async def refused(variables: dict[str, str]) -> list[str]:
    """The lines with which a start ends that cannot be."""
    with pytest.raises(ConfigurationError) as caught:
        await serve(begin(variables, FakeLog()))
    return caught.value.problems


async def test_no_port_opens_without_a_certificate(variables: dict[str, str]) -> None:
    """No certificate is made in silence (trap 41); the line names the variables."""
    missing = variables["TLS_CERT_PATH"] + ".not"
    (line,) = await refused(variables | {"TLS_CERT_PATH": missing})
    assert line.startswith("TLS_CERT_PATH, TLS_KEY_PATH: cannot read ")


async def test_a_taken_port_is_named(variables: dict[str, str]) -> None:
    """Whoever holds it is to be found by its number."""
    with socket.create_server(("127.0.0.1", int(variables["SMTP_PORT"]))):
        (line,) = await refused(variables)
    assert line == f"cannot listen on 127.0.0.1:{variables['SMTP_PORT']}: Address already in use"


async def test_a_taken_health_port_is_named(variables: dict[str, str]) -> None:
    """Health that nobody can ask is no health."""
    with socket.create_server(("127.0.0.1", int(variables["HTTP_PORT"]))):
        (line,) = await refused(variables)
    assert line == f"cannot listen on 127.0.0.1:{variables['HTTP_PORT']}: Address already in use"


async def test_an_unusable_ca_file_is_named(variables: dict[str, str], tmp_path: Path) -> None:
    """The API could not be verified; a start without its CA would only fail later."""
    missing, empty = tmp_path / "none.pem", tmp_path / "empty.pem"
    empty.write_bytes(b"")
    assert await refused(variables | {"CAKEMAIL_CA_PATH": str(missing)}) == [
        "CAKEMAIL_CA_PATH: cannot be read: No such file or directory"
    ]
    assert await refused(variables | {"CAKEMAIL_CA_PATH": str(empty)}) == [
        "CAKEMAIL_CA_PATH: holds no certificate in PEM form"
    ]


async def test_a_message_limit_beyond_memory_is_refused(variables: dict[str, str]) -> None:
    """A client must not hear 452 for ever for a size that was announced."""
    (line,) = await refused(
        variables | {"SMTP_MEMORY_LIMIT": "300000000", "MESSAGE_SIZE_LIMIT": "200000000"}
    )
    assert line.startswith("MESSAGE_SIZE_LIMIT: memory has room for ")


@asynccontextmanager
async def serving(variables: dict[str, str]) -> AsyncIterator[FakeLog]:
    """A gateway in this process until the block's end, which is a SIGTERM; gives its log."""
    log = FakeLog()
    failures: list[BaseException] = []
    tasks = TaskOwner(lambda _name, error: failures.append(error))
    gateway = tasks.spawn(serve(begin(variables, log)), name="gateway")
    while Event.STARTED not in [line.event for line in log.lines]:
        await asyncio.wait({gateway}, timeout=0.01)
        assert not gateway.done()
    try:
        yield log
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        await gateway
    assert failures == []


async def test_sigterm_ends_a_gateway_and_says_so(variables: dict[str, str]) -> None:
    """Without sessions the drain is short; the log has begin and end."""
    async with serving(variables) as log:
        pass
    assert [line.event for line in log.lines] == [
        "certificate loaded",
        "gateway started",
        "gateway stopping",
        "gateway stopped",
    ]


async def greeting(stack: AsyncExitStack, port: str) -> str:
    """What a new connection, open until the stack unwinds, is told first."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    stack.callback(writer.close)
    return (await reader.readline()).decode()


async def test_one_address_has_as_many_connections_as_the_setting_says(
    variables: dict[str, str],
) -> None:
    """The next one is told why."""
    limited = variables | {"SMTP_CONNECTIONS_PER_ADDRESS": "2"}
    async with serving(limited), AsyncExitStack() as connections:
        said = [await greeting(connections, limited["SMTP_PORT"]) for _ in range(3)]
    assert [line[:4] for line in said] == ["220 ", "220 ", "421 "]
    assert "Too many connections" in said[2]
