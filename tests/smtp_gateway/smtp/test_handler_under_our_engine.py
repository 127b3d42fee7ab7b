"""The handler under this project's engine: what the machine, the edge and the hooks make of it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from smtp_gateway import errors
from smtp_gateway.policy import LockoutRules, Policy, PolicyHolder
from smtp_gateway.smtp.authenticator import Authenticator
from smtp_gateway.smtp.handler import GatewayHandler
from smtp_gateway.smtp.limits import MailRate
from smtp_gateway.smtp.lockout import Lockout
from smtp_gateway.telemetry import Metrics
from smtp_gateway.utils.clock import SystemClock
from tests.support.edge import Rig, serving
from tests.support.fakes import RECEIPT_ID, FakeCourier, FakeLog, FakeTokens
from tests.support.gateway import Certificates

USER, PASSWORD = "a@x.test", "good password"


def encoded(text: str) -> str:
    """Base64 as a client writes it."""
    return base64.b64encode(text.encode()).decode()


PLAIN = encoded(f"\0{USER}\0{PASSWORD}")


def wrong(n: int) -> str:
    """AUTH PLAIN with one of many wrong passwords."""
    return "AUTH PLAIN " + encoded(f"\0{USER}\0guess {n}")


class Parts:
    """A handler with fakes around it."""

    def __init__(self) -> None:
        self.courier = FakeCourier()
        clock, log = SystemClock(), FakeLog()
        metrics = Metrics(CollectorRegistry())
        self.handler = GatewayHandler(
            authenticator=Authenticator(
                tokens=FakeTokens({(USER, PASSWORD)}),
                lockout=Lockout(clock, LockoutRules(per_user_name=1)),
                metrics=metrics,
                log=log,
                clock=clock,
            ),
            courier=self.courier,
            policies=PolicyHolder(Policy(rate_limit_per_ip=2)),
            rate=MailRate(clock),
            metrics=metrics,
            log=log,
            clock=clock,
        )


@asynccontextmanager
async def running(parts: Parts, folder: Path, certificates: Certificates) -> AsyncIterator[Rig]:
    """Our server with our handler."""
    async with serving(folder, certificates, handler=parts.handler) as rig:
        yield rig


@pytest.fixture
def parts() -> Parts:
    """Fresh for each test."""
    return Parts()


async def test_a_mail_passes(parts: Parts, tmp_path: Path, certificates: Certificates) -> None:
    """The memory is freed, the moment of the dot is the engine's, the id is the client's."""
    async with running(parts, tmp_path, certificates) as rig:
        client = await rig.secured()
        assert await client.ask(f"AUTH PLAIN {PLAIN}") == "235 2.7.0 Authentication successful"
        assert await client.ask("MAIL FROM:<s@x.test> SIZE=20") == "250 OK"
        assert await client.ask("RCPT TO:<b@x.test>") == "250 OK"
        assert (await client.ask("DATA"))[:4] == "354 "
        assert await client.ask("Subject: x\r\n\r\ny\r\n.") == f"250 Ok {RECEIPT_ID}"
        assert rig.memory.reserved_bytes == 0
        client.close()
    ((letter, _),) = parts.courier.letters
    assert letter.content == b"Subject: x\r\n\r\ny\r\n"
    assert letter.recipients == ("b@x.test",)


@pytest.mark.trap(4)
async def test_trap_4_every_form_of_login(
    parts: Parts, tmp_path: Path, certificates: Certificates
) -> None:
    """In lower case, in steps, with the user name in the command."""
    user, password = encoded(USER), encoded(PASSWORD)
    async with running(parts, tmp_path, certificates) as rig:
        forms = [
            [f"auth plain {PLAIN}"],
            ["AUTH PLAIN", PLAIN],
            ["auth login", user, password],
            [f"AUTH LOGIN {user}", password],
        ]
        said = []
        for form in forms:
            client = await rig.secured()
            said.append([await client.ask(line) for line in form])
            client.close()
    done = "235 2.7.0 Authentication successful"
    assert said == [
        [done],
        ["334 ", done],
        ["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", done],
        ["334 UGFzc3dvcmQ6", done],
    ]


async def test_a_lock_out_ends_the_session_with_its_own_words(
    parts: Parts, tmp_path: Path, certificates: Certificates
) -> None:
    """421 at AUTH, then the connection is closed; MAIL would have said why."""
    async with running(parts, tmp_path, certificates) as rig:
        client = await rig.secured()
        assert (await client.ask(wrong(1))).startswith(
            "535 5.7.8 Authentication credentials invalid ["
        )
        assert (await client.ask("MAIL FROM:<s@x.test>")).startswith(
            "530 5.7.0 Authentication required (previous login failed: "
        )
        assert (await client.ask(wrong(2))).startswith(
            "421 4.7.0 Too many different wrong passwords, retry in 900 s ["
        )
        assert await client.closed()
        client.close()


async def test_refusals_leave_the_session_usable(
    parts: Parts, tmp_path: Path, certificates: Certificates
) -> None:
    """A refused MAIL frees its memory; a defect of delivery is 451 with the session's id."""
    async with running(parts, tmp_path, certificates) as rig:
        client = await rig.secured()
        await client.ask(f"AUTH PLAIN {PLAIN}")
        parts.courier.refusal = errors.Unavailable()
        assert (await client.ask("MAIL FROM:<s@x.test>")).startswith(
            "451 4.3.2 Service temporarily unavailable ["
        )
        assert rig.memory.reserved_bytes == 0
        parts.courier.refusal, parts.courier.failure = None, ValueError("bob@x.test")
        await client.ask("MAIL FROM:<s@x.test>")
        await client.ask("RCPT TO:<b@x.test>")
        await client.ask("DATA")
        assert (await client.ask("x\r\n.")).startswith("451 4.3.0 Internal error [")
        assert (await client.ask("MAIL FROM:<s@x.test>")).startswith("451 4.7.1 Rate limit, retry")
        assert (await client.ask("NOOP"))[:3] == "250"
        client.close()
